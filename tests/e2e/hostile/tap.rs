//! A place on the path between two devices: it passes datagrams on, and keeps a copy of each.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

/// How soon the threads see that it is over.
const LOOK_UP: Duration = Duration::from_millis(50);

/// A tap in front of one daemon, for one caller.
pub(super) struct Tap {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Towards the caller, and towards the daemon.
    front: UdpSocket,
    back: UdpSocket,
    caller: Mutex<Option<SocketAddr>>,
    asked: Mutex<Vec<Vec<u8>>>,
    answered: Mutex<Vec<Vec<u8>>>,
    is_over: AtomicBool,
}

impl Tap {
    pub(super) fn before(daemon: SocketAddr) -> Self {
        let socket = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(LOOK_UP)).unwrap();
            socket
        };
        let (front, back) = (socket(), socket());
        back.connect(daemon).unwrap();
        let shared = Arc::new(Shared {
            front,
            back,
            caller: Mutex::default(),
            asked: Mutex::default(),
            answered: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let address = shared.front.local_addr().unwrap();
        let threads = [Shared::pass_on as fn(&Shared), Shared::pass_back].map(|pass| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                while !shared.is_over.load(Ordering::Relaxed) {
                    pass(&shared);
                }
            })
        });
        Self { address, shared, threads: threads.into() }
    }

    /// What the caller has sent.
    pub(super) fn asked(&self) -> Vec<Vec<u8>> {
        self.shared.asked.lock().clone()
    }

    /// What the daemon has sent.
    pub(super) fn answered(&self) -> Vec<Vec<u8>> {
        self.shared.answered.lock().clone()
    }
}

impl Shared {
    fn pass_on(&self) {
        let mut buffer = vec![0; 65_536];
        let Ok((length, from)) = self.front.recv_from(&mut buffer) else { return };
        *self.caller.lock() = Some(from);
        self.asked.lock().push(buffer[..length].to_vec());
        let _ = self.back.send(&buffer[..length]);
    }

    fn pass_back(&self) {
        let mut buffer = vec![0; 65_536];
        let Ok(length) = self.back.recv(&mut buffer) else { return };
        self.answered.lock().push(buffer[..length].to_vec());
        if let Some(caller) = *self.caller.lock() {
            let _ = self.front.send_to(&buffer[..length], caller);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
