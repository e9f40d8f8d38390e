//! Many clients of BEP 15 in one thread. The datagrams are written here once more, so that a tracker
//! is not measured, or trusted, by its own words.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// Addresses from which peers announce: 127.1.0.1 and so on.
const LANES: u8 = 16;
/// Ports of one address; with the lanes, over a million peers.
const PORTS: u32 = 64_000;
const FIRST_PORT: u32 = 1_024;
/// Requests under way from one address. All of them fit into a receive buffer of the usual size.
const WINDOW: usize = 8;
/// Who has not been answered by then never will be.
const LOST_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const ANNOUNCE_BYTES: usize = 98;
const ANSWER_HEAD_BYTES: usize = 20;
const COMPACT_BYTES: usize = 6;

/// Clients at several addresses.
pub(crate) struct Load {
    lanes: Vec<Lane>,
    swarms: u32,
}

/// One address.
struct Lane {
    socket: UdpSocket,
    connection: [u8; 8],
    under_way: usize,
}

/// What came of a run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    pub(crate) named: u64,
    pub(crate) time: Duration,
}

/// A well mixed number (splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The name of a swarm.
pub(crate) fn info_hash(swarm: u32) -> [u8; 20] {
    let mut hash = [0; 20];
    let words = (1..).map(|word| mix(u64::from(swarm) * 4 + word).to_be_bytes());
    hash.chunks_mut(8).zip(words).for_each(|(part, word)| part.copy_from_slice(&word[..part.len()]));
    hash
}

impl Load {
    /// Connects from all addresses.
    pub(crate) fn connect(tracker: SocketAddr, swarms: u32) -> io::Result<Self> {
        let lanes = (1..=LANES).map(|number| Lane::connect(number, tracker)).collect::<io::Result<_>>()?;
        Ok(Self { lanes, swarms })
    }

