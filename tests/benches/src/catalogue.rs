//! What is measured: trees, machines, wires, and the steps on them.
//!
//! Steps on one tree are a [`Chain`], done one after the other on the same machines, so that a tree of
//! 100,000 files is synced once for five rows of the table.

use std::time::Duration;

use crate::tree::Base;
use crate::wan::Line;

/// What is done in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The first machine takes the tree in, alone.
    Scan,
    /// The tree comes to machines that have nothing.
    FirstSync,
    /// A MiB in the middle of the file is written anew, in place.
    Overwrite,
    /// The file is replaced by itself with a byte in front.
    Prepend,
    /// The directory is renamed.
    Rename,
    /// One small file is created or changed, many times.
    Save,
    /// Nothing.
    Idle,
    /// The second machine's program is stopped and started.
    Restart,
    /// All is deleted.
    Delete,
}

/// Steps on one tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    /// The tree.
    pub(crate) base: Base,
    /// How many machines.
    pub(crate) machines: u8,
    /// The wire, if not a bridge.
    pub(crate) line: Option<Line>,
    /// What the first machine may send, in megabits a second.
    pub(crate) cap: Option<u32>,
    /// Who takes part.
    pub(crate) systems: &'static [&'static str],
    /// The steps, the first one a first sync or scan; and their rows, empty where it is but the way
    /// to the next step.
    pub(crate) steps: &'static [(Step, &'static str)],
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// All of them.
const ALL: &[&str] = &["syncd", "rsync", "syncthing", "cp"];
/// Those that have a wire.
const WIRED: &[&str] = &["syncd", "rsync", "syncthing"];
/// What would take the others half an hour, or more disk than there is.
const OURS: &[&str] = &["syncd"];

/// What a router of ten megabytes a second lets through, and 5 % for headers.
const SEEDER_MEGABITS: u32 = 84;
/// A household far away.
const LOSSY: Line =
    Line { delay: Duration::from_millis(25), bits_per_second: 100_000_000, lost_per_million: 1_000 };
/// Another continent.
const LONG: Line =
    Line { delay: Duration::from_millis(50), bits_per_second: 1_000_000_000, lost_per_million: 0 };

/// A chain of all systems between two machines on a bridge.
const fn local(base: Base, steps: &'static [(Step, &'static str)]) -> Chain {
    Chain { base, machines: 2, line: None, cap: None, systems: ALL, steps }
}

/// A file of 300 MiB from one who sends slowly to as many as `machines` has others.
const fn swarm(machines: u8, steps: &'static [(Step, &'static str)]) -> Chain {
    let base = Base::One { bytes: 300 * MIB };
    Chain { base, machines, line: None, cap: Some(SEEDER_MEGABITS), systems: WIRED, steps }
}

/// A first sync over a slow line.
const fn far(base: Base, line: Line, steps: &'static [(Step, &'static str)]) -> Chain {
    Chain { base, machines: 2, line: Some(line), cap: None, systems: WIRED, steps }
}

/// All that can be measured, in the order of the table.
pub(crate) const CHAINS: [Chain; 15] = [
    local(Base::One { bytes: 2 * GIB }, &[(Step::FirstSync, "W1")]),
    local(
        Base::Small { files: 100_000, bytes: 4096 },
        &[
            (Step::FirstSync, "W2"),
            (Step::Idle, "W8"),
            (Step::Save, "W7"),
            (Step::Restart, "W9"),
            (Step::Delete, "W11"),
        ],
    ),
    local(Base::Sources { files: 30_000, bytes: 600_000_000 }, &[(Step::FirstSync, "W3")]),
    local(Base::One { bytes: GIB }, &[(Step::FirstSync, ""), (Step::Overwrite, "W4"), (Step::Prepend, "W5")]),
    local(Base::Below { files: 10_000, bytes: 50_000 }, &[(Step::FirstSync, ""), (Step::Rename, "W6")]),
    swarm(2, &[(Step::FirstSync, "W10-1")]),
    swarm(3, &[(Step::FirstSync, "W10-2")]),
    swarm(5, &[(Step::FirstSync, "W10-4")]),
    swarm(9, &[(Step::FirstSync, "W10-8")]),
    far(Base::One { bytes: 41 * MIB }, LOSSY, &[(Step::FirstSync, "WAN-lossy")]),
    far(Base::Small { files: 100_000, bytes: 10_000 }, LONG, &[(Step::FirstSync, "WAN-long")]),
    Chain {
        systems: OURS,
        ..local(Base::Flat { files: 50_000, bytes: 1_000 }, &[(Step::FirstSync, "D-quarter")])
    },
    Chain {
        systems: OURS,
        ..local(
            Base::Flat { files: 200_000, bytes: 1_000 },
            &[(Step::FirstSync, "D-sync"), (Step::Save, "D-save"), (Step::Restart, "D-restart")],
        )
    },
    Chain {
        systems: OURS,
        ..local(Base::One { bytes: 10 * GIB }, &[(Step::FirstSync, ""), (Step::Overwrite, "W4@10GiB")])
    },
    Chain {
        systems: OURS,
        ..local(
            Base::Crowd { files: 1_000_000, bytes: 1_000 },
            &[
                (Step::Scan, "M-scan"),
                (Step::FirstSync, "M-sync"),
                (Step::Idle, "M-idle"),
                (Step::Save, "M-save"),
                (Step::Restart, "M-restart"),
            ],
        )
    },
];

