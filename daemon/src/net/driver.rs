//! The task of a link: drives its session, and carries out what that says.
//!
//! It reads the control stream, feeds the session and never waits for the other side to read: what is
//! to be written goes to a second task, and a peer that lets too much pile up is dropped. It does wait
//! for the folders to take events, and so lets QUIC's flow control slow the peer down.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keystore::{DeviceId, FolderId};
use parking_lot::Mutex;
use protocol::message::Message;
use protocol::session::{Binding, Output, PeerInfo as Proven, Session, SessionError};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::NetEvent;
use super::dial::{FoundBy, Target};
use super::door::canonical;
use super::gate::Place;
use super::hub::{Hub, Standing};
use super::link::{Command, Link, PROBE_WITHIN, Reason};
use super::peer::{Peer, PeerInfo};
use super::{reach, serve, tls, transport};

/// Within this long a stranger has to prove a folder; it is some round trips.
pub(super) const PROVE_WITHIN: Duration = Duration::from_secs(5);
/// A handshake on a bad line takes some retransmissions.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Commands of the folders that wait for the link's task.
const COMMANDS: usize = 1024;
/// What may wait to be written to a peer that does not read: as much as QUIC itself buffers.
const MAX_UNWRITTEN: u64 = 64 << 20;
/// How long an address rests after its peer has broken the protocol.
const BAR_MISBEHAVED: Duration = Duration::from_secs(300);
/// How long our own address rests; an address may move to another device.
const BAR_OURSELVES: Duration = Duration::from_secs(600);
/// A link on which no folder is left stays so long, in case another is just being added.
const LINGER: Duration = Duration::from_secs(5);

/// Which side opened a link, and how it came about.
pub(super) enum Origin {
    /// Held until something is proven.
    Accepted(#[expect(dead_code, reason = "to be dropped is its use")] Place),
    Dialed(Target, FoundBy),
}

/// Drives a link to its end; says whether a folder in common was proven on it.
pub(super) async fn run(hub: Arc<Hub>, connection: Connection, origin: Origin) -> bool {
    let address = canonical(connection.remote_address());
    let is_dialed = matches!(origin, Origin::Dialed(..));
    let Some(session) = new_session(&hub, &connection, address, is_dialed) else {
        connection.close(VarInt::from_u32(Reason::Unproven as u32), b"");
        return false;
    };
    let (commands, commands_in) = mpsc::channel(COMMANDS);
    let link = Arc::new(Link {
        id: hub.next_link_id(),
        connection,
        address,
        is_dialed,
        is_relayed: hub.reach.relays.leads_to(address).is_some(),
        since: Instant::now(),
        introductions: AtomicU64::new(0),
        speaker_changed: Notify::new(),
        peers: Mutex::default(),
        session: Mutex::new(session),
        commands,
        unwritten: AtomicU64::new(0),
        is_of_a_liar: AtomicBool::new(false),
    });
    let started = timeout(PROVE_WITHIN, Driver::start(&hub, &link, origin, commands_in)).await;
    let Ok(Ok(mut driver)) = started else {
        link.close(Reason::Unproven);
        return false;
    };
    let reason = driver.drive().await;
    debug!(%address, ?reason, "a link has ended");
    link.close(reason);
    if link.is_of_a_liar.load(Ordering::Relaxed) {
        hub.book.lock().bar(address, hub.now() + BAR_MISBEHAVED);
    }
    driver.leave_all().await;
    hub.handle_ended(&link);
    driver.device.is_some()
}

/// A session bound to this connection; none if it leads to ourselves.
fn new_session(hub: &Hub, connection: &Connection, address: SocketAddr, we_dialed: bool) -> Option<Session> {
    let theirs = tls::peer_fingerprint(connection.peer_identity())?;
    let ours = hub.endpoints.fingerprint();
    if theirs == ours {
        hub.book.lock().bar(address, hub.now() + BAR_OURSELVES);
        return None;
    }
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, tls::EXPORTER_LABEL, b"").ok()?;
    let (dialer, acceptor) = if we_dialed { (ours, theirs) } else { (theirs, ours) };
    let binding = Binding { exporter, dialer, acceptor, we_dialed };
    Some(Session::new(binding, hub.device.clone(), &hub.name, &hub.draw_seed()))
}

struct Driver {
    hub: Arc<Hub>,
    link: Arc<Link>,
    /// Until a folder is proven.
    origin: Option<Origin>,
    found_by: FoundBy,
    control: RecvStream,
    writer: mpsc::UnboundedSender<Bytes>,
    commands: mpsc::Receiver<Command>,
    /// Who is there, once proven.
    device: Option<DeviceId>,
    joined: BTreeSet<FolderId>,
    /// The peer may ask.
    is_open: bool,
    /// Without a folder that is joined, the link ends then.
    deadline: Instant,
}

