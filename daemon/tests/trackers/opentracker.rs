//! Our client and a tracker that others have written: Debian's opentracker, on loopback.
//!
//! Debian builds it with a white list, so each story says first which folders are on it. It gives up
//! root for `nobody` in a directory of its own, and knows IPv4 alone.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{eventually, is_root, skipped};
use keystore::DiscoveryId;
use rustix::process::{Pid, Signal, kill_process};
use syncd::discovery::tracker::scrape;
use tempfile::TempDir;

use crate::device::{DOCS, Device};

/// A running opentracker; it ends with the test.
struct OpenTracker {
    process: Child,
    directory: TempDir,
    address: SocketAddr,
}

impl Drop for OpenTracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl OpenTracker {
    /// `None`, said out loud, where it is not installed or we are not root.
    fn start() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let is_there = Command::new("opentracker").arg("-h").stderr(Stdio::null()).output().is_ok();
        if !is_there {
            skipped("opentracker is not installed");
            return None;
        }
        Some(eventually("a port that nobody takes before opentracker does", Self::try_start))
    }

    fn try_start() -> Option<Self> {
        let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        // It reads the list as nobody.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let config = directory.path().join("config");
        let root = directory.path().display();
        let lines = format!("listen.tcp_udp {address}\naccess.whitelist /white\ntracker.rootdir {root}\n");
        fs::write(&config, lines).unwrap();
        fs::write(directory.path().join("white"), "").unwrap();
        let mut command = Command::new("opentracker");
        command.arg("-f").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let mut tracker = Self { process, directory, address };
        let answers = eventually("opentracker answers or has ended", || {
            let has_ended = tracker.process.try_wait().unwrap().is_some();
            if has_ended { Some(false) } else { answers_at(address).then_some(true) }
        });
        answers.then_some(tracker)
    }

    /// Puts a folder on the white list; it takes the tracker a moment to read it.
    fn list(&self, discovery: DiscoveryId) {
        fs::write(self.directory.path().join("white"), format!("{discovery}\n")).unwrap();
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::HUP).unwrap();
    }

    fn udp(&self) -> String {
        format!("udp://{}", self.address)
    }

    fn http(&self) -> String {
        format!("http://{}/announce", self.address)
    }
}

/// Whether it answers. That it listens is too early: the signal to read its list would end it.
fn answers_at(address: SocketAddr) -> bool {
    let ask = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /scrape?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.0\r\n\r\n")?;
        stream.read_exact(&mut [0])
    };
    TcpStream::connect(address).and_then(ask).is_ok()
}

#[tokio::test]
async fn two_devices_find_each_other_over_udp_and_http_alike() {
    let Some(tracker) = OpenTracker::start() else { return };
    tracker.list(DOCS.1);
    let anna = Device::new(2001, &[tracker.udp()]);
    anna.is_listed().await;
    let mut ben = Device::new(2002, &[tracker.http()]);
    ben.finds(&anna, tracker.address.ip()).await;
    let status = ben.status(|rows| rows[0].last_announce.is_some()).await;
    assert_eq!((status[0].found, &status[0].error), (1, &None), "itself it does not count");
    let mut carl = Device::new(2003, &[tracker.udp()]);
    let status = carl.status(|rows| rows[0].last_announce.is_some()).await;
    assert_eq!((status[0].found, &status[0].error), (2, &None));
    let found = [carl.hints.recv().await.unwrap(), carl.hints.recv().await.unwrap()];
    let mut ports = found.map(|hint| hint.address.port());
    ports.sort_unstable();
    assert_eq!(ports, [2001, 2002]);

    for url in [tracker.udp(), tracker.http()] {
        let totals = scrape(&url, DOCS.1).await.unwrap().totals;
        assert_eq!((totals.seeders, totals.leechers), (0, 3), "{url}");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_on_the_white_list_says_so_until_it_is() {
    let Some(tracker) = OpenTracker::start() else { return };
    let anna = Device::new(2001, &[tracker.udp(), tracker.http()]);
    let status = anna.status(|rows| rows.iter().all(|row| row.error.is_some())).await;
    for row in status {
        let error = row.error.unwrap();
        assert!(error.starts_with("the tracker refused this folder"), "{error}");
        assert!(error.contains(&format!("its operator must add {}", DOCS.1)), "{error}");
        assert!(row.next.is_some(), "it is tried again");
    }
    tracker.list(DOCS.1);
    anna.is_listed().await;
    anna.status(|rows| rows.iter().all(|row| row.error.is_none())).await;
}

#[tokio::test]
async fn a_dead_tracker_beside_it_does_not_hold_it_up() {
    let Some(tracker) = OpenTracker::start() else { return };
    tracker.list(DOCS.1);
    let silent = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let dead = format!("udp://{}", silent.local_addr().unwrap());
    let anna = Device::new(2001, &[tracker.udp()]);
    anna.is_listed().await;
    let mut ben = Device::new(2002, &[dead, tracker.udp()]);
    ben.finds(&anna, tracker.address.ip()).await;
    assert!(ben.trackers.status(DOCS.0)[0].last_announce.is_none());
    let status = ben.status(|rows| rows[0].error.is_some()).await;
    assert!(status[0].error.as_ref().unwrap().contains("does not answer"));
    assert_eq!(status[1].error, None);
}

#[tokio::test]
async fn whoever_has_gone_is_named_no_more() {
    let Some(tracker) = OpenTracker::start() else { return };
    tracker.list(DOCS.1);
    for url in [tracker.udp(), tracker.http()] {
        let anna = Device::new(2001, &[url]);
        anna.is_listed().await;
        anna.trackers.close().await;
        let ben = Device::new(2002, &[tracker.udp()]);
        ben.is_announced().await;
        assert_eq!(ben.trackers.status(DOCS.0)[0].found, 0);
        ben.trackers.close().await;
    }
}
