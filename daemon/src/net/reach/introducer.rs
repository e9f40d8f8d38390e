//! A tracker as introducer: one QUIC connection for each IP family, kept while a folder wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use keystore::DiscoveryId;
use parking_lot::Mutex;
use protocol::frame::FrameDecoder;
use protocol::rendezvous::{Ask, MAX_REGISTERED, MAX_RENDEZVOUS_BYTES, Refusal, Tell};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::punch::punch;
use super::relayed::{self, Lent};
use super::{IntroducerStatus, handle_observed};
use crate::net::dial::is_dialable;
use crate::net::door::canonical;
use crate::net::hub::Hub;

const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// An answer takes a round trip.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// The first and the longest pause before it is tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(60);
/// Questions that wait to be written.
const ASKS: usize = 64;

/// One tracker.
pub(super) struct Introducer {
    tracker: String,
    registered: watch::Sender<BTreeSet<DiscoveryId>>,
    sessions: Mutex<BTreeMap<SocketAddr, Arc<Session>>>,
    error: Mutex<Option<String>>,
}

/// One connection to it.
pub(super) struct Session {
    /// The tracker's.
    pub(super) address: SocketAddr,
    asks: mpsc::Sender<Ask>,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
    ready: Mutex<BTreeMap<u16, oneshot::Sender<()>>>,
}

/// What an introducer says to a question.
#[derive(Debug)]
pub(super) enum Answer {
    /// The other is told of us; this is where it is seen.
    Introduced(SocketAddr),
    Relayed(Lent),
    Refused(Refusal),
}

impl Introducer {
    pub(super) fn new(tracker: String) -> Self {
        let (sessions, error) = Default::default();
        Self { tracker, registered: watch::Sender::default(), sessions, error }
    }

    /// Replaces the swarms that it is to know us in.
    pub(super) fn register(&self, discoveries: BTreeSet<DiscoveryId>) {
        self.registered
            .send_if_modified(|known| std::mem::replace(known, discoveries.clone()) != discoveries);
    }

    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().values().cloned().collect()
    }

    pub(super) fn status(&self) -> IntroducerStatus {
        let connected: Vec<SocketAddr> = self.sessions.lock().keys().copied().collect();
        let error = if connected.is_empty() { self.error.lock().clone() } else { None };
        IntroducerStatus { tracker: self.tracker.clone(), connected, error }
    }
}

impl Session {
    /// Whether it can know a device at that address: it is in the same internet.
    pub(super) fn can_name(&self, address: SocketAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
    }

    /// Asks, and waits for the answer; none when it does not come.
    pub(super) async fn ask(&self, ask: impl FnOnce(u64) -> Ask) -> Option<Answer> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().insert(number, answer);
        if self.asks.try_send(ask(number)).is_err() {
            self.waiting.lock().remove(&number);
            return None;
        }
        let answer = timeout(ANSWER_WITHIN, answered).await;
        self.waiting.lock().remove(&number);
        answer.ok()?.ok()
    }

    /// Tells what needs no answer.
    pub(super) fn tell(&self, ask: Ask) {
        // Who is behind with reading finds out by itself.
        let _ = self.asks.try_send(ask);
    }

    /// Says it once the relay at that port knows both sides.
    pub(super) fn on_ready(&self, port: u16, ready: oneshot::Sender<()>) {
        self.ready.lock().insert(port, ready);
    }

    /// It is not waited for any more.
    pub(super) fn forget_ready(&self, port: u16) {
        self.ready.lock().remove(&port);
    }

    fn answer(&self, number: u64, answer: Answer) {
        if let Some(waiting) = self.waiting.lock().remove(&number) {
            let _ = waiting.send(answer);
        }
    }
}

/// Keeps the connections to a tracker.
pub(super) async fn run(hub: Weak<Hub>, introducer: Arc<Introducer>, network_changed: Arc<Notify>) {
    tokio::join!(
        keep(hub.clone(), &introducer, &network_changed, true),
        keep(hub, &introducer, &network_changed, false),
    );
}

/// Keeps the connection over one IP family.
async fn keep(hub: Weak<Hub>, introducer: &Arc<Introducer>, network_changed: &Notify, is_v4: bool) {
    let is_other_family = |address: SocketAddr| address.is_ipv4() != is_v4;
    if introducer.tracker.parse().is_ok_and(is_other_family) {
        return;
    }
    let mut pause = FIRST_PAUSE;
    while let Some(hub) = hub.upgrade().filter(|hub| !hub.is_closed()) {
        let start = Instant::now();
        match serve(&hub, introducer, is_v4).await {
            Ok(()) => {}
            // Most trackers have one family only.
            Err(Failure::NoAddress) => pause = LONGEST_PAUSE,
            Err(Failure::Because(error)) => {
                debug!(tracker = %introducer.tracker, %error, "no introducer");
                *introducer.error.lock() = Some(error);
            }
        }
        drop(hub);
        if start.elapsed() > GOOD {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = network_changed.notified() => pause = FIRST_PAUSE,
        }
    }
}

