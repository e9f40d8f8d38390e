use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::tests::fake::{FakeHttp, ok};
use super::*;

async fn get(url: &str) -> Result<Fetched, TrackerError> {
    get_with(&Http::new(), url).await
}

async fn get_with(http: &Http, url: &str) -> Result<Fetched, TrackerError> {
    let url: TrackerUrl = url.parse().unwrap();
    http.get(&url, url.path.clone(), (&Names::default(), Family::V4), 0).await
}

fn redirect(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn an_answer_of_256_kib_is_read_and_a_longer_one_is_not() {
    let body = |len: usize| ok(&vec![b'x'; len]);
    let server = FakeHttp::new([body(MAX_ANSWER_BYTES), body(MAX_ANSWER_BYTES + 1)]).await;
    let fetched = get(&server.url()).await.unwrap();
    assert_eq!((fetched.body.len(), fetched.status, fetched.from), (MAX_ANSWER_BYTES, 200, server.address));
    let error = get(&server.url()).await.unwrap_err().to_string();
    assert!(error.contains("length limit exceeded"), "{error}");
}

#[tokio::test]
async fn answers_without_a_length_are_bounded_too() {
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
    let chunked = |chunks: usize| {
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(chunks))
    };
    let until_end = format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(MAX_ANSWER_BYTES + 1));
    let short_until_end = "HTTP/1.0 200 OK\r\n\r\nxyz".to_owned();
    let endless_head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(4 * MAX_HEAD_BYTES));
    let answers = [chunked(2), chunked(3), until_end, short_until_end, endless_head];
    let server = FakeHttp::new(answers.map(String::into_bytes)).await;
    let mut lens = Vec::new();
    for _ in 0..5 {
        lens.push(get(&server.url()).await.ok().map(|fetched| fetched.body.len()));
    }
    assert_eq!(lens, [Some(200_000), None, None, Some(3), None]);
}

#[tokio::test]
async fn a_request_has_what_servers_compare() {
    let server = FakeHttp::new([ok(b"")]).await;
    get(&server.url()).await.unwrap();
    let asked = server.asked().remove(0).to_ascii_lowercase();
    assert!(asked.starts_with("get /announce http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\nhost: {}\r\n", server.address)), "{asked}");
    assert!(asked.contains("\r\nuser-agent: syncd/"), "{asked}");
    let host = |url: &str| host_header(&url.parse().unwrap());
    assert_eq!(host("http://a.example"), "a.example");
    assert_eq!(host("https://a.example:80"), "a.example:80");
}

#[tokio::test]
async fn three_redirects_are_followed_and_the_fourth_is_not() {
    let there = FakeHttp::new([ok(b"there")]).await;
    let location = format!("http://{}/x?y=1", there.address);
    let here = FakeHttp::new([redirect("/b"), redirect("/c"), redirect(&location)]).await;
    let fetched = get(&here.url()).await.unwrap();
    assert_eq!((&fetched.body[..], fetched.from), (&b"there"[..], there.address));
    assert!(there.asked()[0].starts_with("GET /x?y=1 HTTP/1.1"));

    let circle = FakeHttp::new([redirect("/again")]).await;
    let error = get(&circle.url()).await.unwrap_err().to_string();
    assert!(error.contains("more than three times"), "{error}");
    assert_eq!(circle.asked().len(), 4);
}

#[tokio::test]
async fn no_redirect_leads_to_another_protocol() {
    for (location, why) in [
        ("https://127.0.0.1/announce", "over another protocol"),
        ("udp://127.0.0.1:1", "over another protocol"),
        ("file:///etc/passwd", "to what is no URL"),
        ("//a.example/announce", "without saying where to"),
        ("", "without saying where to"),
    ] {
        let server = FakeHttp::new([redirect(location)]).await;
        let error = get(&server.url()).await.unwrap_err().to_string();
        assert!(error.contains(why), "{location:?}: {error}");
    }
}

#[test]
fn nothing_on_the_internet_leads_us_into_a_private_network() {
    let public = ["192.88.99.1", "2001:db8::1", "100.128.0.1", "172.32.0.1"];
    let private = [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
    ];
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for from in public {
        assert!(public.iter().all(|to| may_lead(ip(from), ip(to))), "{from}");
        assert!(private.iter().all(|to| !may_lead(ip(from), ip(to))), "{from}");
    }
    assert!(private.iter().all(|to| may_lead(ip("10.1.1.1"), ip(to))));
}

/// A server with a certificate that nobody else vouches for, and that certificate.
async fn https_server() -> (SocketAddr, RootCertStore) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(&ok(b"secret")).await.unwrap();
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    (address, roots)
}

#[tokio::test]
async fn https_asks_only_a_server_that_can_prove_its_name() {
    let (address, roots) = https_server().await;
    let port = address.port();
    let trusting = Http::trusting(roots);
    let fetched = get_with(&trusting, &format!("https://localhost:{port}")).await.unwrap();
    assert_eq!(&fetched.body[..], b"secret");

    let other_name = get_with(&trusting, &format!("https://127.0.0.1:{port}")).await.unwrap_err();
    let stranger = get(&format!("https://localhost:{port}")).await.unwrap_err();
    for error in [other_name.to_string(), stranger.to_string()] {
        assert!(error.contains("invalid peer certificate"), "{error}");
    }
}
