//! What is expected of `syncd`, row by row. The one place where it is written down.

use crate::figures::Figure;

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// At most that much, in the figure's unit.
    AtMost(f64),
    /// At least that much.
    AtLeast(f64),
    /// At most that many times what another program has in the same run.
    Times(f64, &'static str),
    /// At most that many times what it is in another row of the same run.
    TimesRow(f64, &'static str),
}

/// One thing that is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal {
    /// In which row.
    pub(crate) row: &'static str,
    /// Of what.
    pub(crate) figure: Figure,
    /// How much.
    pub(crate) bound: Bound,
}

const fn goal(row: &'static str, figure: Figure, bound: Bound) -> Goal {
    Goal { row, figure, bound }
}

use Bound::{AtLeast, AtMost, Times, TimesRow};
use Figure::{
    MovedShare, P50, P95, Peak, Processor, ProcessorPerGigabyte, ProcessorPerMinute, Rate, SeederShare, Wall,
    Wire, WireShare,
};

const MB: f64 = 1e6;
/// Where no content may be read, written or sent: what a database and lists take, as a part of it.
const NO_CONTENT: f64 = 0.1;
/// The same where files are so small that what a database has of each is a good part of it.
const RECORDS: f64 = 0.3;

/// All of them.
pub(crate) const GOALS: [Goal; 43] = [
    goal("W1", Wall, Times(0.6, "syncthing")),
    goal("W1", Wall, Times(1.6, "rsync")),
    goal("W1", ProcessorPerGigabyte, AtMost(5.0)),
    goal("W2", Wall, Times(0.7, "rsync")),
    goal("W2", Wall, Times(1.0 / 12.0, "syncthing")),
    goal("W2", Peak, AtMost(100.0 * MB)),
    goal("W3", Wall, Times(1.0, "rsync")),
    goal("W3", Wall, Times(1.0 / 7.0, "syncthing")),
    goal("W4", Wall, Times(0.8, "rsync")),
    goal("W4", Wire, AtMost(1.8 * MB)),
    goal("W4@10GiB", Wire, AtMost(1.8 * MB)),
    goal("W5", Wall, Times(1.5, "rsync")),
    goal("W5", Wall, Times(1.0 / 8.0, "syncthing")),
    goal("W5", Wire, AtMost(MB)),
    goal("W6", Wall, AtMost(1.0)),
    goal("W6", Wire, AtMost(2.0 * MB)),
    goal("W6", MovedShare, AtMost(NO_CONTENT)),
    goal("W7", P50, AtMost(0.08)),
    goal("W7", P95, AtMost(0.2)),
    goal("W8", Processor, Times(1.0, "syncthing")),
    goal("W8", ProcessorPerMinute, AtMost(0.07)),
    goal("W8", Peak, AtMost(60.0 * MB)),
    goal("D-sync", Wall, TimesRow(4.5, "D-quarter")),
    goal("D-save", P50, AtMost(0.08)),
    goal("M-idle", ProcessorPerMinute, AtMost(0.07)),
    goal("M-idle", Peak, AtMost(200.0 * MB)),
    goal("M-save", P50, AtMost(0.08)),
    goal("W9", Wall, AtMost(2.0)),
    goal("W9", MovedShare, AtMost(NO_CONTENT)),
    goal("W9", WireShare, AtMost(NO_CONTENT)),
    goal("M-restart", Wall, AtMost(15.0)),
    goal("M-restart", MovedShare, AtMost(RECORDS)),
    goal("M-restart", WireShare, AtMost(NO_CONTENT)),
    goal("D-restart", WireShare, AtMost(NO_CONTENT)),
    goal("W10-1", Wall, AtMost(34.0)),
    goal("W10-2", Wall, AtMost(34.0)),
    goal("W10-4", Wall, AtMost(34.0)),
    goal("W10-4", SeederShare, AtMost(1.1)),
    goal("W10-8", Wall, AtMost(34.0)),
    goal("W11", Wall, AtMost(8.0)),
    goal("W11", Wall, Times(1.0 / 8.0, "syncthing")),
    goal("WAN-lossy", Wall, AtMost(4.0)),
    goal("WAN-long", Rate, AtLeast(2_500.0)),
];

/// What is expected in a row.
pub(crate) fn of_row(row: &str) -> impl Iterator<Item = &'static Goal> {
    GOALS.iter().filter(move |goal| goal.row == row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_of_a_row_that_is_measured() {
        let rows = crate::catalogue::rows();
        for goal in GOALS {
            assert!(rows.contains(&goal.row), "{goal:?}");
            if let TimesRow(_, other) = goal.bound {
                assert!(rows.contains(&other), "{goal:?}");
            }
        }
    }
}
