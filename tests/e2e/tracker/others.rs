//! Programs that know nothing of folders: to them it is a tracker. transmission-daemon and libtorrent
//! announce the same torrent, each on a host of its own, and hear of each other.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use harness::{Host, Lab, eventually, skipped};
use serde_json::{Value, json};

use super::Tracker;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/libtorrent_peer.py");
const TRACKER: &str = "10.77.0.1";

#[test]
fn transmission_and_libtorrent_meet_over_udp() {
    meet(&format!("udp://{TRACKER}:6969/announce"), "udp");
}

#[test]
fn transmission_and_libtorrent_meet_over_http() {
    meet(&format!("http://{TRACKER}:6969/announce"), "http");
}

fn meet(url: &str, protocol: &str) {
    if !has_both() {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let hosts = [1, 2, 3].map(|number| lab.host(number));
    let place = tempfile::tempdir().unwrap();
    let torrent = torrent(place.path(), url);
    let tracker = Tracker::start_on(&hosts[0]);
    let metric = |name: &str| hosts[0].inside(|| tracker.metric(&format!("syncd_tracker_{name}")));

    let libtorrent = Libtorrent::start(&hosts[2], place.path(), &torrent, url);
    libtorrent.hears("announced 0");
    let transmission = Transmission::start(&hosts[1], place.path(), &torrent);
    eventually("Transmission hears of libtorrent, and of how many there are", || {
        let torrent = transmission.torrent();
        let stats = &torrent["trackerStats"][0];
        let has_heard = stats["lastAnnouncePeerCount"] == 1 && stats["leecherCount"] == 2;
        let peers = torrent["peers"].as_array()?;
        (has_heard && peers.iter().any(|peer| peer["address"] == "10.77.0.3")).then_some(())
    });
    libtorrent.tell("announce");
    libtorrent.hears("announced 1");
    libtorrent.tell("scrape");
    libtorrent.hears("scraped 0 2");
    assert!(metric(&format!("announces_total{{protocol=\"{protocol}\"}}")) >= 3);
    assert!(metric(&format!("scrapes_total{{protocol=\"{protocol}\"}}")) >= 1);
    libtorrent.tell("stop");
    eventually("libtorrent has said good-bye", || (metric("peers{family=\"ipv4\"}") == 1).then_some(()));
}

fn has_both() -> bool {
    let runs = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let missing = match () {
        () if !runs("python3", &["-c", "import libtorrent"]) => {
            "libtorrent for Python: pip install libtorrent"
        }
        () if !runs("transmission-daemon", &["--version"]) => {
            "transmission-daemon: apt install transmission-daemon"
        }
        () => return true,
    };
    skipped(&format!("it needs {missing}"));
    false
}

/// A torrent of a file that nobody has: both stay leechers.
fn torrent(directory: &Path, url: &str) -> PathBuf {
    let info = format!("d6:lengthi20000e4:name4:file12:piece lengthi32768e6:pieces20:{}e", "x".repeat(20));
    let text = format!("d8:announce{}:{url}4:info{info}e", url.len());
    let path = directory.join("file.torrent");
    fs::write(&path, text).unwrap();
    path
}

/// A program that ends with the story.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// transmission-daemon with one torrent.
struct Transmission<'a> {
    host: &'a Host,
    _process: Process,
}

impl<'a> Transmission<'a> {
    fn start(host: &'a Host, directory: &Path, torrent: &Path) -> Self {
        let config = directory.join("transmission");
        let watched = config.join("watched");
        fs::create_dir_all(&watched).unwrap();
        let settings = json!({
            "rpc-enabled": true, "rpc-authentication-required": false, "rpc-whitelist-enabled": false,
            "rpc-port": 9091, "rpc-bind-address": "127.0.0.1", "download-dir": config, "preferred-port": 51413,
            "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "port-forwarding-enabled": false,
            "watch-dir": watched, "watch-dir-enabled": true, "scrape-paused-torrents-enabled": true,
        });
        fs::write(config.join("settings.json"), settings.to_string()).unwrap();
        fs::copy(torrent, watched.join("file.torrent")).unwrap();
        let mut command = host.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "transmission-daemon", "--foreground", "--config-dir"]);
        command.arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let transmission = Self { host, _process: Process(command.spawn().unwrap()) };
        eventually("Transmission has the torrent", || {
            let has_it = transmission.try_ask("torrent-get", &json!({ "fields": ["id"] }))?;
            (has_it["torrents"][0]["id"] == 1).then_some(())
        });
        transmission
    }

    fn torrent(&self) -> Value {
        let fields = json!({ "ids": [1], "fields": ["trackerStats", "peers"] });
        self.ask("torrent-get", fields)["torrents"][0].clone()
    }

    fn ask(&self, method: &str, arguments: Value) -> Value {
        eventually(method, || self.try_ask(method, &arguments))
    }

    /// Its RPC: the first answer only says which session id the next request has to carry.
    fn try_ask(&self, method: &str, arguments: &Value) -> Option<Value> {
        let body = json!({ "method": method, "arguments": arguments }).to_string();
        let first = self.post(&body, "none")?;
        let marker = "X-Transmission-Session-Id: ";
        let session = first.lines().find_map(|line| line.strip_prefix(marker))?;
        let answer = self.post(&body, session)?;
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        (answer["result"] == "success").then(|| answer["arguments"].clone())
    }

    fn post(&self, body: &str, session: &str) -> Option<String> {
        self.host.inside(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9091").ok()?;
            let head = format!("Host: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}", body.len());
            let head = format!("{head}\r\nX-Transmission-Session-Id: {session}");
            write!(stream, "POST /transmission/rpc HTTP/1.1\r\n{head}\r\n\r\n{body}").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        })
    }
}

/// A peer by libtorrent, and what it has said so far.
struct Libtorrent {
    _process: Process,
    input: RefCell<ChildStdin>,
    lines: Receiver<String>,
    said: RefCell<Vec<String>>,
}

impl Libtorrent {
    fn start(host: &Host, directory: &Path, torrent: &Path, url: &str) -> Self {
        let mut command = host.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "python3", SCRIPT, "10.77.0.3"]);
        command.arg(torrent).arg(directory.join("libtorrent")).arg(url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        Self { _process: Process(child), input: RefCell::new(input), lines, said: RefCell::default() }
    }

    fn tell(&self, command: &str) {
        writeln!(self.input.borrow_mut(), "{command}").unwrap();
    }

    /// Waits for a line that begins so.
    fn hears(&self, wanted: &str) {
        eventually(wanted, || {
            let mut said = self.said.borrow_mut();
            said.extend(self.lines.try_iter());
            let has_failed = said.iter().find(|line| line.starts_with("failed"));
            assert!(has_failed.is_none(), "{said:?}");
            said.iter().any(|line| line.starts_with(wanted)).then_some(())
        });
    }
}