impl Driver {
    /// Opens or awaits the control stream and offers all folders.
    async fn start(
        hub: &Arc<Hub>,
        link: &Arc<Link>,
        origin: Origin,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, Reason> {
        let deadline = Instant::now() + PROVE_WITHIN;
        let connection = &link.connection;
        let streams = if link.is_dialed { connection.open_bi().await } else { connection.accept_bi().await };
        let (send, control) = streams.map_err(|_| Reason::Unproven)?;
        let (writer, unwritten) = mpsc::unbounded_channel();
        tokio::spawn(write(Arc::clone(link), send, unwritten));
        for (secret, opening) in hub.handle_link(link) {
            link.session.lock().offer(&secret, opening);
        }
        let found_by = if let Origin::Dialed(_, found_by) = &origin { *found_by } else { FoundBy::Incoming };
        let (hub, link, origin) = (Arc::clone(hub), Arc::clone(link), Some(origin));
        let (device, joined, is_open) = (None, BTreeSet::new(), false);
        Ok(Self { hub, link, origin, found_by, control, writer, commands, device, joined, is_open, deadline })
    }

    /// Until the connection or the session ends.
    async fn drive(&mut self) -> Reason {
        loop {
            if let Err(reason) = self.carry_out().await {
                return reason;
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return Reason::ShuttingDown,
                },
                chunk = self.control.read_chunk(64 << 10, true) => match chunk {
                    Ok(Some(chunk)) => self.link.session.lock().handle_bytes(&chunk.bytes),
                    Ok(None) | Err(_) => return Reason::ShuttingDown,
                },
                () = sleep_until(self.deadline), if self.joined.is_empty() => return match self.device {
                    None => Reason::Unproven,
                    Some(_) => Reason::NothingShared,
                },
            }
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Offer(secret, opening) => self.link.session.lock().offer(&secret, opening),
            Command::Learn(folder, opening) => self.link.session.lock().learn_opening(&folder, &opening),
            Command::Withdraw(folder) => {
                self.link.session.lock().withdraw(&folder);
                self.leave(folder).await;
            }
            Command::Greet(folder, messages) => self.link.session.lock().greet(&folder, &messages),
            Command::Send(folder, message) => {
                // Who has left meanwhile is reported as such.
                let _ = self.link.session.lock().send(&folder, &message);
            }
        }
    }

    /// Does all that the session asks for.
    async fn carry_out(&mut self) -> Result<(), Reason> {
        loop {
            let Some(output) = self.link.session.lock().poll_output() else { return Ok(()) };
            match output {
                Output::Send(bytes) => self.write(bytes)?,
                Output::Proven { folder } => self.on_folder_proven(folder),
                Output::Joined { folder, peer } => self.on_joined(folder, peer).await?,
                Output::Opening { folder, opening } => {
                    self.hub.handle_opening(folder, &opening);
                    self.emit(NetEvent::Opening { folder, opening }).await?;
                }
                Output::Message { folder, message: Message::Peers { addresses } } => {
                    self.hub.handle_addresses(&self.link, folder, &addresses);
                }
                Output::Message { folder, message } => {
                    let message = reach::handle_message(&self.hub, &self.link, folder, message);
                    if let (Some(peer), Some(message)) = (self.device, message) {
                        self.emit(NetEvent::Message { folder, peer, message }).await?;
                    }
                }
                Output::Left { folder } => self.leave(folder).await,
                Output::Close(error) => return Err(self.on_close(error).await),
            }
        }
    }

    async fn on_close(&self, error: SessionError) -> Reason {
        let address = self.link.address;
        debug!(%address, %error, "a session has ended");
        if matches!(error, SessionError::Ourselves) {
            // A link to this very process was told by its certificate: this is another one.
            self.hub.book.lock().bar(address, self.hub.now() + BAR_OURSELVES);
            let _ = self.emit(NetEvent::DuplicateDevice { address }).await;
            // What proves it to the other side is still on its way.
            let _ = timeout(PROBE_WITHIN, self.link.connection.closed()).await;
        }
        if error.is_misbehaviour() { Reason::Misbehaved } else { Reason::Incompatible }
    }

    fn write(&self, bytes: Bytes) -> Result<(), Reason> {
        let unwritten = self.link.unwritten.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if unwritten > MAX_UNWRITTEN || self.writer.send(bytes).is_err() {
            return Err(Reason::TooSlow);
        }
        Ok(())
    }

    async fn emit(&self, event: NetEvent) -> Result<(), Reason> {
        self.hub.events.send(event).await.map_err(|_| Reason::ShuttingDown)
    }