/// What a row is about.
pub(crate) fn title(row: &str) -> &'static str {
    match row {
        "W1" => "a file of 2 GiB, first sync",
        "W2" => "100,000 files of 4 KiB, first sync",
        "W3" => "30,000 files as of sources, 600 MB, first sync",
        "W4" => "1 MiB written anew in the middle of 1 GiB",
        "W4@10GiB" => "1 MiB written anew in the middle of 10 GiB",
        "W5" => "one byte put in front of 1 GiB",
        "W6" => "a directory of 10,000 files, 500 MB, renamed",
        "W7" => "one file of 1 KiB saved beside 100,000",
        "W8" => "idle with 100,000 files",
        "W9" => "restart with 100,000 files, nothing changed",
        "W10-1" => "300 MiB from one who sends 84 Mbit/s, to one",
        "W10-2" => "the same to two",
        "W10-4" => "the same to four",
        "W10-8" => "the same to eight",
        "W11" => "100,000 files deleted",
        "WAN-lossy" => "43 MB over 25 ms each way, 100 Mbit/s, 0.1 % lost",
        "WAN-long" => "100,000 files of 10 kB over 50 ms each way, 1 Gbit/s",
        "D-quarter" => "50,000 files of 1 kB in one directory, first sync",
        "D-sync" => "200,000 files of 1 kB in one directory, first sync",
        "D-save" => "the same: one file of 1 KiB saved",
        "D-restart" => "the same: restart, nothing changed",
        "M-scan" => "1,000,000 files of 1 kB, 200,000 in one directory: taken in",
        "M-sync" => "the same: first sync",
        "M-idle" => "the same: idle",
        "M-save" => "the same: one file of 1 KiB saved",
        "M-restart" => "the same: restart, nothing changed",
        _ => "",
    }
}

impl Chain {
    /// Its rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(|(_, row)| *row).filter(|row| !row.is_empty())
    }

    /// Free disk that it needs: its tree on each machine, the original, the file that a receiver
    /// keeps when it is replaced, and room for databases.
    pub(crate) fn disk_bytes(&self, scale: f64) -> u64 {
        let base = self.base.scaled(scale);
        let trees = u64::from(self.machines) + u64::from(!self.is_made_in_place());
        base.disk_bytes() * trees + base.largest_bytes() + 2 * GIB
    }

    /// Whether its tree is made where it is needed, and not copied from one that is kept for others.
    pub(crate) fn is_made_in_place(&self) -> bool {
        self.systems.len() == 1
    }
}

/// Whether a row was asked for: by its name, or by what stands before its `-`.
pub(crate) fn is_wanted(row: &str, wanted: &[String]) -> bool {
    let group = row.split('-').next().unwrap_or(row);
    wanted.is_empty() || wanted.iter().any(|name| name == row || name == group)
}

/// All rows in their order.
pub(crate) fn rows() -> Vec<&'static str> {
    CHAINS.iter().flat_map(Chain::rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_a_title() {
        let rows = rows();
        for row in &rows {
            assert_eq!(rows.iter().filter(|other| other == &row).count(), 1, "{row}");
            assert!(!title(row).is_empty(), "{row}");
        }
    }

    #[test]
    fn a_row_is_wanted_by_its_name_or_its_groups() {
        let wanted = ["W10".to_owned(), "W4@10GiB".to_owned()];
        let found: Vec<_> = rows().into_iter().filter(|row| is_wanted(row, &wanted)).collect();
        assert_eq!(found, ["W10-1", "W10-2", "W10-4", "W10-8", "W4@10GiB"]);
        assert!(is_wanted("W1", &[]));
        assert!(!is_wanted("W1", &wanted));
    }

    #[test]
    fn every_chain_begins_with_what_brings_the_tree() {
        for chain in CHAINS {
            let (first, _) = chain.steps[0];
            assert!(matches!(first, Step::FirstSync | Step::Scan));
            assert!(chain.line.is_none() || chain.machines == 2);
        }
    }
}
