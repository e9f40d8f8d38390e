//! TR-01, TR-08: trackers and neighbours that lie about where peers are. Nobody is harmed by what they
//! say, and those who mean well meet all the same.

mod tracker;
mod wire;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Instant;

use harness::{Device, Net, eventually, in_sync};
use serde_json::Value;

use self::tracker::{Hostile, TRAP};
use self::wire::Wire;
use crate::net;

/// The hosts of a story, in the order in which they are made.
const HOSTILE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HONEST: &str = "10.77.0.2:6969";

/// Hints are dialled this often in a minute at most, and each IP so often in ten minutes.
const DIALS_A_MINUTE: u64 = 20;
const DIALS_OF_AN_IP: usize = 3;

/// A device that knows those trackers and nothing else.
fn device(net: &Net, name: &str, trackers: &str) -> Rc<Device> {
    let device = net.stopped_device(name);
    let discovery = format!("lan = false\ndht = false\ntrackers = {trackers}\n");
    let settings = format!("name = \"{name}\"\n\n[discovery]\n{discovery}");
    fs::write(device.home().join("config.toml"), settings).unwrap();
    device.start();
    device
}

/// Whether anybody may be made to send something there.
fn may_be_dialled(at: SocketAddr) -> bool {
    let SocketAddr::V4(at) = at else { return false };
    let ip = *at.ip();
    let is_never = ip.is_loopback() || ip.is_multicast() || ip.is_broadcast() || ip.is_link_local();
    !is_never && !ip.is_unspecified() && at.port() >= 1024
}

/// TR-01: ten thousand victims, this machine, this network and services of others, over UDP and HTTP, with
/// forged and cut answers before and intervals of nothing and of for ever.
#[test]
fn a_tracker_that_names_ten_thousand_victims_makes_nobody_knock_at_more_than_a_few_doors() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (host, honest) = (net.stopped_device("hostile"), net.stopped_device("honest"));
    let mut tracker = honest.on_wire(&["tracker", "--listen", HONEST]);
    let mut tracker = tracker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let own = Ipv4Addr::new(10, 77, 0, 3);
    let hostile = Hostile::start(&host, HOSTILE, own);
    let [udp, http] = [format!("udp://{HOSTILE}:6969"), format!("http://{HOSTILE}:8080/announce")];
    let all = format!("[\"{udp}\", \"{http}\", \"udp://{HONEST}\"]");
    let first = device(&net, "anna", &all);
    // So that packets to the whole world are sent, and lead to the liar.
    first.run_on_wire(&format!("ip route add default via {HOSTILE}"));
    let (begun, sent) = (Instant::now(), Wire::of(&first, own));
    let anna = first.share("docs");
    anna.write("file", "file");
    let row = |url: &str| -> Value {
        let rows = anna.row()["discovery"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["source"] == url).unwrap()
    };
    eventually("both liars were believed to be trackers", || {
        [&udp, &http].iter().all(|url| row(url)["last_announce"].is_u64()).then_some(())
    });
    let victims = |sent: &Wire| {
        let mut dials = sent.dials();
        dials.retain(|to, _| ![HOSTILE.to_string(), "10.77.0.2".into()].contains(&to.ip().to_string()));
        dials
    };
    eventually("some victims are dialled", || (victims(&sent).len() >= 5).then_some(()));
    let ben = device(&net, "ben", &format!("[\"udp://{HONEST}\"]")).join(anna.writer_key());
    in_sync(&[&anna, &ben]);

    let minutes = begun.elapsed().as_secs() / 60 + 1;
    let ben_ip = Ipv4Addr::new(10, 77, 0, 4);
    let mut dials = victims(&sent);
    dials.retain(|to, _| to.ip() != ben_ip);
    let forbidden: Vec<_> = sent.destinations().into_iter().filter(|to| !may_be_dialled(*to)).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
    assert!(!dials.contains_key(&TRAP), "who forges an answer is not believed");
    assert!(!dials.keys().any(|to| to.ip() == own), "she dials herself");
    let total: usize = dials.values().sum();
    assert!(total as u64 <= DIALS_A_MINUTE * minutes, "{total} dials in {minutes} minutes: {dials:?}");
    for ip in dials.keys().map(SocketAddr::ip) {
        let count: usize = dials.iter().filter(|(to, _)| to.ip() == ip).map(|(_, count)| count).sum();
        assert!(count <= DIALS_OF_AN_IP, "{count} dials of {ip}");
    }
    for (url, least, most) in [(&udp, 60, 3_600), (&http, 60, 3_600)] {
        let row = row(url);
        let pause = row["next"].as_u64().unwrap() - row["last_announce"].as_u64().unwrap();
        assert!((least..=most).contains(&pause), "{pause} s between two announces: {row}");
    }
    drop(hostile);
    tracker.kill().unwrap();
    tracker.wait().unwrap();
}