    async fn on_joined(&mut self, folder: FolderId, proven: Proven) -> Result<(), Reason> {
        let Proven { device_id, name, capability } = proven;
        self.on_proven(device_id);
        let (address, found_by, direct) = (self.link.address, self.found_by, !self.link.is_relayed);
        let info = PeerInfo { device_id, name, capability, address, found_by, direct };
        let channel = self.link.session.lock().channel_of(&folder);
        // It may have left again already.
        let Some(channel) = channel else { return Ok(()) };
        let peer = Peer::new(Arc::clone(&self.link), folder, channel, info);
        self.link.peers.lock().insert(folder, peer.clone());
        if self.joined.insert(folder) && self.joined.len() == 1 {
            reach::on_joined(&self.hub, &self.link, folder);
        }
        match self.hub.handle_joined(peer).await {
            Standing::Speak => Ok(()),
            Standing::Wait { speaker, is_ours_to_decide } => {
                self.wait(folder, device_id, speaker, is_ours_to_decide).await
            }
        }
    }

    /// The peer may ask from here on, though it has not said yet who it is.
    fn on_folder_proven(&mut self, folder: FolderId) {
        if !std::mem::replace(&mut self.is_open, true) {
            transport::open_up(&self.link.connection);
            tokio::spawn(serve::accept_requests(Arc::clone(&self.hub), Arc::clone(&self.link)));
        }
        if !self.link.is_dialed {
            tokio::spawn(serve::greet(Arc::clone(&self.hub), Arc::clone(&self.link), folder));
        }
    }

    /// It is proven who is there.
    fn on_proven(&mut self, device: DeviceId) {
        if self.device.replace(device).is_some() {
            return;
        }
        // A place at the door is given back here.
        let target = match self.origin.take() {
            Some(Origin::Dialed(target, _)) => Some(target),
            Some(Origin::Accepted(_)) | None => None,
        };
        self.hub.handle_proven(&self.link, device, target.as_ref());
    }

    /// Another link speaks for this device: find out if it is dead, as it is when the device was
    /// killed and is back; else wait until it ends, or end this one if that is ours to decide. All
    /// of it again when yet another link has taken its place: the other side may have seen them come
    /// in another order, and waits for the one that speaks there.
    async fn wait(
        &self,
        folder: FolderId,
        device: DeviceId,
        mut speaker: Arc<Link>,
        is_ours_to_decide: bool,
    ) -> Result<(), Reason> {
        loop {
            if !speaker.is_alive().await {
                speaker.close(Reason::Dead);
            } else if is_ours_to_decide {
                return Err(Reason::Duplicate);
            }
            speaker = self.next_speaker(folder, device, &speaker).await?;
            if speaker.id == self.link.id {
                return Ok(());
            }
        }
    }

    /// The link that speaks after this one.
    async fn next_speaker(
        &self,
        folder: FolderId,
        device: DeviceId,
        before: &Link,
    ) -> Result<Arc<Link>, Reason> {
        loop {
            if let Some(now) = self.hub.speaker(device, folder).filter(|now| now.id != before.id) {
                return Ok(now);
            }
            tokio::select! {
                _ = self.link.connection.closed() => return Err(Reason::Duplicate),
                () = self.link.speaker_changed.notified() => {}
            }
        }
    }

    async fn leave(&mut self, folder: FolderId) {
        if !self.joined.remove(&folder) {
            return;
        }
        self.deadline = Instant::now() + LINGER;
        self.link.peers.lock().remove(&folder);
        if let Some(device) = self.device {
            self.hub.handle_left(self.link.id, device, folder).await;
        }
    }

    /// Leaves all folders, each as soon as it hears of it.
    async fn leave_all(&mut self) {
        let mut leaving = JoinSet::new();
        for folder in std::mem::take(&mut self.joined) {
            self.link.peers.lock().remove(&folder);
            if let Some(device) = self.device {
                let (hub, link) = (Arc::clone(&self.hub), self.link.id);
                leaving.spawn(async move { hub.handle_left(link, device, folder).await });
            }
        }
        leaving.join_all().await;
    }
}

/// Writes the control stream, until the link's task has ended and all is written.
async fn write(link: Arc<Link>, mut stream: SendStream, mut unwritten: mpsc::UnboundedReceiver<Bytes>) {
    // News must not wait behind bulk.
    let _ = stream.set_priority(1);
    while let Some(bytes) = unwritten.recv().await {
        let len = bytes.len() as u64;
        if stream.write_chunk(bytes).await.is_err() {
            return;
        }
        link.unwritten.fetch_sub(len, Ordering::Relaxed);
    }
}
