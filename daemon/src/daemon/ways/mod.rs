//! Which ways of finding peers run, and for which folders: what the settings say, carried out.
//!
//! [`Ways`] is told of folders and their settings. From these follows a [`plan`]; what runs is then
//! brought in line with it: started, told of folders, stopped. What cannot be started (no network yet)
//! is tried again. When the network has changed, all are told to look again.
//!
//! Not here: what a way does (`discovery`), and whether a hint is dialled (`net`).

mod adapters;
pub(crate) mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use keystore::{DiscoveryId, FolderId};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::plan::{Member, Source, Wish, plan};
use crate::api::types::WayRow;
use crate::config::{Discovery, Lan};
use crate::discovery::{Hint, Way, WayStatus};

pub(super) use self::adapters::Real;

/// Hints that nobody has taken yet; beyond, they are dropped, and come again.
const HINTS: usize = 1024;
/// How long the ways may take to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// Something that runs and finds peers; it stops when it is dropped.
pub(crate) trait Running: Send + Sync {
    /// Does this for a folder from now on, instead of what it did for it.
    fn set_folder(&self, folder: FolderId, wish: &Wish);
    /// Forgets a folder.
    fn remove_folder(&self, folder: FolderId);
    /// What was last done for a folder, one for each that is asked.
    fn status(&self, folder: FolderId) -> Vec<WayStatus>;
    /// The network has changed: ask soon.
    fn look_again(&self);
    /// Says goodbye to whoever wants to hear it.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Whoever can start what the plan names.
pub(crate) trait Start: Send + Sync {
    /// Starts one; its hints go there. The error is a sentence.
    fn start(&self, source: &Source, hints: mpsc::Sender<Hint>) -> Result<Arc<dyn Running>, String>;
}

/// All ways of a daemon.
pub(super) struct Ways {
    start: Box<dyn Start>,
    hints: mpsc::Sender<Hint>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    members: BTreeMap<FolderId, Member>,
    /// Since when each of them is looked for.
    since: BTreeMap<FolderId, Instant>,
    instances: BTreeMap<Source, Instance>,
    is_closed: bool,
}

struct Instance {
    /// What runs, or why it does not.
    running: Result<Arc<dyn Running>, String>,
    /// What it was told of folders.
    told: BTreeMap<FolderId, Wish>,
}

impl Ways {
    /// Nothing runs yet. The hints of all that will comes out of the receiver.
    pub(super) fn new(start: impl Start + 'static) -> (Self, mpsc::Receiver<Hint>) {
        let (hints, receiver) = mpsc::channel(HINTS);
        (Self { start: Box::new(start), hints, state: Mutex::default() }, receiver)
    }

    /// Finds a folder's peers as its settings say, from now on.
    pub(super) fn set_folder(&self, folder: FolderId, discovery: DiscoveryId, settings: Discovery) {
        let mut state = self.state.lock();
        state.members.insert(folder, Member { discovery, settings });
        state.since.entry(folder).or_insert_with(Instant::now);
        self.align(&mut state, false);
    }

    /// Finds a folder's peers no more.
    pub(super) fn remove_folder(&self, folder: FolderId) {
        let mut state = self.state.lock();
        state.members.remove(&folder);
        state.since.remove(&folder);
        self.align(&mut state, false);
    }

    /// Whether peers of this folder are wanted: a hint may come late.
    pub(super) fn has_folder(&self, folder: FolderId) -> bool {
        self.state.lock().members.contains_key(&folder)
    }

    /// How long peers of a folder have been looked for.
    pub(super) fn looking_for(&self, folder: FolderId) -> Duration {
        self.state.lock().since.get(&folder).map(Instant::elapsed).unwrap_or_default()
    }

    /// Tries to start what could not be started.
    pub(super) fn retry(&self) {
        self.align(&mut self.state.lock(), true);
    }

    /// The network has changed: what failed is tried again, and everyone asks soon.
    pub(super) fn look_again(&self) {
        let mut state = self.state.lock();
        self.align(&mut state, true);
        for instance in state.instances.values() {
            instance.running.iter().for_each(|running| running.look_again());
        }
    }

    /// Stops all, and lets those who want to hear it know; it takes [`CLOSE_WITHIN`] at the most.
    pub(super) async fn close(&self) {
        self.close_within(CLOSE_WITHIN).await;
    }