/// Datagrams of a flood, and memory that it may cost.
const FLOOD: usize = 20_000;
const MAX_GROWTH: u64 = 32 << 20;

/// TR-08: a neighbour hears beacons, says them again as her own, makes some up, and floods. What she hears
/// names nothing; each of her beacons is worth one dial at most; others are found amid it all.
#[test]
fn a_neighbour_who_forges_beacons_is_dialled_once_for_each_and_learns_no_name() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let mallory = net.stopped_device("mallory");
    let own = Ipv4Addr::new(10, 77, 0, 1);
    mallory.run_on_wire("ip route add default dev e0");
    let (caught, socket) = (Wire::of(&mallory, own), neighbour(&mallory));
    let (anna, ben) = net.two_writers();
    let beacon = beacon_of(&socket);
    let names = [anna.device().name(), "docs", anna.id(), "syncd"];
    let keys = anna.device().json(&["keys", anna.id()]);
    let discovery = keys["discovery_id"].as_str().unwrap();
    let discovery: Vec<u8> =
        (0..20).map(|at| u8::from_str_radix(&discovery[2 * at..2 * at + 2], 16).unwrap()).collect();
    let says = |part: &[u8]| beacon.windows(part.len()).any(|window| window == part);
    assert!(!names.iter().any(|name| says(name.as_bytes())) && !says(&discovery), "{beacon:?}");

    let before = anna.device().resident_bytes();
    let everybody = SocketAddr::from((Ipv4Addr::BROADCAST, 4454));
    let mut forged = 0;
    for port in [4_455_u16, 5_000, 5_001] {
        let mut again = beacon.clone();
        again[13..15].copy_from_slice(&port.to_be_bytes());
        socket.send_to(&again, everybody).unwrap();
        forged += 1;
    }
    eventually("she is dialled", || (!caught.dials_of_others().is_empty()).then_some(()));
    for number in 0..FLOOD {
        let _ = socket.send_to(&nonsense(number, &beacon), everybody);
    }
    let carl = net.device("carl").join(anna.writer_key());
    carl.write("from-carl", "carl");
    in_sync(&[&anna, &ben, &carl]);
    let dials = caught.dials_of_others();
    for (from, count) in &dials {
        assert!(*count <= forged, "{from} has dialled her {count} times for {forged} beacons");
    }
    let growth = anna.device().resident_bytes().saturating_sub(before);
    assert!(growth < MAX_GROWTH, "{growth} bytes more");
    let seen: Vec<&str> = [&anna, &ben, &carl].map(|folder| folder.device().name()).to_vec();
    let peers = anna.device().json(&["peers", anna.id()]);
    let is_known = |peer: &Value| seen.contains(&peer["name"].as_str().unwrap_or_default());
    assert!(peers.as_array().unwrap().iter().all(is_known), "{peers}");
}

/// A socket that hears and sends what goes to all on the segment.
fn neighbour(device: &Device) -> UdpSocket {
    let socket = device.inside(|| UdpSocket::bind("0.0.0.0:4454").unwrap());
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(harness::wait::PATIENCE)).unwrap();
    socket
}

/// The next beacon that somebody sends.
fn beacon_of(socket: &UdpSocket) -> Vec<u8> {
    let mut datagram = [0; 2_048];
    loop {
        let (len, from) = socket.recv_from(&mut datagram).unwrap();
        if from.ip() != HOSTILE && datagram[..len].starts_with(b"SYNB") {
            return datagram[..len].to_vec();
        }
    }
}

/// What is no beacon, or one of folders that nobody has, or one that is cut.
fn nonsense(number: usize, beacon: &[u8]) -> Vec<u8> {
    let noise = blake3::hash(&number.to_le_bytes());
    match number % 4 {
        0 => noise.as_bytes().repeat(number % 46),
        1 => [&beacon[..5], noise.as_bytes(), &noise.as_bytes()[..2]].concat(),
        2 => beacon[..number % beacon.len()].to_vec(),
        _ => [&beacon[..15], &noise.as_bytes().repeat(36)].concat(),
    }
}
