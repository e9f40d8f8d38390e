//! Requests as they come over TCP.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::tracker::swarms::Limits;
use crate::tracker::wire::http::{
    AnswerError, announce_query, parse_announce_answer, parse_scrape_answer, scrape_query,
};
use crate::tracker::wire::{Announce, Event, Totals};

const LIMITS: Limits =
    Limits { peers: 10_000, peers_per_swarm: 10_000, peers_per_source: 10_000, interval_minutes: 30 };

struct Running {
    address: SocketAddr,
    desk: Arc<Desk>,
    _http: Http,
}

impl Running {
    async fn start(per_second: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Desk::new(LIMITS, per_second));
        let http = Http::start(&desk, vec![listener]);
        Self { address, desk, _http: http }
    }

    /// Sends this and returns all that comes back until the connection ends.
    async fn raw(&self, request: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    /// The status line and the body.
    async fn get(&self, target: &str) -> (String, Vec<u8>) {
        let head = "Connection: close\r\nX-Forwarded-For: 203.0.113.9";
        let answer = self.raw(&format!("GET {target} HTTP/1.1\r\nHost: t\r\n{head}\r\n\r\n")).await;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        (head.lines().next().unwrap().to_owned(), answer[end + 4..].to_vec())
    }
}

fn announce(port: u16) -> Announce {
    Announce {
        info_hash: *b"\x00\xff&=%+ abcdefghijklm",
        peer_id: [b'-'; 20],
        downloaded: 0,
        left: 1,
        uploaded: 0,
        event: Event::Started,
        key: 0,
        want: Some(5),
        port,
    }
}

#[tokio::test]
async fn peers_hear_of_each_other_at_the_addresses_they_really_have() {
    let running = Running::start(0).await;
    let query = announce_query(&announce(10));
    running.get(&format!("/announce?{query}&ip=203.0.113.8")).await;
    let (status, body) = running.get(&format!("/announce?{}", announce_query(&announce(20)))).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let answer = parse_announce_answer(&body, 100).unwrap();
    assert_eq!(answer.peers, ["127.0.0.1:10".parse().unwrap()]);
    assert!((1_620..=1_980).contains(&answer.interval.unwrap()) && answer.min_interval == Some(900));
    let hash = announce(1).info_hash;
    let (_, body) = running.get(&format!("/scrape?{}", scrape_query(&[[1; 20], hash, hash]))).await;
    let totals = Totals { seeders: 0, completed: 0, leechers: 2 };
    assert_eq!(parse_scrape_answer(&body, &hash), Ok(Some(totals)));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let running = Running::start(0).await;
    for (target, reason) in [
        ("/announce", "info_hash is missing"),
        ("/announce?info_hash=short&peer_id=x&port=1", "info_hash is not valid"),
        ("/scrape", "info_hash is missing"),
    ] {
        let (_, body) = running.get(target).await;
        assert_eq!(parse_announce_answer(&body, 1), Err(AnswerError::Refused(reason.to_owned())), "{target}");
    }
    assert_eq!(running.get("/nothing").await.0, "HTTP/1.1 404 Not Found");
    let posted = running.raw("POST /announce HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await;
    assert!(posted.starts_with(b"HTTP/1.1 405 "));
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let running = Running::start(0).await;
    let mut request = String::from("GET / HTTP/1.1\r\n");
    for number in 0..4_000 {
        let _ = write!(request, "X-{number}: {number}\r\n");
    }
    let answer = running.raw(&request).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_source_that_asks_too_much_is_told_so() {
    let running = Running::start(1).await;
    let mut statuses = Vec::new();
    for _ in 0..15 {
        statuses.push(running.get("/").await.0);
    }
    let granted = statuses.iter().filter(|status| status.ends_with("200 OK")).count();
    assert!((10..15).contains(&granted), "{statuses:?}");
    assert_eq!(running.desk.counters.get(Count::HttpLimited) as usize, 15 - granted);
}

#[tokio::test]
async fn pages_for_people_and_monitoring_name_nobody() {
    let running = Running::start(0).await;
    running.get(&format!("/announce?{}", announce_query(&announce(10)))).await;
    let (_, metrics) = running.get("/metrics").await;
    let metrics = String::from_utf8(metrics).unwrap();
    for line in [
        "syncd_tracker_swarms 1",
        "syncd_tracker_peers{family=\"ipv4\"} 1",
        "syncd_tracker_announces_total{protocol=\"http\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let (_, page) = running.get("/").await;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("<td>1</td>") && !page.contains("http://") && !page.contains("https://"), "{page}");
    assert!(!format!("{page}{metrics}").contains("127.0.0.1"));
}

#[test]
fn the_door_lets_in_so_many_of_each_source_and_in_all() {
    let door = Arc::new(Door::new(3, 2));
    let [alice, bob] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
    let first = door.enter(alice).unwrap();
    let _second = door.enter(alice).unwrap();
    assert!(door.enter(alice).is_none());
    let _third = door.enter(bob).unwrap();
    assert!(door.enter(bob).is_none());
    drop(first);
    assert!(door.enter(alice).is_some());
}
