//! Versions of commits, and the order that they give to the entries of a path.

use std::fmt;

/// One run of one writing device in one folder: 8 random bytes, drawn for the first commit after
/// each start of the daemon, so that no version is ever issued twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub [u8; 8]);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One commit of one origin. `seq` is a Lamport number, one more than the largest in the context
/// that the commit was made in; gaps mean nothing. Ordered by seq, then origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// One more than the largest seq that the commit had seen; never zero.
    pub seq: u64,
    /// Who made the commit.
    pub origin: Origin,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.seq, self.origin)
    }
}

/// The order of the entries at one path; the largest has the name. Found entries rank below all
/// others. Never a clock, and nothing can tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    known: bool,
    version: Version,
}

impl Rank {
    /// The rank of an entry of `version` that was, or was not, merely found on a disk.
    pub fn new(found: bool, version: Version) -> Self {
        Self { known: !found, version }
    }
}
