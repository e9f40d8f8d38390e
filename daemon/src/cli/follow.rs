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

pub(super) fn move_bar(bar: &ProgressBar, row: &FolderRow) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Capability;

    fn row(state: FolderState, need_files: u64, reason: Option<&str>) -> FolderRow {
        FolderRow {
            folder_id: String::new(),
            name: "photos".to_owned(),
            path: "/p".to_owned(),
            capability: Capability::Write,
            state,
            reason: reason.map(str::to_owned),
            message: None,
            files: 9,
            bytes: 90,
            need_files,
            need_bytes: need_files * 10,
            peers: 0,
            seeds: 0,
            leeches: 0,
            down_rate: 0,
            up_rate: 0,
            problems: 0,
            local_changes: 0,
            conflicts: 0,
            head: None,
            discovery: Vec::new(),
        }
    }

    fn end(row: FolderRow) -> Option<Option<Class>> {
        move_bar(&ProgressBar::hidden(), &row);
        let text = String::new;
        let rests = has_come_to_rest(&row);
        let status = Status {
            folders: vec![row],
            device_id: text(),
            listen: Vec::new(),
            version: text(),
            reach: Default::default(),
        };
        rests.then(|| judge(&status).err().map(|error| error.class))
    }

    #[test]
    fn following_ends_in_sync_or_where_a_person_is_needed() {
        assert_eq!(end(row(FolderState::Scanning, 0, None)), None);
        assert_eq!(end(row(FolderState::Syncing, 2, None)), None);
        assert_eq!(end(row(FolderState::Idle, 2, None)), None, "nobody is there to fetch from");
        assert_eq!(end(row(FolderState::Idle, 0, None)), Some(None));
        assert_eq!(end(row(FolderState::Paused, 2, None)), Some(Some(Class::Held)));
        assert_eq!(end(row(FolderState::Held, 0, Some("MASS_DELETE"))), Some(Some(Class::Held)));
        assert_eq!(end(row(FolderState::Error, 0, Some("CORRUPT"))), Some(Some(Class::Failed)));
    }
}