    async fn close_within(&self, patience: Duration) {
        let instances = {
            let mut state = self.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.instances)
        };
        let mut goodbyes = tokio::task::JoinSet::new();
        for running in instances.into_values().filter_map(|instance| instance.running.ok()) {
            goodbyes.spawn(async move { running.close().await });
        }
        let all = async { while goodbyes.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(patience, all).await;
    }

    /// Brings what runs in line with what is wanted.
    fn align(&self, state: &mut State, retry: bool) {
        if state.is_closed {
            return;
        }
        let mut wanted = plan(&state.members);
        state.instances.retain(|source, instance| {
            let is_wanted = wanted.contains_key(source);
            if !is_wanted {
                dismiss(instance);
            }
            is_wanted
        });
        for (source, wishes) in &mut wanted {
            let instance = state.instances.entry(source.clone()).or_insert_with(|| self.begin(source));
            if retry && instance.running.is_err() {
                *instance = self.begin(source);
            }
            tell(instance, std::mem::take(wishes));
        }
    }

    fn begin(&self, source: &Source) -> Instance {
        let running = self.start.start(source, self.hints.clone());
        if let Err(error) = &running {
            tracing::warn!(?source, %error, "a way of finding peers cannot start; it is tried again");
        }
        Instance { running, told: BTreeMap::new() }
    }

    /// How peers of a folder are looked for: each way with each that it asks, also those that are off.
    pub(super) fn status(&self, folder: FolderId) -> Vec<WayRow> {
        let state = self.state.lock();
        let Some(member) = state.members.get(&folder) else { return Vec::new() };
        let settings = &member.settings;
        let mut rows = Vec::new();
        for (way, is_on) in [
            (Way::Lan, settings.lan != Lan::Off),
            (Way::Tracker, !settings.trackers.is_empty()),
            (Way::Dht, settings.dht),
        ] {
            let mut found = Vec::new();
            for (source, instance) in &state.instances {
                if source.way() == way && instance.told.contains_key(&folder) {
                    found.extend(instance.rows(folder, way));
                }
            }
            if found.is_empty() {
                found.push(WayRow { way: way_name(way).to_owned(), enabled: is_on, ..WayRow::default() });
            }
            rows.extend(found);
        }
        rows
    }
}

/// Tells an instance what has changed for its folders.
fn tell(instance: &mut Instance, wishes: BTreeMap<FolderId, Wish>) {
    if let Ok(running) = &instance.running {
        for gone in instance.told.keys().filter(|folder| !wishes.contains_key(*folder)) {
            running.remove_folder(*gone);
        }
        for (folder, wish) in wishes.iter().filter(|(folder, wish)| instance.told.get(*folder) != Some(*wish))
        {
            running.set_folder(*folder, wish);
        }
    }
    instance.told = wishes;
}

/// Stops one that nobody wants any more, after its goodbye.
fn dismiss(instance: &Instance) {
    if let Ok(running) = &instance.running {
        let running = Arc::clone(running);
        for folder in instance.told.keys() {
            running.remove_folder(*folder);
        }
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CLOSE_WITHIN, running.close()).await;
        });
    }
}

impl Source {
    fn way(&self) -> Way {
        match self {
            Self::Lan | Self::LanOnLoopback => Way::Lan,
            Self::Trackers => Way::Tracker,
            Self::Dht(_) => Way::Dht,
        }
    }
}

impl Instance {
    fn rows(&self, folder: FolderId, way: Way) -> Vec<WayRow> {
        match &self.running {
            Ok(running) => running.status(folder).into_iter().map(row).collect(),
            Err(error) => {
                let way = way_name(way).to_owned();
                vec![WayRow { way, enabled: true, error: Some(error.clone()), ..WayRow::default() }]
            }
        }
    }
}

fn row(status: WayStatus) -> WayRow {
    let seconds = |time: SystemTime| Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs());
    WayRow {
        way: way_name(status.way).to_owned(),
        source: (!status.source.is_empty()).then_some(status.source),
        enabled: true,
        last_announce: status.last_announce.and_then(seconds),
        next: status.next.and_then(seconds),
        found: status.found as u64,
        error: status.error,
        stands_by: status.stands_by,
    }
}

/// The word for `status` and its JSON.
fn way_name(way: Way) -> &'static str {
    match way {
        Way::Lan => "lan",
        Way::Tracker => "tracker",
        Way::Dht => "dht",
    }
}
