//! `syncd get`: fetches a folder once, in this process, and shows how far it is.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::args::GetArgs;
use super::escape::printable;
use super::folders::{absolute, directory_name, given_key, no_name, parse_key};
use super::follow::move_bar;
use super::reply::Reply;
use super::show;
use crate::api::error::{ApiError, Class};
use crate::api::types::FolderRow;
use crate::daemon::{Getting, Order};
use crate::home::Home;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(250);
/// Nobody found for so long is worth a word.
const EXPLAIN_AFTER: Duration = Duration::from_secs(20);

/// How the fetching has ended.
enum End {
    Complete,
    Failed(ApiError),
    TimedOut,
    Interrupted,
}

pub(super) async fn get(home: &Home, args: GetArgs, json: bool) -> Result<(), ApiError> {
    let key = given_key(&args.key)?;
    let link = parse_key(&key)?;
    let dir = match args.dir {
        Some(dir) => dir,
        None => link.name.and_then(directory_name).ok_or_else(no_name)?,
    };
    let dir = std::path::PathBuf::from(absolute(&dir)?);
    // Caught from here on: whatever happens, the directory is left in order.
    let mut interrupt = Interrupt::catch()?;
    let (settings, listen, peers) = (home.config(), args.listen, args.peer);
    let getting = Getting::start(Order { key, dir: dir.clone(), settings, listen, peers }).await?;
    let timeout = args.timeout.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
    let end = fetch(&getting, timeout, &mut interrupt, json).await;
    let ended = match end {
        End::Complete => report(&getting, json).await,
        End::Failed(error) => Err(error),
        End::TimedOut => Err(timed_out(&getting, timeout.unwrap_or_default()).await),
        End::Interrupted => {
            Err(ApiError::new(Class::Failed, "INTERRUPTED", "interrupted before all was here")
                .at(dir.display().to_string())
                .next("the same command goes on where it was"))
        }
    };
    if ended.is_ok() && args.seed {
        serve(&getting, &mut interrupt, json).await;
    }
    getting.stop(ended.is_ok()).await;
    ended
}

/// Waits until all is here, and shows the way there.
async fn fetch(getting: &Getting, timeout: Option<Duration>, interrupt: &mut Interrupt, json: bool) -> End {
    let bar = ProgressBar::no_length();
    if json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let deadline = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        complete = getting.complete() => complete.map_or_else(End::Failed, |()| End::Complete),
        () = deadline => End::TimedOut,
        () = interrupt.wait() => End::Interrupted,
        error = watch(getting, &bar, json) => End::Failed(error),
    };
    bar.finish_and_clear();
    end
}

/// Moves the bar, and says once why nobody is found. Returns only when the folder's loop has ended.
async fn watch(getting: &Getting, bar: &ProgressBar, json: bool) -> ApiError {
    let mut alone_since = Some(Instant::now());
    loop {
        let row = match getting.row().await {
            Ok(row) => row,
            Err(error) => return error,
        };
        move_bar(bar, &row);
        if row.peers > 0 {
            alone_since = None;
        } else if alone_since.is_some_and(|since| since.elapsed() > EXPLAIN_AFTER) {
            alone_since = None;
            if !json {
                let said = troubles(getting).await;
                bar.suspend(|| std::io::stderr().lock().write_all(said.as_bytes()).ok());
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

async fn troubles(getting: &Getting) -> String {
    let mut text = String::from("no peer yet\n");
    for trouble in getting.troubles().await {
        text.push_str(&format!("  {}\n", printable(&trouble.message)));
        if let Some(next) = trouble.next {
            text.push_str(&format!("    next: {}\n", printable(&next)));
        }
    }
    text
}

async fn timed_out(getting: &Getting, timeout: Duration) -> ApiError {
    let row = getting.row().await;
    let mut message = format!("not all is here after {} s", timeout.as_secs_f64());
    let mut next = "what has arrived stays; the same command goes on where it was".to_owned();
    if row.is_ok_and(|row| row.peers == 0) {
        message.push_str(", and no peer is connected");
        if let Some(trouble) = getting.troubles().await.into_iter().next() {
            message.push_str(&format!(": {}", trouble.message));
            next = trouble.next.unwrap_or(next);
        }
    }
    ApiError::new(Class::TimedOut, "TIMED_OUT", message).next(next)
}

/// Says what is here now. What could not be written is a failure; what was there before is not.
async fn report(getting: &Getting, json: bool) -> Result<(), ApiError> {
    let row = getting.row().await?;
    let problems = getting.problems().await?;
    let listed = show::problems(&problems);
    if row.problems > 0 {
        let message = format!("{} cannot be written here:\n{listed}", show::counted(row.problems, "path"));
        return Err(ApiError::new(Class::Failed, "INCOMPLETE", message.trim_end())
            .at(row.path)
            .next("remove what is in the way, and run the same command again"));
    }
    let FolderRow { folder_id, name, path, files, bytes, local_changes, .. } = row;
    let mut text = format!(
        "Fetched `{}`: {}, {}, in {}\n",
        printable(&name),
        show::counted(files, "file"),
        show::bytes(bytes),
        printable(&path)
    );
    if local_changes > 0 {
        text.push_str(&format!(
            "{} left as it was there before:\n{listed}",
            show::counted(local_changes, "path")
        ));
    }
    let document = json!({ "folder_id": folder_id, "name": name, "path": path, "files": files, "bytes": bytes,
        "local_changes": local_changes, "problems": 0 });
    Reply::new(text, &document)?.print(json);
    Ok(())
}

/// Serves others until somebody says stop.
async fn serve(getting: &Getting, interrupt: &mut Interrupt, json: bool) {
    if !json {
        super::reply::print("Passing it on to others until Ctrl-C.\n");
    }
    let bar = ProgressBar::no_length();
    if json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let show = async {
        while let Ok(row) = getting.row().await {
            bar.set_message(format!(
                "{}/s to {}",
                show::bytes(row.up_rate),
                show::counted(row.peers, "peer")
            ));
            bar.tick();
            tokio::time::sleep(TICK * 4).await;
        }
    };
    tokio::select! {
        () = interrupt.wait() => {}
        () = show => {}
    }
    bar.finish_and_clear();
}

/// Ctrl-C, and what asks a process to end.
struct Interrupt {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupt {
    fn catch() -> Result<Self, ApiError> {
        let catch = |kind| {
            signal(kind).map_err(|cause| {
                ApiError::new(Class::Failed, "SYSTEM", format!("signals cannot be caught: {cause}"))
            })
        };
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
