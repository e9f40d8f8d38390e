//! Reads a QR code that was drawn in half-block characters, as a phone's camera would.

use std::fs;
use std::process::{Command, Stdio};

/// Pixels of one module: enough for any decoder.
const SCALE: usize = 4;
/// Light modules at the right, where lines end early.
const MARGIN: usize = 4;

/// What an independent program reads in a picture; `None` where it (`zbarimg`) is not installed.
///
/// # Panics
/// When the picture cannot be written down for it.
pub fn read_qr(picture: &str) -> Option<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("code.pgm");
    fs::write(&path, photograph(picture)).expect("a photograph");
    let mut zbar = Command::new("zbarimg");
    let zbar = zbar.args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"]).arg(path);
    let output = zbar.stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// What a terminal, or a sheet of paper, shows: a grey picture of dark and light modules. Escape
/// sequences show nothing.
fn photograph(picture: &str) -> Vec<u8> {
    let lines: Vec<String> = picture.lines().map(without_escapes).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) + MARGIN;
    let mut pixels = format!("P5 {} {} 255\n", width * SCALE, 2 * lines.len() * SCALE).into_bytes();
    for line in &lines {
        for half in ['▀', '▄'] {
            let is_dark = |x| line.chars().nth(x).is_some_and(|c| c == '█' || c == half);
            let row: Vec<u8> = (0..width * SCALE).map(|x| if is_dark(x / SCALE) { 0 } else { 255 }).collect();
            (0..SCALE).for_each(|_| pixels.extend(&row));
        }
    }
    pixels
}

fn without_escapes(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut shown = parts.next().unwrap_or_default().to_owned();
    shown.extend(parts.filter_map(|part| part.split_once('m')).map(|(_, rest)| rest));
    shown
}
