//! Progress on a terminal, fed by the daemon's status.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::client::Client;
use super::escape::printable;
use super::folders::fetch_status;
use super::reply::{Reply, print};
use super::show;
use crate::api::error::{ApiError, Class};
use crate::api::types::{FolderRow, FolderState, Status};

/// How often the bars move.
const TICK: Duration = Duration::from_millis(250);
/// How often `status --watch` looks.
const WATCH_TICK: Duration = Duration::from_secs(1);

/// Shows bars until every folder, or the one, is in sync or stands still.
pub(super) async fn follow(client: &Client, folder: Option<&str>) -> Result<(), ApiError> {
    let bars = MultiProgress::new();
    let mut shown: Vec<(String, ProgressBar)> = Vec::new();
    loop {
        let status = fetch_status(client, folder).await?;
        for row in &status.folders {
            let bar = match shown.iter().find(|(id, _)| *id == row.folder_id) {
                Some((_, bar)) => bar.clone(),
                None => {
                    let bar = bars.add(ProgressBar::no_length());
                    shown.push((row.folder_id.clone(), bar.clone()));
                    bar
                }
            };
            move_bar(&bar, row);
        }
        if status.folders.iter().all(has_come_to_rest) {
            bars.clear().ok();
            print(&format!("\n{}", show::status(&status)));
            return judge(&status);
        }
        tokio::time::sleep(TICK).await;
    }
}

fn has_come_to_rest(row: &FolderRow) -> bool {
    let needs_nothing = row.need_files == 0 && row.need_bytes == 0;
    match row.state {
        FolderState::Idle => needs_nothing,
        FolderState::Paused | FolderState::Held | FolderState::Error => true,
        FolderState::Scanning | FolderState::Syncing => false,
    }
}

/// Standing still is not being in sync.
fn judge(status: &Status) -> Result<(), ApiError> {
    let stuck = |row: &&FolderRow| row.state != FolderState::Idle;
    match status.folders.iter().find(stuck) {
        None => Ok(()),
        Some(row) => {
            let class = if row.state == FolderState::Error { Class::Failed } else { Class::Held };
            let code = row.reason.clone().unwrap_or_else(|| "PAUSED".to_owned());
            let error = ApiError::new(class, &code, format!("`{}` is {}", row.name, show::doing(row)));
            Err(match show::way_out(row) {
                Some(next) => error.next(next),
                None => error,
            })
        }
    }
}

fn move_bar(bar: &ProgressBar, row: &FolderRow) {
    let syncing = row.need_bytes > 0 && row.bytes >= row.need_bytes;
    let template = match syncing {
        true => "{prefix} {wide_bar} {bytes}/{total_bytes} {msg}",
        false => "{spinner} {prefix} {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(printable(&row.name).to_string());
    if syncing {
        bar.set_length(row.bytes);
        bar.set_position(row.bytes - row.need_bytes);
        bar.set_message(format!("{}/s, {}", show::bytes(row.down_rate), show::counted(row.peers, "peer")));
    } else {
        bar.set_message(format!("{} ({})", show::doing(row), show::counted(row.files, "file")));
    }
    bar.tick();
}

/// `status --watch`: on a terminal a picture that is redrawn, else one report for each change.
pub(super) async fn watch(client: &Client, folder: Option<&str>, json: bool) -> Result<(), ApiError> {
    let redraw = !json && std::io::stdout().is_terminal();
    let mut before = None;
    loop {
        let status = fetch_status(client, folder).await?;
        if before.as_ref() != Some(&status) {
            let clear = if redraw { "\u{1b}[H\u{1b}[2J" } else { "" };
            Reply::new(format!("{clear}{}", show::status(&status)), &status)?.print(json);
            before = Some(status);
        }
        tokio::time::sleep(WATCH_TICK).await;
    }
}
