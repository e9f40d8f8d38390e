//! How peers are looked for, as text: the end of `status FOLDER`. Pure: the time is an argument.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::escape::printable;
use super::show::counted;
use crate::api::types::{FolderRow, WayRow};

/// A source that is longer stands on a line of its own.
const MAX_SOURCE: usize = 40;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// One line for each way, and for each tracker and address; those that are off share one.
pub fn ways(row: &FolderRow, now: u64) -> String {
    if row.discovery.is_empty() {
        return String::new();
    }
    let mut text = String::from("  peers are looked for\n");
    let on: Vec<(String, String)> =
        row.discovery.iter().filter(|way| way.enabled).map(|way| (who(way), doing(way, now))).collect();
    let shortest = |who: &String| who.chars().count().min(MAX_SOURCE);
    let width = on.iter().map(|(who, _)| shortest(who)).max().unwrap_or(0);
    for (who, doing) in on {
        let _ = match who.chars().count() > MAX_SOURCE {
            true => writeln!(text, "    {who}\n    {:width$}  {doing}", ""),
            false => writeln!(text, "    {who:<width$}  {doing}"),
        };
    }
    let off: Vec<&str> = row.discovery.iter().filter(|way| !way.enabled).map(name).collect();
    if !off.is_empty() {
        let _ = writeln!(text, "    off: {}", off.join(", "));
    }
    if row.peers == 0 {
        let _ = writeln!(text, "    nobody is connected: `syncd doctor {}` says why", printable(&row.name));
    }
    text
}

fn name(way: &WayRow) -> &str {
    match way.way.as_str() {
        "lan" => "local network",
        "dht" => "DHT",
        "exchange" => "peer exchange",
        "link" => "from the link",
        other => other,
    }
}

fn who(way: &WayRow) -> String {
    match (way.way.as_str(), way.source.as_deref()) {
        ("tracker", Some(url)) => printable(url).to_string(),
        // It names itself, with its interfaces.
        ("lan", Some(source)) => printable(source.strip_prefix("the ").unwrap_or(source)).to_string(),
        ("dht", _) | (_, None) => printable(name(way)).to_string(),
        (_, Some(source)) => format!("{} {}", printable(name(way)), printable(source)),
    }
}

fn doing(way: &WayRow, now: u64) -> String {
    let mut parts: Vec<String> = way.error.iter().map(|error| printable(error).to_string()).collect();
    match way.way.as_str() {
        "pinned" | "link" if way.found > 0 => parts.push("connected".to_owned()),
        "pinned" | "link" if parts.is_empty() => parts.push("not connected yet".to_owned()),
        "pinned" | "link" => {}
        "exchange" => parts.push("on".to_owned()),
        _ => {
            match way.last_announce {
                Some(at) => parts.push(format!("told {}", ago(now.saturating_sub(at)))),
                None if way.stands_by => {
                    return "stands by while the one before it answers".to_owned();
                }
                None if way.way != "lan" && parts.is_empty() => parts.push("not told yet".to_owned()),
                None => {}
            }
            if let Some(at) = way.next {
                parts.push(format!("next {}", ahead(at.saturating_sub(now))));
            }
            if way.error.is_none() {
                parts.push(format!(
                    "{} found",
                    counted(way.found, "address").replace("addresss", "addresses")
                ));
            }
        }
    }
    parts.join(" · ")
}

fn ago(seconds: u64) -> String {
    if seconds < 2 { "just now".to_owned() } else { format!("{} ago", span(seconds)) }
}

fn ahead(seconds: u64) -> String {
    if seconds < 2 { "now".to_owned() } else { format!("in {}", span(seconds)) }
}

/// A time in one unit, rounded down.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        let cases = [
            (0, "just now"),
            (45, "45 s ago"),
            (130, "2 min ago"),
            (9_000, "2 h ago"),
            (400_000, "4 days ago"),
        ];
        for (seconds, text) in cases {
            assert_eq!(ago(seconds), text);
        }
        assert_eq!((ahead(1), ahead(1_700)), ("now".to_owned(), "in 28 min".to_owned()));
    }
}
