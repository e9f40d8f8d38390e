//! What the loops have taken before, as a file that people can read and git can show.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How much more than before is no regression: another layout of the code is worth as much.
const TOLERANCE: f64 = 0.03;

/// Instructions by the names of the loops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline(BTreeMap<String, u64>);

/// How a loop compares with before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It was not there.
    New,
    /// As before, by so many parts.
    Same(f64),
    /// Less than before, by so many parts: worth a new baseline.
    Better(f64),
    /// More than before.
    Worse(f64),
}

impl Baseline {
    /// Reads the file: a name and a number in each line that does not begin with `#`.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let parse = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.trim().replace(',', "").parse().ok()?))
        };
        Self(lines.filter_map(parse).collect())
    }

    /// Puts a number in.
    pub fn set(&mut self, name: &str, instructions: u64) {
        self.0.insert(name.to_owned(), instructions);
    }

    /// Holds a number against it.
    pub fn judge(&self, name: &str, instructions: u64) -> Change {
        let Some(before) = self.0.get(name) else { return Change::New };
        let change = instructions as f64 / *before as f64 - 1.0;
        match change {
            _ if change > TOLERANCE => Change::Worse(change),
            _ if change < -TOLERANCE => Change::Better(change),
            _ => Change::Same(change),
        }
    }

    /// The file, under a few lines that say what it is.
    pub fn to_text(&self, about: &[String]) -> String {
        let mut text = String::new();
        for line in about {
            let _ = writeln!(text, "# {line}");
        }
        for (name, number) in &self.0 {
            let _ = writeln!(text, "{name} {number}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut baseline = Baseline::default();
        baseline.set("b", 2_000);
        baseline.set("a", 1);
        let text = baseline.to_text(&["what it is".to_owned()]);
        assert_eq!(text, "# what it is\na 1\nb 2000\n");
        assert_eq!(Baseline::parse(&text), baseline);
    }

    #[test]
    fn a_loop_is_worse_beyond_the_tolerance() {
        let baseline = Baseline::parse("a 1000\n");
        assert!(matches!(baseline.judge("a", 1_029), Change::Same(_)));
        assert!(matches!(baseline.judge("a", 1_031), Change::Worse(_)));
        assert!(matches!(baseline.judge("a", 969), Change::Better(_)));
        assert_eq!(baseline.judge("b", 1), Change::New);
    }
}
