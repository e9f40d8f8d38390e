//! Trackers that do what a test wants of them, on loopback.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::tracker::wire::udp::{
    Request, announce_answer_head, connect_answer, encode_totals, error_answer_head, scrape_answer_head,
};
use crate::tracker::wire::{Announce, Totals, encode_v4, encode_v6};

/// How a UDP tracker answers.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Manner {
    /// Whom it names.
    pub(in super::super) peers: Vec<SocketAddr>,
    /// It hears so many datagrams less.
    pub(in super::super) deaf_for: usize,
    /// It refuses as opentracker does.
    pub(in super::super) refuses: bool,
    /// It accepts each connection id once.
    pub(in super::super) forgets_connections: bool,
    /// Before each right answer to an announce come two forged ones, naming somebody else: one from
    /// another address, one with another transaction.
    pub(in super::super) has_forgers: bool,
}

/// A tracker over UDP.
pub(in super::super) struct FakeUdp {
    pub(in super::super) address: SocketAddr,
    /// What it was told.
    pub(in super::super) announces: mpsc::UnboundedReceiver<Announce>,
    task: JoinHandle<()>,
}

impl Drop for FakeUdp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeUdp {
    pub(in super::super) async fn new(manner: Manner) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), manner).await.unwrap()
    }

    pub(in super::super) async fn at(address: SocketAddr, manner: Manner) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let address = socket.local_addr()?;
        let (heard, announces) = mpsc::unbounded_channel();
        let task = tokio::spawn(serve(socket, manner, heard));
        Ok(Self { address, announces, task })
    }

    pub(in super::super) fn url(&self) -> String {
        format!("udp://{}", self.address)
    }
}

async fn serve(socket: UdpSocket, mut manner: Manner, heard: mpsc::UnboundedSender<Announce>) {
    let forger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (mut buffer, mut connections) = ([0; 2048], 0);
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
        if manner.deaf_for > 0 {
            manner.deaf_for -= 1;
            continue;
        }
        let answer = match Request::parse(&buffer[..len]).expect("a request of BEP 15") {
            Request::Connect { transaction } => {
                connections += 1;
                connect_answer(transaction, connections).to_vec()
            }
            Request::Announce { connection, transaction, .. } if connection != connections => {
                [&error_answer_head(transaction)[..], b"Connection ID mismatch.\0"].concat()
            }
            Request::Announce { transaction, .. } if manner.refuses => {
                announce_answer_head(transaction, 0, 0, 0)[..8].to_vec()
            }
            Request::Announce { transaction, announce, .. } => {
                connections += u64::from(manner.forgets_connections);
                let _ = heard.send(announce);
                if manner.has_forgers {
                    let victim = [([203, 0, 113, 1], 1).into()];
                    forger.send_to(&announced(transaction, &victim), from).await.unwrap();
                    socket.send_to(&announced(transaction ^ 1, &victim), from).await.unwrap();
                    socket.send_to(b"nonsense", from).await.unwrap();
                }
                announced(transaction, &manner.peers)
            }
            Request::Scrape { transaction, .. } => {
                let totals = Totals { seeders: 1, completed: 2, leechers: 3 };
                [&scrape_answer_head(transaction)[..], &encode_totals(totals)].concat()
            }
        };
        socket.send_to(&answer, from).await.unwrap();
    }
}

/// All peers must be of the tracker's family.
fn announced(transaction: u32, peers: &[SocketAddr]) -> Vec<u8> {
    let mut answer = announce_answer_head(transaction, 1800, 0, 0).to_vec();
    for peer in peers {
        match peer {
            SocketAddr::V4(peer) => answer.extend_from_slice(&encode_v4(*peer)),
            SocketAddr::V6(peer) => answer.extend_from_slice(&encode_v6(*peer)),
        }
    }
    answer
}

/// A web server that gives prepared answers, one to each connection, and remembers what was asked.
pub(in super::super) struct FakeHttp {
    pub(in super::super) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for FakeHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeHttp {
    /// Each answer is sent as it is, head and all; the last one again and again.
    pub(in super::super) async fn new(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut answers: VecDeque<Vec<u8>> = answers.into_iter().collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asked_of_task = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                asked_of_task.lock().push(String::from_utf8(head).unwrap());
                let answer = answers[0].clone();
                if answers.len() > 1 {
                    answers.pop_front();
                }
                // Who refuses a long answer hangs up in the middle of it.
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { address, asked, task }
    }

    pub(in super::super) fn url(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    /// The heads of the requests so far.
    pub(in super::super) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

/// An answer with a body.
pub(in super::super) fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
