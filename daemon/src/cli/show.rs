//! Documents as text for a person. Pure: no terminal, no colours, and every name is made printable.

use std::fmt::Write;

use super::escape::printable;
use crate::api::types::*;

/// Problems that are listed in full; the rest is counted.
const MAX_PROBLEMS: usize = 20;

/// Bytes with a unit, as powers of 1,024.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).unwrap_or(&"B"))
}

/// A number with a noun, `1 file`, `1,204 files`.
pub fn counted(number: u64, noun: &str) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {noun}{}", if number == 1 { "" } else { "s" })
}

fn capability(capability: Capability) -> &'static str {
    match capability {
        Capability::Write => "read and write",
        Capability::Read => "read only",
        Capability::Store => "store only",
    }
}

fn state_word(state: FolderState) -> &'static str {
    match state {
        FolderState::Paused => "paused",
        FolderState::Held => "HELD",
        FolderState::Error => "ERROR",
        FolderState::Scanning => "scanning",
        FolderState::Syncing => "syncing",
        FolderState::Idle => "idle",
    }
}

/// What a folder is doing, in a few words.
pub fn doing(row: &FolderRow) -> String {
    let name = printable(&row.name);
    match row.state {
        FolderState::Paused => format!("paused; `syncd resume {name}` goes on"),
        FolderState::Held | FolderState::Error => {
            let word = state_word(row.state);
            let reason = row.reason.as_deref().unwrap_or("unknown");
            match &row.message {
                Some(message) => format!("{word}: {} ({})", printable(message), printable(reason)),
                None => format!("{word}: {}", printable(reason)),
            }
        }
        FolderState::Scanning if row.head.is_none() && row.peers == 0 => {
            "looking for peers and scanning".to_owned()
        }
        FolderState::Scanning => "scanning".to_owned(),
        _ if row.need_files > 0 || row.need_bytes > 0 => {
            format!("syncing: {} and {} to go", counted(row.need_files, "file"), bytes(row.need_bytes))
        }
        FolderState::Syncing => "syncing".to_owned(),
        FolderState::Idle => "in sync".to_owned(),
    }
}

/// What a person can do about a held folder.
pub fn way_out(row: &FolderRow) -> Option<String> {
    let name = printable(&row.name);
    let text = match (row.state, row.reason.as_deref()?) {
        (FolderState::Held, "MASS_DELETE" | "MASS_CHANGE") => {
            format!("if it was meant: `syncd approve {name}`; to bring the files back: `syncd revert {name}`")
        }
        (FolderState::Held, "ROLLBACK_SUSPECTED") => {
            format!("if an older disk was put back on purpose: `syncd approve {name}`")
        }
        (FolderState::Held, "ROOT_MARKER_MISSING" | "ROOT_MARKER_MISMATCH" | "ROOT_TYPE_CHANGED") => {
            format!("is the right disk mounted at {}? It goes on by itself then", printable(&row.path))
        }
        _ => return None,
    };
    Some(text)
}

/// What does not go well in a folder that goes on nevertheless.
fn drawback(row: &FolderRow) -> Option<String> {
    if matches!(row.state, FolderState::Paused | FolderState::Held | FolderState::Error) {
        return None;
    }
    let message = printable(row.message.as_deref()?);
    Some(match &row.reason {
        Some(reason) => format!("{message} ({})", printable(reason)),
        None => message.to_string(),
    })
}

/// `syncd status`.
pub fn status(status: &Status) -> String {
    if status.folders.is_empty() {
        return "The daemon runs and has no folders yet. Share one with `syncd up DIR`, or join one with \
                `syncd add DIR --key KEY`.\n"
            .to_owned();
    }
    let mut text = String::new();
    for (index, row) in status.folders.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        folder(&mut text, row);
    }
    text
}

fn folder(text: &mut String, row: &FolderRow) {
    let (name, path) = (printable(&row.name), printable(&row.path));
    let _ = writeln!(text, "{name}  {path}  ({})", capability(row.capability));
    let _ = writeln!(text, "  {}", doing(row));
    if let Some(way_out) = way_out(row) {
        let _ = writeln!(text, "  {way_out}");
    }
    if let Some(drawback) = drawback(row) {
        let _ = writeln!(text, "  {drawback}");
    }
    let mut peers = counted(row.peers, "peer");
    if row.peers > 0 {
        let _ = write!(peers, " ({}, {})", counted(row.seeds, "seed"), counted(row.leeches, "leech"));
        peers = peers.replace("leechs", "leeches");
    }
    let _ = writeln!(text, "  {}, {} · {peers}", counted(row.files, "file"), bytes(row.bytes));
    if row.down_rate > 0 || row.up_rate > 0 {
        let _ = writeln!(text, "  down {}/s · up {}/s", bytes(row.down_rate), bytes(row.up_rate));
    }
    let counts =
        [(row.problems, "problem"), (row.local_changes, "local change"), (row.conflicts, "conflict")];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| counted(count, noun))
        .collect();
    if !counts.is_empty() {
        let _ = writeln!(text, "  {}", counts.join(" · "));
    }
}

