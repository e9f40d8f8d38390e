//! A link as a picture for a camera, drawn in half-block characters.
//!
//! Two modules of the code share one character, one above the other. A scanner wants dark modules on
//! a light ground with a quiet border: on a terminal both colours are set, so that its own do not
//! matter; elsewhere (a file, a pipe) the picture is plain text, to be shown dark on light.

use std::io::IsTerminal;

use qrcode::{Color, EcLevel, QrCode};

use crate::api::error::{ApiError, Class};

/// Light modules around the code; the standard wants four.
const QUIET: usize = 4;
/// Black on white from the fixed part of the 256 colours, which themes leave alone.
const COLOURS: &str = "\u{1b}[38;5;16;48;5;231m";
const PLAIN_AGAIN: &str = "\u{1b}[0m";

/// What the picture is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canvas {
    /// A terminal of so many columns, if that is known.
    Terminal(Option<usize>),
    /// Something that keeps text.
    Text,
}

/// What standard output is.
pub fn canvas() -> Canvas {
    let out = std::io::stdout();
    let is_plain = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match out.is_terminal() && !is_plain {
        true => Canvas::Terminal(
            rustix::termios::tcgetwinsize(&out)
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|columns| *columns > 0),
        ),
        false => Canvas::Text,
    }
}

/// Draws a link.
///
/// # Errors
/// When it is longer than any code can hold, or the terminal is too narrow for it: with the next step.
pub fn draw(link: &str, canvas: Canvas) -> Result<String, ApiError> {
    // The lowest level of correction makes the smallest picture; screens have no scratches.
    let code = QrCode::with_error_correction_level(link, EcLevel::L).map_err(|_| too_long(link.len()))?;
    let width = code.width() + 2 * QUIET;
    if let Canvas::Terminal(Some(columns)) = canvas
        && columns < width
    {
        return Err(too_narrow(width, columns));
    }
    let is_dark = |x: usize, y: usize| {
        let inside = (QUIET..code.width() + QUIET).contains(&x) && (QUIET..code.width() + QUIET).contains(&y);
        inside && code[(x - QUIET, y - QUIET)] == Color::Dark
    };
    let mut picture = String::new();
    for top in (0..width).step_by(2) {
        let line = (0..width).map(|x| half_blocks(is_dark(x, top), is_dark(x, top + 1)));
        match canvas {
            Canvas::Terminal(_) => {
                picture.push_str(COLOURS);
                picture.extend(line);
                picture.push_str(PLAIN_AGAIN);
            }
            Canvas::Text => picture.push_str(line.collect::<String>().trim_end()),
        }
        picture.push('\n');
    }
    Ok(picture)
}

fn half_blocks(top: bool, bottom: bool) -> char {
    match (top, bottom) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

fn too_long(bytes: usize) -> ApiError {
    let message = format!("the link has {bytes} bytes, more than a QR code can hold");
    ApiError::new(Class::Failed, "LINK_TOO_LONG", message).next(
        "give it as text: `syncd keys FOLDER --link`; or shorten it: a shorter name, fewer \
         `discovery.trackers`",
    )
}

fn too_narrow(width: usize, columns: usize) -> ApiError {
    let message = format!("the QR code is {width} columns wide, and the terminal {columns}");
    ApiError::new(Class::Failed, "TERMINAL_TOO_NARROW", message).next(
        "make the window wider or its letters smaller; or give the link as text: `syncd keys FOLDER --link`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_read_back_by_another_program_and_is_the_link() {
        let key = "BLZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX";
        let short = format!("syncd://{key}");
        let long = format!(
            "syncd://{key}?n=Gr%C3%B6%C3%9Fe%20of%20photos&s=3300000000&a=203.0.113.7%3A4455&\
             a=%5B2001%3Adb8%3A%3A7%5D%3A4455&a=192.168.1.17%3A4455&t=udp%3A%2F%2Ftracker.example%3A6969&c=abcdef"
        );
        for link in [short, long] {
            for canvas in [Canvas::Terminal(None), Canvas::Terminal(Some(200)), Canvas::Text] {
                let Some(read) = harness::read_qr(&draw(&link, canvas).unwrap()) else {
                    harness::skipped("it needs zbarimg (Debian: zbar-tools)");
                    return;
                };
                assert_eq!(read, link, "{canvas:?}");
            }
        }
    }

    #[test]
    fn a_terminal_is_told_both_colours_on_each_line_and_a_file_none() {
        let shown = draw("syncd://K", Canvas::Terminal(Some(80))).unwrap();
        assert!(shown.lines().all(|line| line.starts_with(COLOURS) && line.ends_with(PLAIN_AGAIN)));
        let kept = draw("syncd://K", Canvas::Text).unwrap();
        assert!(!kept.contains('\u{1b}') && kept.lines().next().unwrap().is_empty(), "{kept}");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_next_step() {
        let long = draw(&"x".repeat(3_000), Canvas::Text).unwrap_err();
        assert_eq!((long.code.as_str(), long.next.is_some()), ("LINK_TOO_LONG", true));
        let narrow = draw("syncd://K", Canvas::Terminal(Some(20))).unwrap_err();
        assert_eq!((narrow.code.as_str(), narrow.next.is_some()), ("TERMINAL_TOO_NARROW", true));
    }
}
