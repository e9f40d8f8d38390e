//! Makes names chosen by others safe to print on a terminal.

use std::fmt;

/// Shows text with every character spelled out that could act on the terminal or deceive the eye:
/// controls (escape sequences, line breaks) and the marks that turn the direction of writing.
pub fn printable(text: &str) -> Printable<'_> {
    Printable(text)
}

/// Text that is safe to print.
pub struct Printable<'t>(&'t str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                _ if c.is_control() || turns_direction(c) => write!(f, "{}", c.escape_unicode())?,
                _ => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_spelled_out_and_letters_are_not() {
        assert_eq!(printable("a\u{1b}[31mb\r\n").to_string(), "a\\u{1b}[31mb\\u{d}\\n");
        assert_eq!(printable("gpj.\u{202e}exe").to_string(), "gpj.\\u{202e}exe");
        assert_eq!(printable("Größe 写真 🎞").to_string(), "Größe 写真 🎞");
    }
}
