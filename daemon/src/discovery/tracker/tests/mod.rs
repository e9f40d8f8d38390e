pub(super) mod fake;

use self::fake::{FakeHttp, FakeUdp, Manner, ok};
use super::*;
use crate::tracker::wire::{Announce, Event};

const FOLDER: FolderId = FolderId([1; 16]);
const DISCOVERY: DiscoveryId = DiscoveryId([2; 20]);
const PORT: u16 = 4453;
const SOON: Duration = Duration::from_secs(120);

/// Trackers' client, and what it finds.
struct Anna {
    trackers: Trackers,
    hints: mpsc::Receiver<Hint>,
    reachable: watch::Sender<Reachable>,
}

fn anna() -> Anna {
    let (hints_out, hints) = mpsc::channel(1000);
    let (reachable, reachable_in) = watch::channel(Reachable { v4: Some(PORT), v6: Some(PORT) });
    let config = TrackersConfig { seed: [7; 32], hints: hints_out, reachable: reachable_in };
    Anna { trackers: Trackers::start(config), hints, reachable }
}

impl Anna {
    fn set(&self, trackers: &[String]) {
        self.trackers.set_folder(FOLDER, DISCOVERY, trackers);
    }

    async fn hint(&mut self) -> Hint {
        timeout(SOON, self.hints.recv()).await.expect("a hint comes").expect("it goes on")
    }

    /// Waits until each tracker has answered, refused or failed.
    async fn settled(&self) -> Vec<WayStatus> {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.trackers.status(FOLDER);
            if status.iter().all(|row| row.last_announce.is_some() || row.error.is_some()) {
                return status;
            }
            assert!(Instant::now() < deadline, "{status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn told(tracker: &mut FakeUdp) -> Announce {
    timeout(SOON, tracker.announces.recv()).await.expect("it is told").expect("it goes on")
}

fn peer(last: u8) -> SocketAddr {
    ([198, 51, 100, last], 2000).into()
}

fn naming(peers: &[SocketAddr]) -> Manner {
    Manner { peers: peers.to_vec(), ..Manner::default() }
}

#[tokio::test]
async fn whom_a_tracker_names_becomes_a_hint_but_not_ourselves() {
    let ourselves = SocketAddr::from(([127, 0, 0, 1], PORT));
    let neighbour = SocketAddr::from(([127, 0, 0, 1], PORT + 1));
    let mut tracker = FakeUdp::new(naming(&[ourselves, peer(1), neighbour])).await;
    let mut anna = anna();
    anna.set(&[tracker.url()]);
    let namer = tracker.address.ip();
    for address in [peer(1), neighbour] {
        assert_eq!(anna.hint().await, Hint { folder: FOLDER, address, namer, way: Way::Tracker });
    }
    let announce = told(&mut tracker).await;
    let expected =
        Announce { info_hash: DISCOVERY.0, left: 1, event: Event::Started, port: PORT, ..announce };
    assert_eq!(announce, expected);
    assert_eq!(announce.want, Some(50));
    let status = anna.settled().await;
    assert_eq!((status[0].found, &status[0].error), (2, &None));
    assert_eq!((status[0].way, &status[0].source), (Way::Tracker, &tracker.url()));
    let next = status[0].next.expect("it is told again").duration_since(SystemTime::now()).unwrap();
    assert!((1600..=1800).contains(&next.as_secs()), "{next:?}");
}

#[tokio::test]
async fn a_dead_tracker_does_not_hold_up_the_living_one() {
    let dead = FakeUdp::new(Manner { deaf_for: usize::MAX, ..Manner::default() }).await;
    let living = FakeUdp::new(naming(&[peer(1)])).await;
    let mut anna = anna();
    anna.set(&[dead.url(), living.url()]);
    assert_eq!(anna.hint().await.address, peer(1));
    let status = anna.settled().await;
    assert_eq!(status[1].error, None);
    let error = status[0].error.as_deref().expect("it is dead");
    let expected = format!("{} does not answer; is the tracker running,", dead.address);
    assert!(error.starts_with(&expected), "{error}");
    assert!(status[0].next.is_some());
}

#[tokio::test]
async fn an_answer_that_is_too_short_is_a_refusal_and_says_what_to_do() {
    let tracker = FakeUdp::new(Manner { refuses: true, ..Manner::default() }).await;
    let anna = anna();
    anna.set(&[tracker.url()]);
    let expected = format!(
        "the tracker refused this folder; if it keeps a white list, its operator must add {DISCOVERY}"
    );
    assert_eq!(anna.settled().await[0].error, Some(expected));
}

#[tokio::test]
async fn forged_answers_are_dropped_and_lost_ones_asked_for_again() {
    let manner = Manner { has_forgers: true, deaf_for: 1, ..naming(&[peer(1)]) };
    let tracker = FakeUdp::new(manner).await;
    let mut anna = anna();
    anna.set(&[tracker.url()]);
    assert_eq!(anna.hint().await.address, peer(1));
    assert_eq!(anna.settled().await[0].found, 1);
}

#[tokio::test]
async fn a_connection_id_that_is_no_longer_accepted_is_replaced() {
    let manner = Manner { forgets_connections: true, ..naming(&[peer(1)]) };
    let tracker = FakeUdp::new(manner).await;
    let mut anna = anna();
    anna.set(&[tracker.url()]);
    anna.hint().await;
    let other = FolderId([9; 16]);
    anna.trackers.set_folder(other, DiscoveryId([9; 20]), &[tracker.url()]);
    assert_eq!(anna.hint().await.folder, other);
}

#[tokio::test]
async fn no_more_than_200_addresses_are_taken_from_one_answer() {
    let many: Vec<SocketAddr> = (0..=255).map(peer).collect();
    let tracker = FakeUdp::new(naming(&many)).await;
    let anna = anna();
    anna.set(&[tracker.url()]);
    assert_eq!(anna.settled().await[0].found, 200);
}

#[tokio::test]
async fn a_port_that_changes_is_told_and_the_old_one_taken_back() {
    let mut tracker = FakeUdp::new(naming(&[])).await;
    let anna = anna();
    anna.set(&[tracker.url()]);
    told(&mut tracker).await;
    anna.settled().await;
    anna.reachable.send(Reachable { v4: Some(PORT + 1), v6: None }).unwrap();
    let said = |announce: Announce| (announce.event, announce.port);
    assert_eq!(said(told(&mut tracker).await), (Event::Stopped, PORT));
    assert_eq!(said(told(&mut tracker).await), (Event::Started, PORT + 1));
}

#[tokio::test]
async fn whoever_goes_says_so() {
    let (mut one, mut two) = (FakeUdp::new(naming(&[])).await, FakeUdp::new(naming(&[])).await);
    let anna = anna();
    anna.set(&[one.url(), two.url()]);
    let first = told(&mut one).await;
    told(&mut two).await;
    anna.settled().await;
    anna.set(&[two.url()]);
    let last = told(&mut one).await;
    assert_eq!(last, Announce { event: Event::Stopped, want: Some(0), ..first });
    anna.trackers.close().await;
    assert_eq!(told(&mut two).await.event, Event::Stopped);
}

#[tokio::test]
async fn a_name_is_asked_over_each_family_that_it_has() {
    let mut v4 = FakeUdp::new(naming(&[peer(4)])).await;
    let there = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v4.address.port()));
    let Ok(mut v6) = FakeUdp::at(there, Manner::default()).await else { return };
    let anna = anna();
    anna.set(&[format!("localhost:{}", v4.address.port())]);
    let one = told(&mut v4).await;
    let resolved: Vec<_> = tokio::net::lookup_host(("localhost", 1)).await.unwrap().collect();
    if resolved.iter().any(SocketAddr::is_ipv6) {
        assert_eq!(told(&mut v6).await, one, "one and the same peer id and key");
    }
}

