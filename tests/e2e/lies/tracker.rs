//! A tracker that says what does most harm, over UDP and HTTP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::Device;
use syncd::tracker::wire::encode_v4;
use syncd::tracker::wire::udp::{Request, announce_answer_head, connect_answer};

/// Who is named in forged answers alone.
pub(super) const TRAP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 6_666);

const VICTIMS: u32 = 10_000;
/// As many as fit into an answer over UDP.
const MAX_OVER_UDP: usize = 600;
const LOOK_UP: Duration = Duration::from_millis(50);

/// It ends when it is dropped.
pub(super) struct Hostile {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hostile {
    /// Starts it on a host, at ports 6969 (UDP) and 8080 (HTTP); `asker` is who will be told of itself.
    pub(super) fn start(host: &Device, ip: Ipv4Addr, asker: Ipv4Addr) -> Self {
        let (udp, forger, http) = host.inside(|| {
            let bind = |port| UdpSocket::bind((ip, port)).unwrap();
            (bind(6_969), bind(6_970), TcpListener::bind((ip, 8_080)).unwrap())
        });
        udp.set_read_timeout(Some(LOOK_UP)).unwrap();
        http.set_nonblocking(true).unwrap();
        let is_over = Arc::<AtomicBool>::default();
        let (over_udp, over_http) = (Arc::clone(&is_over), Arc::clone(&is_over));
        let over_udp = std::thread::spawn(move || {
            while !over_udp.load(Ordering::Relaxed) {
                answer_udp(&udp, &forger, asker);
            }
        });
        let over_http = std::thread::spawn(move || {
            while !over_http.load(Ordering::Relaxed) {
                match http.accept() {
                    Ok((stream, _)) => drop(answer_http(stream, asker)),
                    Err(_) => std::thread::park_timeout(LOOK_UP),
                }
            }
        });
        Self { is_over, threads: vec![over_udp, over_http] }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Whom it names: what must never be dialled, one host at many ports, and the world.
fn named(asker: Ipv4Addr) -> Vec<SocketAddrV4> {
    let never = [
        "127.0.0.1:4455",
        "127.0.0.1:6969",
        "0.0.0.0:4455",
        "224.0.0.251:5353",
        "239.192.152.144:4454",
        "255.255.255.255:4455",
        "169.254.1.1:4455",
        "9.9.9.9:53",
        "8.8.8.8:443",
        "10.77.0.2:22",
    ];
    let mut all: Vec<SocketAddrV4> = never.iter().map(|text| text.parse().unwrap()).collect();
    all.push(SocketAddrV4::new(asker, 4_455));
    all.extend((0..20).map(|number| SocketAddrV4::new(Ipv4Addr::new(9, 1, 1, 1), 2_000 + number)));
    all.extend((0..VICTIMS).map(|number| {
        let [_, a, b, c] = number.wrapping_mul(2_654_435).to_be_bytes();
        SocketAddrV4::new(Ipv4Addr::new(11, a, b, c), 4_455)
    }));
    all
}

fn announced(transaction: u32, interval: u32, peers: &[SocketAddrV4]) -> Vec<u8> {
    let mut answer = announce_answer_head(transaction, interval, u32::MAX, u32::MAX).to_vec();
    peers.iter().for_each(|peer| answer.extend_from_slice(&encode_v4(*peer)));
    answer
}

/// Before what counts come answers of another transaction, from another port, and cut ones.
fn answer_udp(socket: &UdpSocket, forger: &UdpSocket, asker: Ipv4Addr) {
    let mut buffer = [0; 2_048];
    let Ok((len, from)) = socket.recv_from(&mut buffer) else { return };
    let SocketAddr::V4(trap) = TRAP else { return };
    let answer = match Request::parse(&buffer[..len]) {
        Some(Request::Connect { transaction }) => {
            let _ = socket.send_to(&connect_answer(transaction ^ 1, 7), from);
            connect_answer(transaction, 7).to_vec()
        }
        Some(Request::Announce { transaction, .. }) => {
            let forged = announced(transaction, 0, &[trap]);
            let _ = forger.send_to(&forged, from);
            let _ = socket.send_to(&announced(transaction ^ 1, 0, &[trap]), from);
            for len in 0..8 {
                let _ = socket.send_to(&forged[..len], from);
            }
            announced(transaction, 0, &named(asker)[..MAX_OVER_UDP])
        }
        _ => return,
    };
    let _ = socket.send_to(&answer, from);
}

fn answer_http(mut stream: TcpStream, asker: Ipv4Addr) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let peers: Vec<u8> = named(asker).into_iter().flat_map(encode_v4).collect();
    let body =
        [format!("d8:intervali{}e5:peers{}:", u32::MAX, peers.len()).as_bytes(), &peers, b"e"].concat();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat())
}
