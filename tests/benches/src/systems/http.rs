//! As much of HTTP as it takes to ask a daemon on its own machine.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::Outcome;
use crate::node::Node;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// A question: what is done to which path, with which other headers and body.
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Each with its line's end.
    pub(super) headers: &'a str,
    pub(super) body: &'a str,
}

/// Asks a port on the machine's loopback, and gives the JSON that comes back.
pub(super) fn ask_port(node: &Node, port: u16, question: &Question) -> Outcome<Value> {
    let stream = node.inside(|| TcpStream::connect(("127.0.0.1", port)))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(stream, question)
}

/// The same by a Unix socket.
pub(super) fn ask_socket(socket: &Path, question: &Question) -> Outcome<Value> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(stream, question)
}

fn ask(mut stream: impl Read + Write, question: &Question) -> Outcome<Value> {
    let Question { method, path, headers, body } = question;
    // 1.0, so that the answer is in one piece and ends with the connection.
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    parse(&answer).map_err(|why| format!("{method} {path}: {why}").into())
}

fn parse(answer: &str) -> Result<Value, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer was cut")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(format!("{} {}", head.lines().next().unwrap_or_default(), body.trim()));
    }
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(body).map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_json_or_says_why_not() {
        let good = parse("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"a\": 1}");
        assert_eq!(good.as_ref().map(|value| &value["a"]), Ok(&Value::from(1)));
        assert_eq!(parse("HTTP/1.0 204 No Content\r\n\r\n"), Ok(Value::Null));
        let bad = parse("HTTP/1.0 403 Forbidden\r\n\r\nNot Authorized\n");
        assert_eq!(bad, Err("HTTP/1.0 403 Forbidden Not Authorized".to_owned()));
        assert!(parse("HTTP/1.0 200 OK\r\n").is_err());
    }
}