#[tokio::test]
async fn over_ipv6_a_tracker_names_ipv6_addresses() {
    let others = ["[2001:db8::1]:2000", "[::ffff:198.51.100.1]:2000"].map(|peer| peer.parse().unwrap());
    let there = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    // A machine without IPv6 has nothing to show here.
    let Ok(tracker) = FakeUdp::at(there, naming(&others)).await else { return };
    let mut anna = anna();
    anna.set(&[tracker.url()]);
    for address in [others[0], peer(1)] {
        let hint = anna.hint().await;
        assert_eq!((hint.address, hint.namer), (address, there.ip()));
    }
}

#[tokio::test]
async fn a_tracker_over_http_is_announced_to_and_heard() {
    let answer =
        b"d8:intervali900e12:min intervali450e5:peers12:\xc6\x33\x64\x01\x07\xd0\x7f\0\0\x01\x11\x65e";
    let tracker = FakeHttp::new([ok(answer)]).await;
    let mut anna = anna();
    anna.set(&[tracker.url()]);
    let hint = anna.hint().await;
    assert_eq!((hint.address, hint.namer), (peer(1), tracker.address.ip()));
    let status = anna.settled().await;
    assert_eq!((status[0].found, &status[0].error), (1, &None));
    let asked = tracker.asked();
    let line = asked[0].lines().next().unwrap();
    let begin = format!("GET /announce?info_hash={}&peer_id=-SY0001-", "%02".repeat(20));
    assert!(line.starts_with(&begin), "{line}");
    assert!(line.ends_with("&compact=1&no_peer_id=1&numwant=50&event=started HTTP/1.1"), "{line}");
}

#[tokio::test]
async fn refusals_over_http_are_told_in_the_trackers_words() {
    let listed = FakeHttp::new([ok(b"d14:failure reason36:Requested download is not authorizede")]).await;
    let no_tracker = FakeHttp::new([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()]).await;
    let web_page = FakeHttp::new([ok(b"<html>")]).await;
    let anna = anna();
    anna.set(&[listed.url(), no_tracker.url(), web_page.url()]);
    let errors: Vec<String> = anna.settled().await.into_iter().filter_map(|row| row.error).collect();
    let expected = [
        format!(
            "the tracker refused this folder: Requested download is not authorized \
             (if it keeps a white list, its operator must add {DISCOVERY})"
        ),
        format!("{} answered with HTTP status 404; check the tracker's URL", no_tracker.address),
        format!("{} answered, but not as a tracker does: it is not bencoded", web_page.address),
    ];
    assert_eq!(errors, expected);
}

#[tokio::test]
async fn a_scrape_asks_without_telling() {
    let mut udp = FakeUdp::new(Manner::default()).await;
    let totals = Totals { seeders: 1, completed: 2, leechers: 3 };
    let asked = scrape(&udp.url(), DISCOVERY).await.unwrap();
    assert_eq!(asked, Scrape { address: udp.address, totals });
    assert!(udp.announces.try_recv().is_err());

    let files = [&b"d5:filesd20:"[..], &DISCOVERY.0, b"d8:completei1e10:downloadedi2e10:incompletei3eeee"];
    let http = FakeHttp::new([ok(&files.concat())]).await;
    let asked = scrape(&http.url(), DISCOVERY).await.unwrap();
    assert_eq!(asked, Scrape { address: http.address, totals });
    assert!(http.asked()[0].starts_with("GET /scrape?info_hash=%02"));
    let error = scrape(&format!("http://{}/here", http.address), DISCOVERY).await.unwrap_err();
    assert!(matches!(error, TrackerError::NoScrape), "{error}");
}
