//! `syncd tracker` as others meet it: clients on loopback, programs that nobody here has written.

mod flood;
mod handshakes;
mod others;

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Host, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use syncd::tracker::wire::udp::{Answer, announce_request, connect_request};
use syncd::tracker::wire::{Announce, Event, peers_v4};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_syncd");

/// Bytes of a state file with one swarm of two peers of IPv4.
const STATE_OF_TWO: u64 = 22 + 4 + 32 + 2 * 8 + 4 + 32;

/// A running tracker; it ends with the story.
struct Tracker {
    process: Child,
    address: SocketAddr,
}

impl Tracker {
    /// Starts one on loopback, at a free port, with these arguments more.
    fn start(arguments: &[&str]) -> Self {
        Self::run(Command::new("setpriv"), &[&["--listen", "127.0.0.1:0"], arguments].concat())
    }

    /// Starts one on a host, at port 6969.
    fn start_on(host: &Host) -> Self {
        Self::run(host.command("setpriv"), &["--listen", "0.0.0.0:6969"])
    }

    fn run(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["--pdeathsig", "KILL", "--", PROGRAM, "tracker", "--json"]).args(arguments);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("a document, not {line:?}"));
        let address = said["listen"][0].as_str().unwrap().parse().unwrap();
        Self { process, address }
    }

    /// Lets it stop in order.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }

    /// Ends it as a power cut would.
    fn kill9(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// A number of `/metrics`.
    fn metric(&self, name: &str) -> u64 {
        let page = get(self.address, "/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {page}")).parse().unwrap()
    }

    /// Memory that it occupies.
    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A page, without its head.
fn get(from: SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(from).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: tracker\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A client of BEP 15 at one address.
struct Client {
    socket: UdpSocket,
}

impl Client {
    /// At 127.0.0.`number`.
    fn new(number: u8, tracker: &Tracker) -> Self {
        let own = IpAddr::from(Ipv4Addr::new(127, 0, 0, number));
        let socket = UdpSocket::bind((own, 0)).unwrap();
        socket.connect(tracker.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        Self { socket }
    }

    /// Asks until there is an answer: datagrams may be lost, and old answers may come late.
    fn ask<T>(&self, request: &[u8], read: impl Fn(Answer<'_>) -> Option<T>) -> T {
        eventually("the tracker answers", || {
            self.socket.send(request).ok()?;
            let mut answer = [0; 2_048];
            while let Ok(len) = self.socket.recv(&mut answer) {
                if let Some(read) = Answer::parse(&answer[..len]).and_then(&read) {
                    return Some(read);
                }
            }
            None
        })
    }

    /// Announces a port, and returns who else there is.
    fn announce(&self, port: u16) -> Vec<SocketAddr> {
        let connection = self.ask(&connect_request(1), |answer| match answer {
            Answer::Connect { connection, .. } => Some(connection),
            _ => None,
        });
        let (info_hash, peer_id) = ([0x51; 20], [0x52; 20]);
        let (downloaded, left, uploaded, key) = (0, 1, 0, 0);
        let (event, want) = (Event::Started, None);
        let announce = Announce { info_hash, peer_id, downloaded, left, uploaded, event, key, want, port };
        let request = announce_request(connection, 2, &announce);
        let mut peers: Vec<SocketAddr> = self.ask(&request, |answer| match answer {
            Answer::Announce { announced, .. } => Some(peers_v4(announced.peers).collect()),
            _ => None,
        });
        peers.sort_unstable();
        peers
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Bytes of a file that may not be there yet.
fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len())
}

#[test]
fn a_tracker_that_was_killed_still_knows_everybody() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    let arguments = ["--state", state.to_str().unwrap(), "--save-every", "1"];
    let tracker = Tracker::start(&arguments);
    assert_eq!(Client::new(2, &tracker).announce(20), []);
    assert_eq!(Client::new(3, &tracker).announce(30), addresses(&["127.0.0.2:20"]));
    eventually("a state with both is saved", || (length(&state) >= STATE_OF_TWO).then_some(()));
    tracker.kill9();
    let tracker = Tracker::start(&arguments);
    let known = Client::new(4, &tracker).announce(40);
    assert_eq!(known, addresses(&["127.0.0.2:20", "127.0.0.3:30"]));
    tracker.stop();
    let tracker = Tracker::start(&arguments);
    assert_eq!(Client::new(2, &tracker).announce(20), addresses(&["127.0.0.3:30", "127.0.0.4:40"]));
}

#[test]
fn a_damaged_state_is_put_aside_and_said_so() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    std::fs::write(&state, b"SYNCDTRK\x01\0\0\0 and then nothing good").unwrap();
    let tracker = Tracker::start(&["--state", state.to_str().unwrap()]);
    assert_eq!(Client::new(2, &tracker).announce(20), []);
    assert!(place.path().join("state.damaged").exists());
    tracker.stop();
    assert!(state.exists(), "and a new one is there");
}

#[test]
fn an_address_that_is_taken_fails_with_a_next_step() {
    let tracker = Tracker::start(&[]);
    let mut command = Command::new(PROGRAM);
    let output =
        command.args(["--json", "tracker", "--listen", &tracker.address.to_string()]).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["error"]["code"], "TRACKER_ADDRESS");
    assert!(said["error"]["next"].as_str().unwrap().contains("--listen"));
}
