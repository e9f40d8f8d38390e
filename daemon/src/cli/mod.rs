//! The command line: parses, asks the daemon of a home, prints text or JSON.
//!
//! [`args`] says what there is; each command asks through [`client`] and ends in a reply that has both
//! forms. Nothing is decided here, and only `up`, `daemon` and `config` touch the home.

pub mod args;
pub mod client;
mod doctor;
pub mod escape;
mod folders;
mod follow;
mod get;
pub mod qr;
mod reply;
mod settings;
pub mod show;
mod tracker;
mod up;
pub mod ways;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::api::error::{ApiError, Class};
use crate::daemon;
use crate::home::{Home, default_directory};
use args::{Cli, Command};
use client::Client;
use reply::print_failure;

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let (ended, json) = match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let json = cli.json;
            (run(cli), json)
        }
        Err(error) => match parse_failure(&error, &arguments) {
            Some(failure) => (Err(failure), true),
            None => {
                let _ = error.print();
                return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
            }
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print_failure(&failure, json);
            ExitCode::from(failure.class.exit_code())
        }
    }
}

/// A usage error as a document, if one was asked for; help and version are no errors.
fn parse_failure(error: &clap::Error, arguments: &[OsString]) -> Option<ApiError> {
    let asked =
        arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    let is_error = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (asked && is_error).then(|| {
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let message = lines.join(" ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        ApiError::new(Class::Usage, "USAGE", message).next("`syncd --help` shows all commands")
    })
}

fn run(cli: Cli) -> Result<(), ApiError> {
    if let Command::Tracker(args) = cli.command {
        return tracker::run(args, cli.json); // it has no home
    }
    let directory = home_directory(cli.home)?;
    if let Command::Daemon(args) = cli.command {
        let options = daemon::Options { listen: args.listen, api: args.api, detached: args.detached };
        return daemon::run(directory, options);
    }
    let mut runtime = match cli.command {
        Command::Get(_) => tokio::runtime::Builder::new_multi_thread(), // a daemon runs in it
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|cause| ApiError::new(Class::Failed, "SYSTEM", cause.to_string()))?;
    runtime.block_on(ask(Home::at(directory), cli.command, cli.json))
}

fn home_directory(given: Option<PathBuf>) -> Result<PathBuf, ApiError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = given.or_else(|| variable("SYNCD_HOME")).or_else(|| default_directory(variable));
    directory.and_then(|path| std::path::absolute(path).ok()).ok_or_else(|| {
        let message = "neither HOME nor XDG_DATA_HOME says where the daemon's home is";
        ApiError::new(Class::Usage, "NO_HOME", message).next("name it with --home DIR or SYNCD_HOME")
    })
}

async fn ask(home: Home, command: Command, json: bool) -> Result<(), ApiError> {
    let client = &Client::new(home.clone());
    let reply = match command {
        Command::Up { dir } => return up::up(&home, client, dir.as_deref(), json).await,
        Command::Get(args) => return get::get(&home, args, json).await,
        Command::Doctor { folder } => return doctor::doctor(client, folder.as_deref(), json).await,
        Command::Status { folder, watch: true } => {
            return follow::watch(client, folder.as_deref(), json).await;
        }
        Command::Daemon(_) | Command::Tracker(_) => return Ok(()), // have run before the client was made
        Command::Down => up::down(client).await,
        Command::Add(args) => folders::add(client, args).await,
        Command::List => folders::list(client).await,
        Command::Status { folder, watch: false } => folders::status(client, folder.as_deref()).await,
        Command::Wait { folder, timeout, peers } => folders::wait(client, &folder, timeout, peers).await,
        Command::Keys(args) => folders::keys(client, args).await,
        Command::Peers { folder } => folders::peers(client, &folder).await,
        Command::Peer(command) => folders::peer(client, command).await,
        Command::Pause(one) => folders::order(client, &one.folder, "pause", "Paused").await,
        Command::Resume(one) => folders::order(client, &one.folder, "resume", "Resumed").await,
        Command::Remove(one) => folders::remove(client, &one.folder).await,
        Command::Rescan(one) => folders::order(client, &one.folder, "rescan", "Scanning").await,
        Command::Approve(one) => folders::order(client, &one.folder, "approve", "Approved").await,
        Command::Revert(args) => folders::revert(client, args).await,
        Command::Archive(command) => folders::archive(client, command).await,
        Command::Config(command) => settings::config(client, &home, command).await,
    };
    reply?.print(json);
    Ok(())
}