enum Failure {
    NoAddress,
    Because(String),
}

async fn resolve(tracker: &str, is_v4: bool) -> Result<SocketAddr, Failure> {
    let resolved = timeout(RESOLVE_WITHIN, tokio::net::lookup_host(tracker)).await;
    let failed = |error: String| {
        Failure::Because(format!("the name of tracker {tracker} cannot be resolved: {error}"))
    };
    let mut addresses =
        resolved.map_err(|_| failed("no answer".into()))?.map_err(|error| failed(error.to_string()))?;
    addresses.find(|address| address.is_ipv4() == is_v4).ok_or(Failure::NoAddress)
}

/// Connects and stays until the connection ends.
async fn serve(hub: &Arc<Hub>, introducer: &Arc<Introducer>, is_v4: bool) -> Result<(), Failure> {
    let address = resolve(&introducer.tracker, is_v4).await?;
    let tracker = &introducer.tracker;
    let Ok(connecting) = hub.endpoints.connect_introducer(address) else { return Err(Failure::NoAddress) };
    let silent = || format!("tracker {tracker} does not answer as an introducer; not every tracker is one");
    let connection = timeout(HANDSHAKE_WITHIN, connecting).await;
    let connection = connection.map_err(|_| Failure::Because(silent()))?;
    let connection = connection.map_err(|error| Failure::Because(format!("{}: {error}", silent())))?;
    let opened = timeout(ANSWER_WITHIN, connection.open_bi()).await;
    let Ok(Ok((send, receive))) = opened else { return Err(Failure::Because(silent())) };
    let (asks, asked) = mpsc::channel(ASKS);
    let session = Arc::new(Session {
        address: canonical(address),
        asks,
        next: AtomicU64::new(0),
        waiting: Mutex::default(),
        ready: Mutex::default(),
    });
    introducer.sessions.lock().insert(session.address, Arc::clone(&session));
    let _entered = Entered(introducer, &session);
    let ended = tokio::select! {
        () = write(send, introducer.registered.subscribe(), asked) => "it does not read".to_owned(),
        () = read(hub, &session, receive) => "it was not understood".to_owned(),
        error = connection.closed() => error.to_string(),
    };
    connection.close(VarInt::from_u32(0), b"");
    Err(Failure::Because(format!("the connection to introducer {tracker} has ended: {ended}")))
}

/// Takes the session out when it ends, also when its task is aborted.
struct Entered<'a>(&'a Introducer, &'a Session);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.sessions.lock().remove(&self.1.address);
        self.1.waiting.lock().clear();
        self.1.ready.lock().clear();
    }
}

async fn write(
    mut send: SendStream,
    mut registered: watch::Receiver<BTreeSet<DiscoveryId>>,
    mut asked: mpsc::Receiver<Ask>,
) {
    registered.mark_changed();
    loop {
        let ask = tokio::select! {
            biased;
            Ok(()) = registered.changed() => {
                let wanted = registered.borrow_and_update().clone();
                Ask::Register { discoveries: wanted.into_iter().take(MAX_REGISTERED).collect() }
            }
            Some(ask) = asked.recv() => ask,
            else => return,
        };
        if !matches!(timeout(HANDSHAKE_WITHIN, send.write_chunk(ask.encode().encode())).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read(hub: &Arc<Hub>, session: &Arc<Session>, mut receive: RecvStream) {
    let mut decoder = FrameDecoder::new(MAX_RENDEZVOUS_BYTES);
    while let Ok(Some(chunk)) = receive.read_chunk(MAX_RENDEZVOUS_BYTES, true).await {
        decoder.push(&chunk.bytes);
        loop {
            let Ok(frame) = decoder.next_frame() else { return };
            let Some(frame) = frame else { break };
            match Tell::parse(&frame) {
                Ok(Some(tell)) => on_tell(hub, session, tell),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }
}

fn on_tell(hub: &Arc<Hub>, session: &Arc<Session>, tell: Tell) {
    let namer = session.address.ip();
    match tell {
        Tell::Observed { address } => handle_observed(hub, namer, address),
        Tell::Introduced { number: Some(number), address, .. } if is_dialable(address, namer) => {
            session.answer(number, Answer::Introduced(address));
        }
        Tell::Introduced { number: None, address, .. } if is_dialable(address, namer) => punch(hub, address),
        // Not an address that it may name.
        Tell::Introduced { .. } => {}
        Tell::Relayed { number, discovery, address, port, token, .. } => {
            let lent = Lent { other: address, port, token };
            match number {
                Some(number) => session.answer(number, Answer::Relayed(lent)),
                None => relayed::handle_lent(hub, session, discovery, lent),
            }
        }
        Tell::RelayReady { port } => {
            if let Some(ready) = session.ready.lock().remove(&port) {
                let _ = ready.send(());
            }
        }
        Tell::Refused { number, why } => session.answer(number, Answer::Refused(why)),
    }
}