/// Paths that cannot be synced now, as the end of `status FOLDER` and `wait`.
pub fn problems(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems.iter().take(MAX_PROBLEMS) {
        let _ = writeln!(text, "  {}: {}", printable(&problem.path), printable(&problem.message));
    }
    if problems.len() > MAX_PROBLEMS {
        let _ = writeln!(text, "  … and {} more", problems.len() - MAX_PROBLEMS);
    }
    text
}

/// Columns, two spaces apart; no folder is wide enough to need more.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// `syncd list`.
pub fn list(rows: &[FolderListRow]) -> String {
    if rows.is_empty() {
        return "No folders yet. Share one with `syncd up DIR`.\n".to_owned();
    }
    let cells = |row: &FolderListRow| {
        vec![
            printable(&row.name).to_string(),
            state_word(row.state).to_owned(),
            capability(row.capability).to_owned(),
            printable(&row.path).to_string(),
            printable(&row.folder_id).to_string(),
        ]
    };
    table(&["NAME", "STATE", "ACCESS", "PATH", "ID"], &rows.iter().map(cells).collect::<Vec<_>>())
}

/// `syncd peers`.
pub fn peers(rows: &[PeerRow]) -> String {
    if rows.is_empty() {
        return "No peers now. `syncd doctor FOLDER` says why.\n".to_owned();
    }
    let cells = |row: &PeerRow| {
        vec![
            printable(&row.name).to_string(),
            row.device_id.chars().take(8).collect(),
            printable(&row.address).to_string(),
            format!("{}{}", printable(&row.found_by), if row.direct { "" } else { ", relayed" }),
            capability(row.capability).to_owned(),
            if row.complete { "seed" } else { "leech" }.to_owned(),
            format!("{}/s", bytes(row.down_rate)),
            format!("{}/s", bytes(row.up_rate)),
        ]
    };
    let header = ["NAME", "DEVICE", "ADDRESS", "FOUND BY", "ACCESS", "HAS", "DOWN", "UP"];
    table(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}

/// `syncd archive list`.
pub fn archive(rows: &[ArchiveRow]) -> String {
    if rows.is_empty() {
        return "Nothing in the archive.\n".to_owned();
    }
    let cells = |row: &ArchiveRow| {
        vec![printable(&row.archived).to_string(), bytes(row.bytes), printable(&row.path).to_string()]
    };
    table(&["ARCHIVED", "SIZE", "PATH"], &rows.iter().map(cells).collect::<Vec<_>>())
}

/// `syncd keys`.
pub fn keys(keys: &FolderKeys) -> String {
    let mut text = format!("{}  {}\n\n", printable(&keys.name), printable(&keys.path));
    let rows = [
        ("read and write", keys.keys.read_write.as_deref()),
        ("read only", Some(keys.keys.read_only.as_str())),
        ("link", Some(keys.link.as_str())),
        ("fingerprint", Some(keys.fingerprint.as_str())),
    ];
    for (what, value) in rows {
        if let Some(value) = value {
            let _ = writeln!(text, "  {what:<16}{}", printable(value));
        }
    }
    text
}

/// What `add` and `up` say about a folder: its keys, and how others join.
pub fn how_to_join(keys: &FolderKeys) -> String {
    let mut text = self::keys(keys);
    let _ = write!(
        text,
        "\nOn another machine with syncd, this joins the folder, with the link or a key:\n\n    \
         syncd up\n    syncd add DIR --key '{}'\n\n\
         DIR is where the files shall be. Whoever has ",
        printable(&keys.link)
    );
    text.push_str(match keys.keys.read_write {
        Some(_) => {
            "the link or the read and write key can read and change\n\
             everything here; give the read only key to those who shall only read. "
        }
        None => "the link or the key can read everything here. ",
    });
    text.push_str("Send keys\nthe way you would send a password; they cannot be taken back.\n");
    text
}

/// `syncd config get`.
pub fn settings(rows: &[ConfigRow]) -> String {
    let width = rows.iter().map(|row| row.key.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let mark = if row.set { "" } else { "  (default)" };
        let _ = writeln!(text, "{:<width$} = {}{mark}", row.key, row.value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1 << 40), "1.0 TiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(1_234_567, "file"), "1,234,567 files");
    }
}
