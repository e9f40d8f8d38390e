//! One folder's trackers as they were given: items that are asked side by side, each of which names one
//! tracker or several alternatives.
//!
//! The items of a list are no tiers as in BEP 12, since those spare the trackers and not the user, who
//! would wait until the first is found dead, and never meet a peer that reached another one. Alternatives
//! (an item with blanks between its URLs) are for whoever has a tracker and a spare: the next is asked
//! while all before it fail. In two things they differ from a tier of BEP 12, so that all devices of a
//! folder end at the same one: the order is the one that was written, the same everywhere, not drawn by
//! lot; and one that failed goes on being tried, ever more rarely, and is the one again when it answers.

use std::collections::BTreeSet;

use keystore::DiscoveryId;

use super::Family;
use super::url::{Host, TrackerUrl};

/// As many trackers are asked for one folder; a link or a configuration that names more is a mistake.
const MAX_TRACKERS: usize = 32;

/// A tracker over one address family.
pub(super) type LineKey = (TrackerUrl, Family);

/// A tracker as it was given, and what it is.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) source: String,
    pub(super) url: Result<TrackerUrl, String>,
}

/// All trackers of a folder.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) discovery: DiscoveryId,
    /// Alternatives stand together, in the order in which they are asked.
    pub(super) items: Vec<Vec<Listing>>,
    /// Those that are asked now.
    pub(super) asked: BTreeSet<LineKey>,
}

impl Listed {
    /// Reads a list; nobody is asked yet.
    pub(super) fn parse(discovery: DiscoveryId, items: &[String]) -> Self {
        let mut count = 0;
        let mut listing = |source: &str| {
            count += 1;
            let url = match source.parse::<TrackerUrl>() {
                _ if count > MAX_TRACKERS => {
                    Err(format!("it is not asked: only {MAX_TRACKERS} trackers are"))
                }
                Ok(url) => Ok(url),
                Err(error) => Err(error.to_string()),
            };
            Listing { source: source.to_owned(), url }
        };
        // More than the limit are shown, but not without end.
        let items = items.iter().take(2 * MAX_TRACKERS);
        let items = items.map(|item| split(item).take(2 * MAX_TRACKERS).map(&mut listing).collect());
        Self { discovery, items: items.collect(), asked: BTreeSet::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.iter().all(Vec::is_empty)
    }

    /// Whether whom to ask depends on what comes of it.
    pub(super) fn has_alternatives(&self) -> bool {
        self.items.iter().any(|item| item.len() > 1)
    }

    /// Whom to ask, while these have failed: of each item all up to the first that has not.
    pub(super) fn to_ask(&self, has_failed: impl Fn(&TrackerUrl) -> bool) -> BTreeSet<LineKey> {
        let mut all = BTreeSet::new();
        for item in &self.items {
            for url in item.iter().filter_map(|listing| listing.url.as_ref().ok()) {
                all.extend(families(url).into_iter().map(|family| (url.clone(), family)));
                if !has_failed(url) {
                    break;
                }
            }
        }
        all
    }

    /// Whether a tracker waits for the one before it to fail.
    pub(super) fn stands_by(&self, url: &TrackerUrl) -> bool {
        !families(url).into_iter().any(|family| self.asked.contains(&(url.clone(), family)))
    }
}

/// The alternatives of an item. No URL has a blank in it.
pub(super) fn split(item: &str) -> impl Iterator<Item = &str> {
    item.split_whitespace()
}

/// The families over which a tracker may be reached; of a name, both are tried.
pub(super) fn families(url: &TrackerUrl) -> Vec<Family> {
    match &url.host {
        Host::Ip(ip) => vec![Family::of(*ip)],
        Host::Name(_) => vec![Family::V4, Family::V6],
    }
}
