//! Talks to the daemon: HTTP over the socket in its home, one connection a call.

use std::io;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::error::{ApiError, Class, ErrorDocument};
use crate::api::resolve::resolve;
use crate::api::socket;
use crate::api::types::FolderListRow;
use crate::home::Home;

/// The longest answer: an archive of some 100,000 files.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A way to the daemon of one home.
#[derive(Debug, Clone)]
pub struct Client {
    home: Home,
}

impl Client {
    /// Does not connect yet.
    pub fn new(home: Home) -> Self {
        Self { home }
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// What the daemon said, or `NO_DAEMON`.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(Method::GET, path, &()).await
    }

    /// Sends a document and reads the answer.
    ///
    /// # Errors
    /// What the daemon said, or `NO_DAEMON`.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        let body = if method == Method::POST || method == Method::PUT {
            serde_json::to_vec(body).map_err(|cause| broken(&cause))?
        } else {
            Vec::new()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|cause| broken(&cause))?;
        let socket = self.home.socket();
        let stream = socket::connect(&socket).await.map_err(|cause| no_answer(&socket, &cause))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|cause| gone(&cause))?;
        // The connection moves its bytes only while it is polled; it ends before a long answer does
        // only if the daemon goes.
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|cause| gone(&cause))?;
        let parsed = parse(answer).await;
        driver.abort();
        parsed
    }

    /// The folder that a person means by `text`.
    ///
    /// # Errors
    /// When there is none or more than one, or `NO_DAEMON`.
    pub async fn folder(&self, text: &str) -> Result<FolderListRow, ApiError> {
        let rows: Vec<FolderListRow> = self.read("/v1/folders").await?;
        let path = std::fs::canonicalize(text).or_else(|_| std::path::absolute(text)).ok();
        resolve(&rows, text, path.as_deref().and_then(Path::to_str)).cloned()
    }
}

async fn parse<T: DeserializeOwned>(answer: Response<hyper::body::Incoming>) -> Result<T, ApiError> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES);
    let bytes = body.collect().await.map_err(|cause| gone(&cause))?.to_bytes();
    if status == StatusCode::OK {
        return serde_json::from_slice(&bytes).map_err(|cause| broken(&cause));
    }
    match serde_json::from_slice::<ErrorDocument>(&bytes) {
        Ok(document) => Err(document.error.into_error(status)),
        Err(cause) => Err(broken(&cause)),
    }
}

/// Percent-encodes what stands in a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn no_answer(socket: &Path, cause: &io::Error) -> ApiError {
    let home = socket.parent().unwrap_or(socket).display();
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ApiError::new(Class::NoDaemon, "NO_DAEMON", format!("no daemon runs in {home}"))
                .next("start it with `syncd up`, or name its home with --home")
        }
        _ => {
            let message = format!("the daemon in {home} cannot be asked: {cause}");
            ApiError::new(Class::Failed, "NO_ANSWER", message)
                .next("is it another user's? Name yours with --home")
        }
    }
}

fn gone(cause: &(dyn std::fmt::Display + '_)) -> ApiError {
    let message = format!("the daemon stopped before it had answered ({cause})");
    ApiError::new(Class::NoDaemon, "DAEMON_GONE", message)
        .next("start it with `syncd up`; its log is in its home")
}

fn broken(cause: &(dyn std::fmt::Display + '_)) -> ApiError {
    ApiError::new(Class::Failed, "BROKEN_ANSWER", format!("the daemon's answer makes no sense: {cause}"))
        .next("is the daemon of another version? Restart it: `syncd down`, then `syncd up`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_percent_encoded() {
        assert_eq!(encode("a b&ü/~"), "a%20b%26%C3%BC%2F~");
    }
}
