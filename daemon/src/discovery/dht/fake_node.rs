//! A node of the DHT for tests, made of hand-written messages, so that it shares no mistake with the
//! crate under test; and nodes that misbehave.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// As it should.
    Honest,
    /// It hears, and says nothing.
    Silent,
    /// It answers each announcement with an error that belongs to other requests.
    Refusing,
    /// It answers each question, and before that sends what should end a careless parser.
    Garbling,
    /// It names five thousand peers at private and public addresses.
    Flooding,
}

/// A node on loopback; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct FakeNode {
    pub(super) address: SocketAddrV4,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    announced: BTreeMap<Vec<u8>, Vec<SocketAddrV4>>,
    /// Where questions came from.
    askers: Vec<SocketAddr>,
    /// Answers that came, though nobody was asked but by [`FakeNode::ping`].
    answers: usize,
    socket: UdpSocket,
}

impl FakeNode {
    pub(super) fn start(manner: Manner) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4") };
        let reader = socket.try_clone().unwrap();
        let shared = Shared { manner, announced: BTreeMap::new(), askers: Vec::new(), answers: 0, socket };
        let shared = Arc::new(Mutex::new(shared));
        let weak = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Some(shared) = weak.upgrade() {
                if let Ok((len, from)) = reader.recv_from(&mut buffer) {
                    shared.lock().handle(&buffer[..len], from);
                }
            }
        });
        Self { address, shared }
    }

    pub(super) fn set_manner(&self, manner: Manner) {
        self.shared.lock().manner = manner;
    }

    pub(super) fn announced(&self, discovery: &[u8; 20]) -> Vec<SocketAddrV4> {
        self.shared.lock().announced.get(discovery.as_slice()).cloned().unwrap_or_default()
    }

    pub(super) fn askers(&self) -> Vec<SocketAddr> {
        self.shared.lock().askers.clone()
    }

    /// Asks somebody, as a node asks another.
    pub(super) fn ping(&self, whom: SocketAddr) {
        let ping = [b"d1:ad2:id20:".as_slice(), &[7; 20], b"e1:q4:ping1:t4:abcd1:y1:qe"].concat();
        self.shared.lock().socket.send_to(&ping, whom).unwrap();
    }

    pub(super) fn answers(&self) -> usize {
        self.shared.lock().answers
    }
}

impl Shared {
    fn handle(&mut self, message: &[u8], from: SocketAddr) {
        if after(message, b"1:y1:").is_some_and(|kind| kind.starts_with(b"r")) {
            self.answers += 1;
            return;
        }
        let (Some(id), SocketAddr::V4(asker)) = (after(message, b"1:t4:").map(|t| t[..4].to_vec()), from)
        else {
            return;
        };
        self.askers.push(from);
        match self.manner {
            Manner::Silent => return,
            Manner::Garbling => self.garble(&id, from),
            _ => {}
        }
        let hash = after(message, b"9:info_hash20:").map(|hash| hash[..20].to_vec());
        let has = |word: &[u8]| after(message, word).is_some();
        let body = if has(b"9:get_peers") {
            let peers = hash.map(|hash| self.peers(&hash)).unwrap_or_default();
            [b"5:nodes0:5:token4:tokn6:valuesl".as_slice(), &peers, b"e"].concat()
        } else if has(b"9:find_node") {
            b"5:nodes0:".to_vec()
        } else if has(b"13:announce_peer") && self.manner == Manner::Refusing {
            let refusal = [b"d1:eli301e5:wronge1:t4:".as_slice(), &id, b"1:y1:ee"].concat();
            let _ = self.socket.send_to(&refusal, from);
            return;
        } else {
            if let (Some(hash), Some(port)) = (hash, after(message, b"4:porti").and_then(number)) {
                self.announced.entry(hash).or_default().push(SocketAddrV4::new(*asker.ip(), port));
            }
            Vec::new()
        };
        let seen = [asker.ip().octets().as_slice(), &asker.port().to_be_bytes()].concat();
        let head = [b"d2:ip6:".as_slice(), &seen, b"1:rd2:id20:", &[self.own_id(); 20]].concat();
        let _ = self.socket.send_to(&[&head, &body, b"e1:t4:".as_slice(), &id, b"1:y1:re"].concat(), from);
    }

    fn own_id(&self) -> u8 {
        self.socket.local_addr().map_or(0, |address| address.port().to_be_bytes()[1])
    }

    fn peers(&self, hash: &[u8]) -> Vec<u8> {
        let mut peers: Vec<_> = self.announced.get(hash).cloned().unwrap_or_default();
        if self.manner == Manner::Flooding {
            let base = u32::from(std::net::Ipv4Addr::new(198, 51, 100, 0));
            peers.extend((0..180).map(|n| SocketAddrV4::new((base + n).into(), 4455)));
        }
        let encode = |peer: &SocketAddrV4| {
            [b"6:".as_slice(), &peer.ip().octets(), &peer.port().to_be_bytes()].concat()
        };
        peers.iter().flat_map(encode).collect()
    }

    fn garble(&self, id: &[u8], to: SocketAddr) {
        let nested: Vec<u8> = [b"d1:a".to_vec(), vec![b'l'; 1990]].concat();
        let dicts: Vec<u8> = b"d1:a".repeat(500);
        let closed: Vec<u8> = [
            b"d1:rd2:id20:".to_vec(),
            vec![1; 20],
            b"1:v".to_vec(),
            vec![b'l'; 900],
            vec![b'e'; 901],
            b"1:t4:".to_vec(),
            id.to_vec(),
            b"1:y1:re".to_vec(),
        ]
        .concat();
        let lengths = b"d1:t4294967295:d1:r18446744073709551615:x".to_vec();
        let short_nodes =
            [b"d1:rd2:id20:".as_slice(), &[1; 20], b"5:nodes7:1234567e1:t4:", id, b"1:y1:re"].concat();
        let short_peers =
            [b"d1:rd2:id20:".as_slice(), &[1; 20], b"5:token0:6:valuesl0:3:abc100000:e1:t4:", id, b"1:y1:re"]
                .concat();
        for bad in [nested, dicts, closed, lengths, short_nodes, short_peers, vec![0; 2048], Vec::new()] {
            let _ = self.socket.send_to(&bad, to);
        }
    }
}

fn after<'a>(message: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let at = message.windows(word.len()).position(|window| window == word)?;
    Some(&message[at + word.len()..])
}

fn number(digits: &[u8]) -> Option<u16> {
    let end = digits.iter().position(|byte| *byte == b'e')?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}
