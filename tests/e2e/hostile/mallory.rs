//! Mallory: speaks QUIC and the protocol well enough to break it at any point.
//!
//! [`Mallory`] is her machine; a [`Call`] is one connection to a daemon, on which a real
//! `protocol::session::Session` says hello and joins, and everything after that is hers to choose:
//! what she tells, what she answers, which bytes she sends.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harness::wait::eventually;
use harness::{Device, Seed};
use keystore::{DeviceKey, FolderId, FolderSecret};
use parking_lot::Mutex;
use protocol::frame::FrameDecoder;
use protocol::head::SignedHead;
use protocol::message::{MAX_REQUEST_BYTES, Message, Request};
use protocol::session::{Binding, Output, Session};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::tls::{self, Credentials};

/// Why a daemon closes a link, as a number on the wire.
pub(super) const UNPROVEN: u32 = 1;
pub(super) const MISBEHAVED: u32 = 3;
pub(super) const INCOMPATIBLE: u32 = 8;

/// Far longer than a daemon waits for anything that it then closes a link for.
const DROPPED_WITHIN: Duration = Duration::from_secs(120);

/// What she answers to a question: the raw bytes of the answer's stream, whose end is cut off if
/// there is nothing.
pub(super) type Answer = dyn Fn(&Request) -> Vec<u8> + Send + Sync;

/// Her machine.
pub(super) struct Mallory {
    pub(super) runtime: Runtime,
    pub(super) endpoint: Endpoint,
    pub(super) credentials: Arc<Credentials>,
    key: DeviceKey,
}

/// One connection.
pub(super) struct Call {
    runtime: tokio::runtime::Handle,
    pub(super) connection: Connection,
    session: Arc<Mutex<Session>>,
    wire: UnboundedSender<Bytes>,
    heard: Arc<Mutex<Heard>>,
}

/// What the other side has said so far.
#[derive(Default)]
struct Heard {
    joined: Vec<FolderId>,
    heads: Vec<SignedHead>,
}

/// Where a daemon is to be reached.
pub(super) fn address_of(device: &Device) -> SocketAddr {
    let status = device.json(&["status"]);
    status["listen"][0].as_str().expect("an address").parse().expect("an address")
}

impl Mallory {
    pub(super) fn new(seed: u64) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let credentials = Arc::new(Credentials::new());
        let endpoint = {
            let _inside = runtime.enter();
            Endpoint::server(credentials.server(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
        };
        let key = DeviceKey::from_seed(Seed::new(seed).bytes(32).try_into().unwrap());
        Self { runtime, endpoint, credentials, key }
    }

    /// Connects, and says nothing yet.
    pub(super) fn connect(&self, to: SocketAddr) -> Connection {
        let _inside = self.runtime.enter();
        let dial = self.endpoint.connect_with(self.credentials.client(), to, "syncd").unwrap();
        self.runtime.block_on(dial).unwrap()
    }

    /// Says hello and offers folders, as any peer does, and answers questions in her own way.
    pub(super) fn call(&self, to: SocketAddr, secrets: &[FolderSecret], answer: Arc<Answer>) -> Call {
        let connection = self.connect(to);
        let mut session = self.session(&connection);
        secrets.iter().for_each(|secret| session.offer(secret, None));
        let (send, receive) = self.runtime.block_on(connection.open_bi()).unwrap();
        let (wire, unsent) = unbounded_channel();
        let call = Call {
            runtime: self.runtime.handle().clone(),
            connection,
            session: Arc::new(Mutex::new(session)),
            wire,
            heard: Arc::default(),
        };
        self.runtime.spawn(write(send, unsent));
        self.runtime.spawn(call.clone_parts().read(receive));
        self.runtime.spawn(serve(call.connection.clone(), answer));
        call.clone_parts().carry_out();
        call
    }

    /// Joins a folder whose key she has, and has been told its heads.
    pub(super) fn join(&self, device: &Device, key: &str, answer: Arc<Answer>) -> Call {
        let secret = FolderSecret::parse(key).expect("a key");
        let call = self.call(address_of(device), &[secret], answer);
        eventually("mallory has joined", || (!call.heard.lock().joined.is_empty()).then_some(()));
        call
    }

    /// A session of her own on a connection that she has dialled.
    pub(super) fn session(&self, connection: &Connection) -> Session {
        let binding = Binding {
            exporter: tls::exporter(connection),
            dialer: self.credentials.fingerprint,
            acceptor: tls::peer_fingerprint(connection),
            we_dialed: true,
        };
        Session::new(binding, self.key.clone(), "mallory", &[7; 32])
    }
}

impl Drop for Mallory {
    /// Says good-bye, so that nobody waits for her.
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"");
        let idle = async { tokio::time::timeout(Duration::from_secs(5), self.endpoint.wait_idle()).await };
        let _ = self.runtime.block_on(idle);
    }
}

