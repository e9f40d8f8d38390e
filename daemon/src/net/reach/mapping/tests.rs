//! Against small gateways on loopback that speak NAT-PMP, PCP or UPnP.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

const PORT: NonZeroU16 = NonZeroU16::new(4455).unwrap();

/// Nobody answers there.
async fn nobody() -> Search {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    Search { to: Some(silent.local_addr().unwrap()), within: Duration::from_millis(100) }
}

/// A gateway for PCP and NAT-PMP: ports that are mapped, with their lives. The protocols have a
/// fixed port, so each test takes an address of its own.
async fn pmp_gateway(
    ip: Ipv4Addr,
    answer: impl Fn(&[u8], Ipv4Addr) -> Option<Vec<u8>> + Send + 'static,
) -> Arc<Mutex<BTreeMap<u16, u32>>> {
    let socket = UdpSocket::bind((ip, crab_nat::GATEWAY_PORT)).await.unwrap();
    let mapped = Arc::new(Mutex::new(BTreeMap::new()));
    let known = Arc::clone(&mapped);
    tokio::spawn(async move {
        let mut buffer = [0; 1100];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let ask = &buffer[..len];
            if ask[0] == 0 && ask[1] == 1 {
                let number = |at: usize| u16::from_be_bytes([ask[at], ask[at + 1]]);
                let life = u32::from_be_bytes(ask[8..12].try_into().unwrap());
                match life {
                    0 => known.lock().remove(&number(4)),
                    life => known.lock().insert(number(4), life),
                };
            }
            let SocketAddr::V4(client) = from else { continue };
            if let Some(answer) = answer(ask, *client.ip()) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    mapped
}

/// What NAT-PMP answers: no to PCP, its address, and the mapping with another port.
fn nat_pmp(ask: &[u8], _: Ipv4Addr) -> Option<Vec<u8>> {
    Some(match ask {
        [0, 0] => vec![0, 128, 0, 0, 0, 0, 0, 9, 11, 0, 0, 1],
        [0, 1, _, _, internal @ ..] if internal.len() == 8 => {
            let mut answer = vec![0, 129, 0, 0, 0, 0, 0, 9];
            answer.extend(&internal[..2]);
            answer.extend(60_001_u16.to_be_bytes());
            answer.extend(&internal[4..8]);
            answer
        }
        // Version 2 is not spoken.
        _ => vec![0, ask[1] | 128, 0, 1, 0, 0, 0, 9],
    })
}

#[tokio::test]
async fn nat_pmp_maps_a_port_renews_it_and_removes_it() {
    let ip = Ipv4Addr::new(127, 41, 7, 1);
    let ports = pmp_gateway(ip, nat_pmp).await;
    let gateways = Gateways { pmp: Some(ip), upnp: nobody().await };
    let mut mapping = Mapping::make(&gateways, PORT).await.unwrap();
    let external = Some((Some("11.0.0.1".parse().unwrap()), 60_001));
    let status = mapping.status();
    assert_eq!((status.protocol, status.external, status.error), (Some("NAT-PMP"), external, None));
    assert_eq!(mapping.life, Duration::from_secs(3600));
    mapping.renew().await.unwrap();
    assert_eq!(*ports.lock(), BTreeMap::from([(4455, 3600)]));
    mapping.remove().await;
    assert_eq!(*ports.lock(), BTreeMap::new());
}

/// What PCP answers: the question with the bit of an answer, and where it was mapped to.
fn pcp(ask: &[u8], _: Ipv4Addr) -> Option<Vec<u8>> {
    let [2, 1, ..] = ask else { return None };
    let mut answer = ask.to_vec();
    answer[1] |= 128;
    answer[2..4].copy_from_slice(&[0, 0]);
    answer[8..12].copy_from_slice(&9_u32.to_be_bytes());
    answer[12..24].fill(0);
    answer[42..44].copy_from_slice(&60_002_u16.to_be_bytes());
    answer[44..60].copy_from_slice(&Ipv4Addr::new(11, 0, 0, 2).to_ipv6_mapped().octets());
    Some(answer)
}

#[tokio::test]
async fn pcp_maps_a_port() {
    let ip = Ipv4Addr::new(127, 41, 7, 2);
    pmp_gateway(ip, pcp).await;
    let gateways = Gateways { pmp: Some(ip), upnp: nobody().await };
    let status = Mapping::make(&gateways, PORT).await.unwrap().status();
    assert_eq!(status.protocol, Some("PCP"));
    assert_eq!(status.external, Some((Some("11.0.0.2".parse().unwrap()), 60_002)));
}

#[tokio::test]
async fn when_no_gateway_answers_it_says_what_was_tried() {
    let gateways = Gateways { pmp: None, upnp: nobody().await };
    let error = Mapping::make(&gateways, PORT).await.err().unwrap();
    assert!(error.contains("NAT-PMP") && error.contains("UPnP"), "{error}");
}

/// A UPnP gateway: what it was asked for, and the error codes that it answers with first.
struct Upnp {
    calls: Mutex<Vec<String>>,
    errors: Mutex<Vec<u16>>,
}

const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// Starts it; returns how it is found.
async fn upnp_gateway(errors: &[u16]) -> (Arc<Upnp>, Search) {
    let upnp = Arc::new(Upnp { calls: Mutex::default(), errors: Mutex::new(errors.to_vec()) });
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/root.xml", http.local_addr().unwrap());
    let ssdp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let search = Search { to: Some(ssdp.local_addr().unwrap()), within: Duration::from_secs(5) };
    tokio::spawn(async move {
        let mut buffer = [0; 2000];
        while let Ok((_, from)) = ssdp.recv_from(&mut buffer).await {
            let answer = format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\nST: {SERVICE}\r\n\r\n");
            let _ = ssdp.send_to(answer.as_bytes(), from).await;
        }
    });
    let serving = Arc::clone(&upnp);
    tokio::spawn(async move {
        while let Ok((stream, _)) = http.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&serving)));
        }
    });
    (upnp, search)
}

