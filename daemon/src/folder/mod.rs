//! One folder at work: what it sees, what it does, and the loop between.
//!
//! [`Folder`] is the handle that the rest of the daemon holds. Behind it a [`runner`] feeds the
//! engine of the `protocol` crate, which decides everything; `hands` carry out what it says:
//! [`scan`] and [`watch`] look, [`stage`] gathers bytes, [`apply`] changes the disk, [`archive`]
//! keeps what was replaced, [`serve`] answers peers, [`contacts`] knows where they may be, `root` and [`marker`] know whether the root
//! is still the one that it was.

pub mod apply;
pub mod archive;
pub mod archived;
mod arrivals;
pub mod contacts;
pub mod hands;
pub mod hash;
pub mod ignored;
pub mod kept;
mod linked;
pub mod marker;
pub mod rates;
pub mod root;
pub mod runner;
pub mod scan;
pub mod serve;
pub mod spelling;
pub mod stage;
pub mod upkeep;
pub mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use keystore::{Capability, DeviceId, FolderSecret, Opening};
use parking_lot::{Mutex, RwLock};
use protocol::context::Label;
use protocol::engine::{self, Command, Engine, Event, Hold, Identity};
use protocol::{Origin, RelPath};
use tokio::sync::oneshot;

use self::archive::Archived;
use self::archived::BroughtBack;
use self::arrivals::Arrivals;
use self::hands::Hands;
use self::kept::Kept;
use self::runner::{Input, Inputs, Runner};
use crate::config::{LocalChanges, Settings};
use crate::net::{Net, Serve};
use crate::store;

/// How long a joined folder waits for a first head before it commits what it found.
const FIRST_HEAD_WAIT: Duration = Duration::from_secs(30);

/// What a folder is made of.
pub struct FolderSetup {
    /// Its key.
    pub secret: FolderSecret,
    /// What it is called here.
    pub name: String,
    /// Its directory.
    pub root: PathBuf,
    /// The random id that marks its directory.
    pub root_id: [u8; 16],
    /// Made here: it waits for no first head.
    pub created: bool,
    /// What a reader was told by its peers.
    pub opening: Option<Opening>,
    /// Added just now: its marker is as new as its database.
    pub fresh: bool,
    /// Its part of the database.
    pub store: store::FolderStore,
    /// The network.
    pub net: Arc<Net>,
    /// Its settings.
    pub settings: Settings,
}

/// A running folder.
pub struct Folder {
    name: String,
    root: PathBuf,
    secret: FolderSecret,
    inputs: Inputs,
    arrivals: Arrivals,
    hands: Arc<Hands>,
    kept: Kept,
    net: Arc<Net>,
    settings: RwLock<Settings>,
    created: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Folder {
    /// Starts the loop. Trouble with the root is a hold, never an error.
    pub fn start(setup: FolderSetup) -> std::io::Result<Arc<Self>> {
        let FolderSetup { secret, name, root, root_id, created, opening, fresh, store, net, settings } =
            setup;
        let kept = Kept(store);
        let (inputs, receiver) = runner::inputs();
        let hands =
            Hands::new(&secret, &root, root_id, kept.clone(), Arc::clone(&net), inputs.clone(), &settings);
        let (at_start, engine_kept, engine_secret) = (Arc::clone(&hands), kept.clone(), secret.clone());
        let device = net.device_id();
        let make = Box::new(move |now, distrust_records| {
            let settings = at_start.settings();
            let opening = opening_of(&engine_secret, &engine_kept).or_else(|| opening.clone());
            let identity = identity(&engine_secret, device, opening.as_ref(), &settings.name);
            let paused = engine_kept.0.facts().map(|facts| facts.paused).unwrap_or_default();
            // Lost records wait for a first head as well: then what is equal is not put again.
            let lost = distrust_records && engine_kept.0.load_state().is_ok_and(|state| state.is_none());
            let start = engine::Start { joined: !created || lost, distrust_records, paused };
            Engine::new(engine_kept.clone(), identity, engine_settings(&settings), start, now)
        });
        let thread = Runner::start(&name, Arc::clone(&hands), receiver, fresh, make)?;
        let (arrivals, arriving) = Arrivals::new();
        let folder = Arc::new(Self {
            name,
            root,
            secret,
            inputs,
            arrivals,
            hands: Arc::clone(&hands),
            kept,
            net: Arc::clone(&net),
            settings: RwLock::new(settings),
            created,
            thread: Mutex::new(Some(thread)),
        });
        tokio::spawn(arrivals::take_on(arriving, Arc::downgrade(&folder)));
        Ok(folder)
    }

    /// Lets peers find and join the folder: called once its events can be delivered.
    pub fn go_online(&self) {
        let opening = opening_of(&self.secret, &self.kept);
        self.exchange_peers(&self.settings.read());
        self.net.add_folder(self.secret.clone(), opening, Arc::clone(&self.hands) as Arc<dyn Serve>);
        contacts::dial_known(&self.net, self.secret.folder_id(), &self.kept);
        self.dial_linked();
    }

    /// What it is called here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its key.
    pub fn secret(&self) -> &FolderSecret {
        &self.secret
    }

    /// Whether it was made here: it need not hear from anybody to be in sync.
    pub fn is_created(&self) -> bool {
        self.created
    }

    /// Whether we may write.
    pub fn is_writer(&self) -> bool {
        self.secret.capability() == Capability::Write
    }

    /// Its settings.
    pub fn settings(&self) -> Settings {
        self.settings.read().clone()
    }

    /// What its hands are doing, for `status`.
    pub fn hands(&self) -> &Arc<Hands> {
        &self.hands
    }

    /// Tells the loop something.
    pub fn event(&self, event: Event) {
        self.inputs.event(event);
    }

    /// A peer says how the secret opens: believed if it fits, and kept. Blocks.
    pub fn opened(&self, opening: &Opening) {
        if let Ok(verifier) = self.secret.check_opening(opening) {
            if let Ok(mut facts) = self.kept.0.facts() {
                facts.opening = Some((opening.verifying_key, opening.blinding));
                let _ = self.kept.0.save_facts(&facts);
            }
            self.inputs.event(Event::Opened(verifier));
        }
    }

    /// Another process has our identity. Said again for as long as it is so.
    pub fn duplicate_device(&self, address: SocketAddr) {
        self.inputs.try_event(Event::Root(Some(Hold {
            code: "DUP_DEVICE_ID",
            message: format!(
                "another daemon ({address}) runs with a copy of this device's home; stop one of the two, and \
                 delete its home before it joins again"
            ),
        })));
    }

    /// Asks the loop, between two events. `None` if it has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Runner) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, wait) = oneshot::channel();
        let ask = Box::new(move |runner: &mut Runner| {
            let _ = answer.send(question(runner));
        });
        let inputs = self.inputs.clone();
        let _ = tokio::task::spawn_blocking(move || inputs.send(Input::Ask(ask))).await;
        wait.await.ok()
    }

