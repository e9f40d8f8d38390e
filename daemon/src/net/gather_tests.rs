//! Gathering in front of a socket that keeps what it is given.

use super::*;

/// What went out in each call.
#[derive(Debug, Default)]
struct Kept {
    calls: Mutex<Vec<(SocketAddr, usize, Option<usize>)>>,
    is_full: AtomicBool,
    sent: Notify,
}

#[derive(Debug)]
struct Never;

impl UdpPoller for Never {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncUdpSocket for Kept {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Never)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let call = (transmit.destination, transmit.contents.len(), transmit.segment_size);
        self.calls.lock().push(call);
        self.sent.notify_one();
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn max_transmit_segments(&self) -> usize {
        64
    }
}

fn to(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn send(gathering: &Gathering, port: u16, len: usize) -> io::Result<()> {
    let bytes = vec![0; len];
    gathering.try_send(&Transmit {
        destination: to(port),
        ecn: None,
        contents: &bytes,
        segment_size: Some(1_000),
        src_ip: None,
    })
}

fn gathering() -> (Arc<Kept>, Arc<Gathering>) {
    let kept = Arc::new(Kept::default());
    let gathering = Gathering::new(Arc::clone(&kept) as _);
    (kept, gathering)
}

#[tokio::test]
async fn full_batches_go_out_with_what_follows_them() {
    let (kept, gathering) = gathering();
    send(&gathering, 1, 10_000).unwrap();
    send(&gathering, 1, 10_000).unwrap();
    send(&gathering, 1, 3_500).unwrap();
    assert_eq!(*kept.calls.lock(), [(to(1), 23_500, Some(1_000))]);
    send(&gathering, 1, 700).unwrap();
    assert_eq!(kept.calls.lock()[1], (to(1), 700, Some(1_000)));
}

#[tokio::test]
async fn no_call_has_more_than_the_system_takes() {
    let (kept, gathering) = gathering();
    for _ in 0..13 {
        send(&gathering, 1, 10_000).unwrap();
    }
    assert_eq!(*kept.calls.lock(), [(to(1), 60_000, Some(1_000)); 2]);
}

#[tokio::test]
async fn what_nothing_follows_is_sent_soon() {
    let (kept, gathering) = gathering();
    send(&gathering, 1, 10_000).unwrap();
    tokio::time::timeout(Duration::from_secs(10), kept.sent.notified()).await.unwrap();
    assert_eq!(*kept.calls.lock(), [(to(1), 10_000, Some(1_000))]);
}

#[tokio::test]
async fn what_is_held_goes_before_what_cannot_join_it() {
    let (kept, gathering) = gathering();
    send(&gathering, 1, 10_000).unwrap();
    let single = [0; 30];
    let single =
        Transmit { destination: to(1), ecn: None, contents: &single, segment_size: None, src_ip: None };
    gathering.try_send(&single).unwrap();
    assert_eq!(*kept.calls.lock(), [(to(1), 10_000, Some(1_000)), (to(1), 30, None)]);
}

#[tokio::test]
async fn a_full_socket_loses_and_doubles_nothing() {
    let (kept, gathering) = gathering();
    send(&gathering, 1, 10_000).unwrap();
    kept.is_full.store(true, Ordering::Relaxed);
    // It is taken in, though it cannot go out; the next one is refused.
    send(&gathering, 1, 2_500).unwrap();
    assert_eq!(send(&gathering, 1, 10_000).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    kept.is_full.store(false, Ordering::Relaxed);
    send(&gathering, 1, 500).unwrap();
    assert_eq!(*kept.calls.lock(), [(to(1), 12_500, Some(1_000)), (to(1), 500, Some(1_000))]);
}