impl Call {
    fn clone_parts(&self) -> Parts {
        Parts { session: Arc::clone(&self.session), wire: self.wire.clone(), heard: Arc::clone(&self.heard) }
    }

    /// The heads that she has been told, once she has been told any.
    pub(super) fn heads(&self) -> Vec<SignedHead> {
        eventually("mallory is told heads", || {
            let heads = self.heard.lock().heads.clone();
            (!heads.is_empty()).then_some(heads)
        })
    }

    /// Tells something about a joined folder.
    pub(super) fn tell(&self, folder: FolderId, message: &Message) {
        self.session.lock().send(&folder, message).expect("she has joined");
        self.clone_parts().carry_out();
    }

    /// Writes bytes on the control stream as they are.
    pub(super) fn write(&self, bytes: impl Into<Bytes>) {
        self.wire.send(bytes.into()).expect("the writer runs");
    }

    /// The number by which she is to name a joined folder.
    pub(super) fn channel(&self, folder: FolderId) -> u32 {
        self.session.lock().channel_of(&folder).expect("she has joined")
    }

    /// Asks, and returns all that is answered until the stream ends or is cut.
    pub(super) fn ask(&self, question: impl Into<Bytes>) -> Vec<u8> {
        let question = question.into();
        self.runtime.block_on(async {
            let (mut send, mut answer) = self.connection.open_bi().await.unwrap();
            send.write_all(&question).await.unwrap();
            send.finish().unwrap();
            let mut all = Vec::new();
            while let Ok(Some(chunk)) = answer.read_chunk(1 << 20, true).await {
                all.extend_from_slice(&chunk.bytes);
            }
            all
        })
    }

    /// The number with which the daemon closes the connection.
    pub(super) fn dropped(&self) -> u32 {
        let closed = self.runtime.block_on(async {
            tokio::time::timeout(DROPPED_WITHIN, self.connection.closed()).await.expect("she is dropped")
        });
        let ConnectionError::ApplicationClosed(closed) = closed else { panic!("dropped: {closed}") };
        closed.error_code.into_inner().try_into().unwrap()
    }

    /// Whether she is still connected, asked when the daemon has answered something since.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}

/// What the tasks of a call share.
struct Parts {
    session: Arc<Mutex<Session>>,
    wire: UnboundedSender<Bytes>,
    heard: Arc<Mutex<Heard>>,
}

impl Parts {
    fn carry_out(&self) {
        let mut session = self.session.lock();
        while let Some(output) = session.poll_output() {
            let mut heard = self.heard.lock();
            match output {
                Output::Send(bytes) => drop(self.wire.send(bytes)),
                Output::Joined { folder, .. } => heard.joined.push(folder),
                Output::Message { message: Message::Heads { heads }, .. } => heard.heads = heads,
                Output::Message { message: Message::NewHead { head, .. }, .. } => heard.heads = vec![head],
                _ => {}
            }
        }
    }

    async fn read(self, mut stream: RecvStream) {
        while let Ok(Some(chunk)) = stream.read_chunk(64 << 10, true).await {
            self.session.lock().handle_bytes(&chunk.bytes);
            self.carry_out();
        }
    }
}

async fn write(mut stream: SendStream, mut unsent: UnboundedReceiver<Bytes>) {
    while let Some(bytes) = unsent.recv().await {
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn serve(connection: Connection, answer: Arc<Answer>) {
    while let Ok((mut send, mut ask)) = connection.accept_bi().await {
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let Ok(bytes) = ask.read_to_end(MAX_REQUEST_BYTES).await else { return };
            let mut decoder = FrameDecoder::new(MAX_REQUEST_BYTES);
            decoder.push(&bytes);
            let Ok(Some(frame)) = decoder.next_frame() else { return };
            let Ok(request) = Request::parse(&frame) else { return };
            // Who has dropped her does not read to the end.
            let _ = send.write_all(&answer(&request)).await;
            let _ = send.finish();
        });
    }
}