    /// Obeys new settings.
    pub fn set_settings(&self, settings: Settings) {
        let engine_settings = engine_settings(&settings);
        self.hands.set_settings(&settings);
        self.exchange_peers(&settings);
        *self.settings.write() = settings;
        self.inputs.send(Input::Ask(Box::new(move |runner| runner.set_settings(engine_settings))));
    }

    /// What was pinned.
    pub fn pinned(&self) -> Vec<String> {
        self.kept.0.pinned().unwrap_or_default()
    }

    /// Pauses or resumes, also over restarts.
    pub fn pause(&self, pause: bool) -> Result<(), store::DatabaseError> {
        let mut facts = self.kept.0.facts()?;
        facts.paused = pause;
        self.kept.0.save_facts(&facts)?;
        self.inputs.event(Event::Command(if pause { Command::Pause } else { Command::Resume }));
        Ok(())
    }

    /// Ends a hold: what was held back happens.
    pub async fn approve(&self) {
        let hands = Arc::clone(&self.hands);
        self.ask(move |runner| {
            match runner.engine.hold().map(|hold| hold.code) {
                Some("ROLLBACK_SUSPECTED") => hands.accept_disk(),
                Some("MASS_DELETE") => hands.accept_empty(),
                _ => {}
            }
            runner.handle(Event::Command(Command::Approve));
        })
        .await;
    }

    /// Gives up local changes, or a mass deletion.
    pub fn revert(&self, path: Option<RelPath>) {
        let hands = Arc::clone(&self.hands);
        self.inputs.send(Input::Ask(Box::new(move |runner| {
            if runner.engine.hold().is_some_and(|hold| hold.code == "MASS_DELETE") {
                hands.accept_empty();
            }
            runner.handle(Event::Command(Command::Revert(path)));
        })));
    }

    /// What is in the archive at or below a path, newest first.
    pub async fn archive_list(&self, path: Option<RelPath>) -> std::io::Result<Vec<Archived>> {
        let hands = Arc::clone(&self.hands);
        tokio::task::spawn_blocking(move || hands.archive_list(path.as_ref())).await?
    }

    /// Brings back the newest archived files at or below a path.
    pub async fn archive_restore(&self, path: Option<RelPath>) -> std::io::Result<BroughtBack> {
        let hands = Arc::clone(&self.hands);
        let restored = tokio::task::spawn_blocking(move || hands.archive_restore(path.as_ref())).await??;
        self.event(Event::Noticed(engine::Noticed::Everything));
        Ok(restored)
    }

    /// Ends the loop in order; when this returns nothing is being written any more.
    pub async fn stop(&self) {
        self.net.remove_folder(self.secret.folder_id());
        let thread = self.thread.lock().take();
        let inputs = self.inputs.clone();
        let _ = tokio::task::spawn_blocking(move || {
            inputs.send(Input::Stop);
            thread.map(JoinHandle::join)
        })
        .await;
    }

    /// Deletes the marker, so that the directory is a plain one again.
    pub fn remove_marker(&self) {
        self.hands.remove_marker();
    }

    /// What is kept of the folder.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// How many conflict copies are shown.
    pub fn conflicts(&self) -> u64 {
        self.kept.0.conflicts().unwrap_or_default()
    }
}

/// How the secret opens: a writer knows, a reader may have been told.
fn opening_of(secret: &FolderSecret, kept: &Kept) -> Option<Opening> {
    secret.opening().or_else(|| {
        let (verifying_key, blinding) = kept.0.facts().ok()?.opening?;
        Some(Opening { verifying_key, blinding })
    })
}

fn identity(secret: &FolderSecret, device: DeviceId, opening: Option<&Opening>, name: &str) -> Identity {
    let own = secret.opening();
    let opening = own.as_ref().or(opening);
    Identity {
        folder: secret.folder_id(),
        device,
        capability: secret.capability(),
        signer: secret.signer(),
        verifier: opening.and_then(|opening| secret.check_opening(opening).ok()),
        origin: Origin(crate::random::bytes()),
        label: Label::new(name),
    }
}

fn engine_settings(settings: &Settings) -> engine::Settings {
    engine::Settings {
        hold_deletions: settings.hold_deletions,
        revert_local_changes: settings.reader_local_changes == LocalChanges::Revert,
        first_head_wait: FIRST_HEAD_WAIT,
        ..engine::Settings::default()
    }
}
