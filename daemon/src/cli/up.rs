//! `syncd up` and `syncd down`: a daemon in the background, started, found and stopped.

use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper::Method;
use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use super::client::Client;
use super::folders::absolute;
use super::follow::follow;
use super::reply::Reply;
use super::show;
use crate::api::error::{ApiError, Class};
use crate::api::types::{AddRequest, FolderKeys, FolderListRow, Status, Stopping};
use crate::home::{Home, HomeError, open_log};

/// How long a daemon may take until it answers: it opens a database, perhaps after a crash.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a daemon may take to stop in order.
const STOP_PATIENCE: Duration = Duration::from_secs(120);
/// How often either is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The end of the log that is shown when the daemon stops at once.
const MAX_LOG_BYTES: u64 = 4 << 10;

pub(super) async fn up(home: &Home, client: &Client, dir: Option<&Path>, json: bool) -> Result<(), ApiError> {
    let (status, started) = find_or_start(home, client).await?;
    let keys = match dir {
        Some(dir) => Some(share(client, dir).await?),
        None => None,
    };
    let mut text = match started {
        true => format!("Started the daemon; its log is {}.\n", home.log().display()),
        false => "The daemon runs.\n".to_owned(),
    };
    match &keys {
        Some(keys) => text.push_str(&format!("\n{}", show::how_to_join(keys))),
        None => text.push_str(&format!("\n{}", show::status(&status))),
    }
    let reply = match &keys {
        Some(keys) => with_started(text, keys, started)?,
        None => with_started(text, &status, started)?,
    };
    reply.print(json);
    let has_folders = keys.is_some() || !status.folders.is_empty();
    if !json && has_folders && std::io::stdout().is_terminal() {
        return follow(client, keys.as_ref().map(|keys| keys.folder_id.as_str())).await;
    }
    Ok(())
}

/// The document of `add`, or of `status`, with one field more.
fn with_started<T: serde::Serialize>(text: String, document: &T, started: bool) -> Result<Reply, ApiError> {
    let mut document = serde_json::to_value(document)
        .map_err(|cause| ApiError::new(Class::Failed, "BROKEN_ANSWER", cause.to_string()))?;
    if let Value::Object(fields) = &mut document {
        fields.insert("started".to_owned(), started.into());
    }
    Reply::new(text, &document)
}

/// Shares the directory, or finds the folder that it is.
async fn share(client: &Client, dir: &Path) -> Result<FolderKeys, ApiError> {
    let dir = absolute(dir)?;
    let rows: Vec<FolderListRow> = client.read("/v1/folders").await?;
    if let Some(row) = rows.iter().find(|row| row.path == dir) {
        return client.read(&format!("/v1/folders/{}/keys", row.folder_id)).await;
    }
    client.call(Method::POST, "/v1/folders", &AddRequest { dir, key: None, name: None }).await
}

async fn find_or_start(home: &Home, client: &Client) -> Result<(Status, bool), ApiError> {
    match client.read("/v1/status").await {
        Err(error) if error.class == Class::NoDaemon => {}
        answer => return answer.map(|status| (status, false)),
    }
    let home = Home::open(home.directory().to_owned())?;
    let log = open_log(&home.log())?;
    let failed = |cause| HomeError::File { path: home.log(), cause };
    let log_before = log.metadata().map_err(failed)?.len();
    let mut daemon = spawn(&home, log)?;
    let begun = Instant::now();
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        // The exit is looked at first: a daemon that another `up` has started meanwhile may answer.
        let ended = daemon.try_wait().ok().flatten();
        match client.read("/v1/status").await {
            Ok(status) => return Ok((status, ended.is_none())),
            Err(error) if error.class != Class::NoDaemon => return Err(error),
            // Another daemon of this home is on its way up, or ours has failed.
            Err(_) if ended.is_some() && !is_taken(&home) => return Err(died(&home, log_before)),
            Err(_) if begun.elapsed() > START_PATIENCE => {
                let message = format!("the daemon does not answer after {} s", START_PATIENCE.as_secs());
                return Err(ApiError::new(Class::Failed, "DAEMON_SLOW", message)
                    .at(home.log().display().to_string())
                    .next("see its log; it may still come up"));
            }
            Err(_) => {}
        }
    }
}

fn is_taken(home: &Home) -> bool {
    matches!(home.lock(), Err(HomeError::Taken { .. }))
}

fn spawn(home: &Home, log: std::fs::File) -> Result<Child, ApiError> {
    let failed = |cause: std::io::Error| {
        ApiError::new(Class::Failed, "DAEMON_FAILED", format!("the daemon cannot be started: {cause}"))
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg("--home").arg(home.directory()).args(["daemon", "--detached"]);
    command.current_dir("/").stdin(Stdio::null());
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    command.spawn().map_err(failed)
}

/// What a daemon that stopped at once has said.
fn died(home: &Home, log_before: u64) -> ApiError {
    let mut text = String::new();
    if let Ok(mut log) = std::fs::File::open(home.log()) {
        let end = log.metadata().map_or(0, |found| found.len());
        let _ = log.seek(SeekFrom::Start(log_before.max(end.saturating_sub(MAX_LOG_BYTES))));
        let _ = log.take(MAX_LOG_BYTES).read_to_string(&mut text);
    }
    let line = |mark: &str| text.lines().rev().find_map(|line| line.trim().strip_prefix(mark));
    let message = match line("error: ").or_else(|| text.lines().last()) {
        Some(why) => format!("the daemon stopped at once: {why}"),
        None => "the daemon stopped at once and did not say why".to_owned(),
    };
    let next = line("next: ").map_or_else(|| format!("see its log, {}", home.log().display()), str::to_owned);
    let path = line("path: ").map_or_else(|| home.log().display().to_string(), str::to_owned);
    ApiError::new(Class::Failed, "DAEMON_FAILED", message).at(path).next(next)
}

pub(super) async fn down(client: &Client) -> Result<Reply, ApiError> {
    let stopping: Stopping = client.call(Method::POST, "/v1/shutdown", &()).await?;
    let pid = i32::try_from(stopping.pid).ok().and_then(Pid::from_raw);
    let begun = Instant::now();
    while pid.is_some_and(runs) {
        if begun.elapsed() > STOP_PATIENCE {
            let message = format!("the daemon still runs after {} s", STOP_PATIENCE.as_secs());
            return Err(ApiError::new(Class::Failed, "DAEMON_SLOW", message)
                .next(format!("it may be busy; see its log, or: kill {}", stopping.pid)));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Reply::new("The daemon has stopped.\n".to_owned(), &stopping)
}

/// Whether the process is there; one whose parent does not fetch its end has ended all the same.
fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let is_zombie =
        stat.is_ok_and(|text| text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')));
    test_kill_process(pid).is_ok() && !is_zombie
}