async fn serve(mut stream: TcpStream, upnp: Arc<Upnp>) {
    let mut asked = Vec::new();
    let mut buffer = [0; 4096];
    let text = loop {
        let Ok(len @ 1..) = stream.read(&mut buffer).await else { return };
        asked.extend(&buffer[..len]);
        let text = String::from_utf8_lossy(&asked).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break text;
        }
    };
    let (status, body) = upnp.answer(&text);
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

impl Upnp {
    fn answer(&self, text: &str) -> (u16, String) {
        if text.starts_with("GET /root.xml") {
            let service = format!(
                "<service><serviceType>{SERVICE}</serviceType><SCPDURL>/scpd.xml</SCPDURL>\
                 <controlURL>/control</controlURL></service>"
            );
            let device = |inner: &str| format!("<device><deviceType>x</deviceType>{inner}</device>");
            let connection = device(&format!("<serviceList>{service}</serviceList>"));
            let wan = device(&format!("<deviceList>{connection}</deviceList>"));
            let root = device(&format!("<deviceList>{wan}</deviceList>"));
            return (200, format!("<?xml version=\"1.0\"?><root>{root}</root>"));
        }
        if text.starts_with("GET") {
            let action = |name: &str, arguments: &[&str]| {
                let list: String = arguments
                    .iter()
                    .map(|name| format!("<argument><name>{name}</name><direction>in</direction></argument>"))
                    .collect();
                format!("<action><name>{name}</name><argumentList>{list}</argumentList></action>")
            };
            let mapping = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
            let add = [
                "NewInternalPort",
                "NewInternalClient",
                "NewEnabled",
                "NewPortMappingDescription",
                "NewLeaseDuration",
            ];
            let add = action("AddPortMapping", &[&mapping[..], &add[..]].concat());
            let delete = action("DeletePortMapping", &mapping);
            let get = action("GetExternalIPAddress", &[]);
            return (200, format!("<scpd><actionList>{add}{delete}{get}</actionList></scpd>"));
        }
        self.control(text)
    }

    fn control(&self, text: &str) -> (u16, String) {
        let field = |name: &str| {
            let value = text.split_once(&format!("<{name}>"))?.1;
            Some(value.split_once('<')?.0.to_owned())
        };
        let envelope =
            |inner: String| format!("<s:Envelope xmlns:s=\"s\"><s:Body>{inner}</s:Body></s:Envelope>");
        if text.contains("GetExternalIPAddress") {
            let ip = "<NewExternalIPAddress>11.0.0.3</NewExternalIPAddress>";
            let inner = format!(
                "<u:GetExternalIPAddressResponse xmlns:u=\"u\">{ip}</u:GetExternalIPAddressResponse>"
            );
            return (200, envelope(inner));
        }
        let name = if text.contains("DeletePortMapping") { "DeletePortMapping" } else { "AddPortMapping" };
        let own = field("NewExternalPort") == Some(PORT.to_string());
        let port = if own { "ours" } else { "another" };
        let lease = field("NewLeaseDuration").unwrap_or_default();
        self.calls.lock().push(format!("{name} {port} {lease}").trim().to_owned());
        let mut errors = self.errors.lock();
        if name == "AddPortMapping" && !errors.is_empty() {
            let code = errors.remove(0);
            let error = format!(
                "<UPnPError><errorCode>{code}</errorCode><errorDescription>no</errorDescription></UPnPError>"
            );
            return (500, envelope(format!("<s:Fault><detail>{error}</detail></s:Fault>")));
        }
        (200, envelope(format!("<u:{name}Response xmlns:u=\"u\"></u:{name}Response>")))
    }
}

async fn mapped_by(errors: &[u16]) -> (Arc<Upnp>, Result<Mapping, String>) {
    let (upnp, search) = upnp_gateway(errors).await;
    let made = Mapping::make(&Gateways { pmp: None, upnp: search }, PORT).await;
    (upnp, made)
}

#[tokio::test]
async fn upnp_maps_a_port_for_an_hour_and_removes_it() {
    let (upnp, made) = mapped_by(&[]).await;
    let mut mapping = made.unwrap();
    let status = mapping.status();
    assert_eq!(status.external, Some((Some("11.0.0.3".parse().unwrap()), 4455)));
    assert_eq!(status.protocol, Some("UPnP"));
    mapping.renew().await.unwrap();
    mapping.remove().await;
    let expected = ["AddPortMapping ours 3600", "AddPortMapping ours 3600", "DeletePortMapping ours"];
    assert_eq!(*upnp.calls.lock(), expected);
}

#[tokio::test]
async fn a_gateway_that_knows_no_end_of_leases_is_asked_for_one_without() {
    let (upnp, made) = mapped_by(&[725]).await;
    made.unwrap();
    assert_eq!(*upnp.calls.lock(), ["AddPortMapping ours 3600", "AddPortMapping ours 0"]);
}

#[tokio::test]
async fn when_the_port_is_in_use_another_one_is_mapped() {
    let (upnp, made) = mapped_by(&[718]).await;
    assert_ne!(made.unwrap().external_port, PORT.get());
    assert_eq!(*upnp.calls.lock(), ["AddPortMapping ours 3600", "AddPortMapping another 3600"]);
}

#[tokio::test]
async fn a_gateway_that_refuses_is_quoted() {
    let (_, made) = mapped_by(&[606]).await;
    let error = made.err().unwrap();
    assert!(error.contains("UPnP") && error.contains("authorized"), "{error}");
}