    /// Waits until the tracker serves the last swarm: opentracker reads its list beside its work.
    pub(crate) fn wait_until_served(&mut self) -> io::Result<()> {
        let (begun, last) = (Instant::now(), self.swarms - 1);
        let lane = &self.lanes[last as usize % self.lanes.len()];
        loop {
            lane.send(&[lane.announce(last, self.swarms, last)])?;
            self.wait(&LOST_AFTER)?;
            match lane.receive(|_, _| ()) {
                Ok(1) => return Ok(()),
                Err(refused) if begun.elapsed() > Duration::from_secs(20) => return Err(refused),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Announces the peers that `next` names, as fast as the tracker answers, until there are none or
    /// the time has come.
    pub(crate) fn run(
        &mut self,
        until: Option<Instant>,
        mut next: impl FnMut() -> Option<u32>,
    ) -> io::Result<Outcome> {
        let (begun, mut outcome) = (Instant::now(), Outcome::default());
        let mut requests = Vec::with_capacity(WINDOW);
        let mut held: Vec<Vec<u32>> = vec![Vec::new(); self.lanes.len()];
        let mut is_over = false;
        loop {
            is_over |= until.is_some_and(|until| Instant::now() >= until);
            // A peer belongs to a lane, so what is drawn waits there until the lane has room.
            while !is_over && held.iter().map(Vec::len).sum::<usize>() < self.lanes.len() * WINDOW {
                match next() {
                    Some(peer) => held[peer as usize % self.lanes.len()].push(peer),
                    None => is_over = true,
                }
            }
            let mut has_moved = false;
            for (lane, held) in self.lanes.iter_mut().zip(&mut held) {
                let room = (WINDOW - lane.under_way).min(held.len());
                requests.clear();
                requests.extend(held.drain(..room).map(|peer| lane.announce(peer, self.swarms, peer)));
                lane.under_way += lane.send(&requests)?;
                let received = lane.receive(|_, named| outcome.named += named)?;
                lane.under_way -= received.min(lane.under_way);
                outcome.answered += received as u64;
                has_moved |= received > 0 || room > 0;
            }
            let under_way: usize = self.lanes.iter().map(|lane| lane.under_way).sum();
            let waiting: usize = if until.is_some() { 0 } else { held.iter().map(Vec::len).sum() };
            if is_over && under_way + waiting == 0 {
                break;
            }
            if !has_moved && !self.wait(&LOST_AFTER)? {
                outcome.lost += under_way as u64;
                self.lanes.iter_mut().for_each(|lane| lane.under_way = 0);
            }
        }
        outcome.time = begun.elapsed();
        Ok(outcome)
    }

    /// Announces so many peers a second, whether they are answered or not. Returns how long the answers
    /// took, and how many never came.
    pub(crate) fn paced(
        &mut self,
        rate: u64,
        time: Duration,
        mut next: impl FnMut() -> u32,
    ) -> io::Result<(Vec<Duration>, u64)> {
        let begun = Instant::now();
        let (mut sent_at, mut times) = (Vec::<Instant>::new(), Vec::new());
        let patience = Duration::from_secs(1);
        while begun.elapsed() < time + patience {
            let elapsed = begun.elapsed().min(time);
            let due = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX) * rate / 1_000_000;
            if (sent_at.len() as u64) < due {
                let (peer, number) = (next(), sent_at.len() as u32);
                let lane = &mut self.lanes[peer as usize % usize::from(LANES)];
                let request = lane.announce(peer, self.swarms, number);
                sent_at.push(Instant::now());
                lane.send(&[request])?;
            }
            for lane in &mut self.lanes {
                lane.receive(|number, _| {
                    if let Some(sent) = sent_at.get(number as usize) {
                        times.push(sent.elapsed());
                    }
                })?;
            }
            if elapsed == time && times.len() == sent_at.len() {
                break;
            }
        }
        let late = sent_at.len().saturating_sub(times.len()) as u64;
        Ok((times, late))
    }

    /// Waits for any answer; `false` when none has come.
    fn wait(&self, time: &Timespec) -> io::Result<bool> {
        let mut wanted: Vec<_> =
            self.lanes.iter().map(|lane| PollFd::new(&lane.socket, PollFlags::IN)).collect();
        Ok(poll(&mut wanted, Some(time))? > 0)
    }
}

impl Lane {
    fn connect(number: u8, tracker: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 1, 0, number), 0))?;
        socket.connect(tracker)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut request = [0; 16];
        request[..8].copy_from_slice(&0x0417_2710_1980_u64.to_be_bytes());
        request[8..12].copy_from_slice(&CONNECT.to_be_bytes());
        socket.send(&request)?;
        let mut answer = [0; 16];
        socket.recv(&mut answer)?;
        let mut connection = [0; 8];
        connection.copy_from_slice(&answer[8..]);
        socket.set_nonblocking(true)?;
        Ok(Self { socket, connection, under_way: 0 })
    }

    fn announce(&self, peer: u32, swarms: u32, transaction: u32) -> [u8; ANNOUNCE_BYTES] {
        let mut request = [0; ANNOUNCE_BYTES];
        request[..8].copy_from_slice(&self.connection);
        request[8..12].copy_from_slice(&ANNOUNCE.to_be_bytes());
        request[12..16].copy_from_slice(&transaction.to_be_bytes());
        request[16..36].copy_from_slice(&info_hash(peer % swarms));
        request[36..56].copy_from_slice(b"-BE0100-000000000000");
        request[64..72].copy_from_slice(&1_u64.to_be_bytes()); // left
        request[92..96].copy_from_slice(&50_u32.to_be_bytes()); // wanted
        let port = FIRST_PORT + peer / u32::from(LANES) % PORTS;
        request[96..].copy_from_slice(&u16::try_from(port).unwrap_or(1).to_be_bytes());
        request
    }

    fn send(&self, requests: &[[u8; ANNOUNCE_BYTES]]) -> io::Result<usize> {
        if requests.is_empty() {
            return Ok(0);
        }
        let slices: Vec<_> = requests.iter().map(|request| [IoSlice::new(request)]).collect();
        let mut controls: Vec<_> = requests.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let messages = slices.iter().zip(&mut controls);
        let mut messages: Vec<_> = messages.map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
        Ok(sendmmsg(&self.socket, &mut messages, SendFlags::empty())?)
    }

    /// Tells of each answer that is there: its transaction, and how many addresses are in it.
    fn receive(&self, mut tell: impl FnMut(u32, u64)) -> io::Result<usize> {
        let mut answer = [0; 2_048];
        let mut received = 0;
        loop {
            match self.socket.recv(&mut answer) {
                Ok(len) if len >= ANSWER_HEAD_BYTES && answer[..4] == ANNOUNCE.to_be_bytes() => {
                    let [_, _, _, _, a, b, c, d, ..] = answer;
                    tell(
                        u32::from_be_bytes([a, b, c, d]),
                        ((len - ANSWER_HEAD_BYTES) / COMPACT_BYTES) as u64,
                    );
                    received += 1;
                }
                Ok(len) => {
                    let text = String::from_utf8_lossy(&answer[..len]).into_owned();
                    return Err(io::Error::other(format!("the tracker refuses: {text:?}")));
                }
                Err(empty) if empty.kind() == io::ErrorKind::WouldBlock => return Ok(received),
                Err(error) => return Err(error),
            }
        }
    }
}
