//! The API on TCP as an attacker meets it.

use std::net::SocketAddr;

use syncd::api::guard::{Guard, token_of};
use syncd::api::routes::{router, table};
use syncd::api::serve::{bind_tcp, serve_tcp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::{Fake, PHOTOS, Stage, api};

struct Tcp {
    address: SocketAddr,
    token: String,
    stage: Stage,
}

async fn start() -> Tcp {
    let stage = Stage::start();
    let token = token_of(&stage.home).unwrap();
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, guard) = (router(api(&stage.fake)), Guard::new(&token, address));
    tokio::spawn(serve_tcp(listener, router, guard, stage.serving.subscribe()));
    Tcp { address, token, stage }
}

impl Tcp {
    /// Sends a request and returns the whole answer; `headers` stand beside Host and token.
    async fn ask(&self, line: &str, headers: &[String], body: &[u8]) -> String {
        let length = body.len();
        let mut text = format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n");
        headers.iter().for_each(|header| text.push_str(&format!("{header}\r\n")));
        text.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let _ = stream.write_all(body).await; // may be refused before it is read
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    fn host(&self) -> String {
        format!("Host: {}", self.address)
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn without_the_token_every_route_and_method_is_refused() {
    let tcp = start().await;
    let paths = table::<Fake>().into_iter().map(|(path, _)| path.replace("{folder}", PHOTOS));
    let paths: Vec<String> = paths.chain(["/".to_owned(), "/metrics".to_owned()]).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
            let answer = tcp.ask(&format!("{method} {path}"), &[tcp.host()], b"{}").await;
            assert_eq!(status(&answer), "401", "{method} {path}");
            assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
        }
    }
    assert!(tcp.stage.fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn with_the_token_the_documents_of_the_socket_come() {
    let tcp = start().await;
    let answer = tcp.ask("GET /v1/status", &[tcp.host(), tcp.bearer()], b"").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("\"folders\":[{"), "{answer}");
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    let json = "Content-Type: application/json".to_owned();
    let body = br#"{"timeout": 1, "peers": 3}"#;
    let line = "POST /v1/folders/photos/wait";
    let answer = tcp.ask(line, &[tcp.host(), tcp.bearer(), json], body).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert_eq!(*tcp.stage.fake.asked.lock().unwrap(), [format!("wait {PHOTOS} Some(1s) 3")]);
}

#[tokio::test]
async fn a_page_from_elsewhere_is_refused_even_with_the_token() {
    let tcp = start().await;
    let port = tcp.address.port();
    let attacks = [
        vec!["Host: attacker.example".to_owned()],
        vec![format!("Host: attacker.example:{port}")],
        vec!["Host: 127.0.0.1:1".to_owned()],
        vec![],
        vec![tcp.host(), "Origin: http://attacker.example".to_owned()],
        vec![tcp.host(), "Origin: null".to_owned()],
        vec![tcp.host(), "Sec-Fetch-Site: cross-site".to_owned()],
    ];
    for mut headers in attacks {
        headers.push(tcp.bearer());
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = tcp.ask(&format!("{method} /v1/status"), &headers, b"{}").await;
            assert_eq!(status(&answer), "403", "{method} {headers:?}");
            assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
        }
    }
}

#[tokio::test]
async fn what_is_no_small_json_is_refused_with_a_document() {
    let tcp = start().await;
    let with = |kind: &str| vec![tcp.host(), tcp.bearer(), format!("Content-Type: {kind}")];
    let form = tcp.ask("POST /v1/folders", &with("text/plain"), br#"{"dir":"/tmp"}"#).await;
    assert_eq!(status(&form), "400");
    let unknown = tcp.ask("POST /v1/folders", &with("application/json"), br#"{"dir":"/tmp","x":1}"#).await;
    assert_eq!(status(&unknown), "400");
    let relative = tcp.ask("POST /v1/folders", &with("application/json"), br#"{"dir":"tmp"}"#).await;
    assert!(relative.contains("RELATIVE_PATH"), "{relative}");
    let huge = vec![b' '; 100 << 10];
    let huge = tcp.ask("POST /v1/folders", &with("application/json"), &huge).await;
    assert_eq!(status(&huge), "413", "{huge}");
    let endless =
        tcp.ask("POST /v1/folders/photos/wait", &with("application/json"), br#"{"timeout":1e300}"#).await;
    assert!(endless.contains("BAD_TIMEOUT"), "{endless}");
    let lost = tcp.ask("GET /v1/nothing", &with("application/json"), b"").await;
    assert!(status(&lost) == "404" && lost.contains("NO_SUCH_CALL"), "{lost}");
    let method = tcp.ask("PATCH /v1/status", &with("application/json"), b"").await;
    assert!(status(&method) == "405" && method.contains("NO_SUCH_CALL"), "{method}");
    assert!(tcp.stage.fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn endless_headers_and_silent_strangers_do_not_shut_anyone_out() {
    let tcp = start().await;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(TcpStream::connect(tcp.address).await.unwrap());
    }
    let many: Vec<String> = (0..10_000).map(|number| format!("X-{number}: y")).collect();
    let answer = tcp.ask("GET /v1/status", &many, b"").await;
    assert!(matches!(status(&answer), "431" | "none"), "{answer}");
    let answer = tcp.ask("GET /v1/status", &[tcp.host(), tcp.bearer()], b"").await;
    assert_eq!(status(&answer), "200");
}

#[tokio::test]
async fn the_api_is_bound_to_loopback_only() {
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        assert_eq!(bind_tcp(address.parse().unwrap()).await.unwrap_err().code, "NOT_LOOPBACK");
    }
}
