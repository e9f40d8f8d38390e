//! Carries packets between two TUN devices, late and not all of them.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::Line;
use super::way::Way;

/// Longest packet on the line.
const MTU: u16 = 1500;
/// How soon the end is noticed.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The line at work; it ends when it is dropped.
pub(crate) struct Relay {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A packet, and when it arrives.
type Parcel = (Duration, Vec<u8>);

impl Relay {
    /// Makes an end of a line in the network namespace of this thread.
    pub(crate) fn end(name: &str, address: Ipv4Addr) -> io::Result<SyncDevice> {
        let device = DeviceBuilder::new().name(name).ipv4(address, 24, None).mtu(MTU).build_sync()?;
        device.set_nonblocking(true)?;
        Ok(device)
    }

    /// Joins two ends.
    pub(crate) fn start(ends: [SyncDevice; 2], line: Line) -> io::Result<Self> {
        let [left, right] = ends.map(Arc::new);
        let (start, is_over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let mut threads = Vec::new();
        for (seed, from, to) in [(1, &left, &right), (2, &right, &left)] {
            let (sender, receiver) = channel();
            let (from, to, over) = (Arc::clone(from), Arc::clone(to), Arc::clone(&is_over));
            let way = Way::new(line, seed);
            let take = move || take(&from, way, start, &over, &sender);
            threads.push(thread::Builder::new().name("line-in".to_owned()).spawn(take)?);
            let give = move || give(&to, start, &receiver);
            threads.push(thread::Builder::new().name("line-out".to_owned()).spawn(give)?);
        }
        Ok(Self { is_over, threads })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Takes packets from a device until it is over. What has been admitted is bounded by the way's
/// queue and delay.
fn take(from: &SyncDevice, mut way: Way, start: Instant, is_over: &AtomicBool, line: &Sender<Parcel>) {
    let mut buffer = vec![0; 1 << 16];
    while !is_over.load(Ordering::Relaxed) {
        match from.recv(&mut buffer) {
            Ok(length) => {
                let packet = &buffer[..length];
                if let Some(due) = way.admit(start.elapsed(), length)
                    && line.send((due, packet.to_vec())).is_err()
                {
                    return;
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN)], Some(&LOOK));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)), // the device is not up yet, or no more
        }
    }
}

/// Gives packets to a device when they are due, which is in the order in which they come.
fn give(to: &SyncDevice, start: Instant, line: &Receiver<Parcel>) {
    while let Ok((due, packet)) = line.recv() {
        let wait = due.saturating_sub(start.elapsed());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        let _ = to.send(&packet); // lost, as on any line, if the device does not take it
    }
}
