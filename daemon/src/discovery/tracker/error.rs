//! What can go wrong between us and a tracker, as sentences for whoever has configured it.

use std::io;
use std::net::SocketAddr;

use keystore::DiscoveryId;

use super::Family;
use crate::tracker::wire::bencode::BencodeError;

/// The longest text of a tracker that is shown.
const MAX_SHOWN_CHARS: usize = 200;

/// Why a tracker cannot be asked, or has not helped.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// It is none.
    #[error("{url:?} is no tracker's URL: {why}")]
    Url {
        /// What was given, without control characters.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody knows the name.
    #[error("cannot find {host}: {cause}; check its name and this machine's network")]
    Name {
        /// The host's name.
        host: String,
        /// What the resolver says.
        cause: io::Error,
    },
    /// The name has addresses, but not of this family.
    #[error("{host} has no {family} address")]
    NoAddress {
        /// The host.
        host: String,
        /// Which one is lacking.
        family: Family,
    },
    /// There is no way to it.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// Where it was tried.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// It says nothing.
    #[error("{address} does not answer; is the tracker running, and does a firewall let it be asked?")]
    Silent {
        /// Where it was tried.
        address: SocketAddr,
    },
    /// It refuses and gives no reason, as opentracker does over UDP.
    #[error("the tracker refused this folder; if it keeps a white list, its operator must add {0}")]
    NotListed(DiscoveryId),
    /// It refuses, with a reason.
    #[error("the tracker refused this folder: {reason}{}", advice(reason, discovery))]
    Refused {
        /// Its words, short and without control characters.
        reason: String,
        /// The folder, as trackers know it.
        discovery: DiscoveryId,
    },
    /// It is no tracker, or not at this path.
    #[error("{address} answered with HTTP status {status}; check the tracker's URL")]
    Status {
        /// Who answered.
        address: SocketAddr,
        /// The status.
        status: u16,
    },
    /// It points elsewhere, where we do not go.
    #[error("{address} sends us elsewhere, {why}, where we do not follow; give the URL that is to be asked")]
    Redirect {
        /// Who answered.
        address: SocketAddr,
        /// Why we do not follow.
        why: &'static str,
    },
    /// It is not the answer of a tracker.
    #[error("{address} answered, but not as a tracker does: {why}")]
    Malformed {
        /// Who answered.
        address: SocketAddr,
        /// What is wrong.
        why: String,
    },
    /// Its URL gives no place to scrape.
    #[error("this tracker can only be announced to: its URL does not end in /announce")]
    NoScrape,
}

impl TrackerError {
    /// A refusal in the tracker's own words.
    pub(super) fn refused(reason: &[u8], discovery: DiscoveryId) -> Self {
        let reason: String = String::from_utf8_lossy(reason)
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_SHOWN_CHARS)
            .collect();
        Self::Refused { reason, discovery }
    }

    /// An answer that cannot be read.
    pub(super) fn bencode(address: SocketAddr, cause: BencodeError) -> Self {
        Self::Malformed { address, why: cause.to_string() }
    }

    /// Whether the tracker works and wants nothing of this folder; the others are not concerned.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::NotListed(_) | Self::Refused { .. })
    }
}

/// Trackers say in many ways that they keep a list.
fn advice(reason: &str, discovery: &DiscoveryId) -> String {
    let reason = reason.to_ascii_lowercase();
    match ["authori", "white", "regist", "list", "allow"].iter().any(|word| reason.contains(word)) {
        true => format!(" (if it keeps a white list, its operator must add {discovery})"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_operator_must_add_when_it_sounds_like_a_list() {
        let id = DiscoveryId([0xab; 20]);
        let hex = "ab".repeat(20);
        let list = TrackerError::refused(b"Requested download is not authorized\0\x1b[2J", id).to_string();
        assert_eq!(
            list,
            format!(
                "the tracker refused this folder: Requested download is not authorized[2J \
                 (if it keeps a white list, its operator must add {hex})"
            )
        );
        let other = TrackerError::refused(b"come back later", id).to_string();
        assert_eq!(other, "the tracker refused this folder: come back later");
        assert!(TrackerError::NotListed(id).to_string().ends_with(&hex));
    }
}
