//! Who may talk to the API on TCP: whoever shows the token, from a page of our own or from no page.
//!
//! Every local user and every web page in a browser can reach a loopback port. A page betrays itself by
//! `Host` (rebinding), `Origin` or `Sec-Fetch-Site`; a user without the token is stopped by its lack.
//! There are no cookies and no CORS headers, so a browser has nothing to lend to a foreign page.
//! The Unix socket needs none of this: its mode is its guard.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Class};
use crate::home::{Home, HomeError, read_private, write_atomic};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request must show.
#[derive(Clone)]
pub struct Guard {
    /// Hashes compare in constant time, and the token itself need not be kept.
    token: blake3::Hash,
    hosts: Arc<[String]>,
}

impl Guard {
    /// A guard for the listener that is bound to `address`.
    pub fn new(token: &str, address: SocketAddr) -> Self {
        let port = address.port();
        let hosts = [address.to_string(), format!("localhost:{port}")];
        Self { token: blake3::hash(token.as_bytes()), hosts: hosts.into() }
    }

    /// Judges the headers of a request.
    ///
    /// # Errors
    /// `FORBIDDEN` for a foreign host or page, `UNAUTHORIZED` for a missing or wrong token.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let forbidden = |what| ApiError::new(Class::Forbidden, "FORBIDDEN", what);
        let host = only(headers, &header::HOST);
        if !host.is_some_and(|host| self.is_our_host(host)) {
            return Err(forbidden("this API answers to its own address only"));
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = only(headers, &header::ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
            if !origin.is_some_and(|origin| self.is_our_host(origin)) {
                return Err(forbidden("requests from other pages are not answered"));
            }
        }
        if headers.contains_key(FETCH_SITE)
            && !matches!(only(headers, &FETCH_SITE), Some("same-origin" | "none"))
        {
            return Err(forbidden("requests from other pages are not answered"));
        }
        let shown = only(headers, &header::AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
        match shown.map(|token| blake3::hash(token.as_bytes())) {
            Some(hash) if hash == self.token => Ok(()), // blake3 compares in constant time
            _ => Err(ApiError::new(Class::Unauthorized, "UNAUTHORIZED", "the token is missing or wrong")
                .next("send the header `Authorization: Bearer TOKEN`; the token is in the home's api-token")),
        }
    }

    fn is_our_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
    }
}

/// The header's value if it is there exactly once, as text.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.to_str().ok())?
}

/// Lets a request through, or answers it; outermost, so that also unknown paths need the token.
pub async fn stand_guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let mut answer = error.into_response();
            // What of the body has not been read stays unread.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            answer
        }
    }
}

/// The token of a home; made at the first call, 0600.
///
/// # Errors
/// When the file is open to others, or cannot be written.
pub fn token_of(home: &Home) -> Result<String, HomeError> {
    let path = home.api_token();
    let known = read_private(&path)?.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(token) = known.map(|text| text.trim().to_owned()).filter(|token| token.len() >= 32) {
        return Ok(token);
    }
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|cause| HomeError::File {
        path: path.clone(),
        cause: std::io::Error::other(cause.to_string()),
    })?;
    let token = blake3::Hash::from_bytes(random).to_hex().to_string();
    write_atomic(&path, format!("{token}\n").as_bytes())?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Header = (&'static str, &'static str);

    fn check(headers: &[Header]) -> Option<String> {
        let guard = Guard::new("secret", "127.0.0.1:4456".parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        guard.check(&map).err().map(|error| error.code)
    }

    #[test]
    fn only_the_token_at_our_own_address_is_let_in() {
        const TOKEN: Header = ("authorization", "Bearer secret");
        const HOST: Header = ("host", "127.0.0.1:4456");
        let forbidden = Some("FORBIDDEN".to_owned());
        let unauthorized = Some("UNAUTHORIZED".to_owned());
        let cases: &[(&[Header], &Option<String>)] = &[
            (&[HOST, TOKEN], &None),
            (&[("host", "localhost:4456"), TOKEN], &None),
            (&[HOST, TOKEN, ("origin", "http://127.0.0.1:4456"), ("sec-fetch-site", "same-origin")], &None),
            (&[HOST], &unauthorized),
            (&[HOST, ("authorization", "Bearer secre")], &unauthorized),
            (&[HOST, ("authorization", "Basic secret")], &unauthorized),
            (&[HOST, TOKEN, TOKEN], &unauthorized),
            (&[TOKEN], &forbidden),
            (&[("host", "evil.example"), TOKEN], &forbidden),
            (&[("host", "127.0.0.1:80"), TOKEN], &forbidden),
            (&[("host", "127.0.0.1"), TOKEN], &forbidden),
            (&[HOST, HOST, TOKEN], &forbidden),
            (&[HOST, TOKEN, ("origin", "http://evil.example")], &forbidden),
            (&[HOST, TOKEN, ("origin", "https://127.0.0.1:4456")], &forbidden),
            (&[HOST, TOKEN, ("origin", "null")], &forbidden),
            (&[HOST, TOKEN, ("sec-fetch-site", "cross-site")], &forbidden),
        ];
        for (headers, expected) in cases {
            assert_eq!(check(headers), **expected, "{headers:?}");
        }
    }

    #[test]
    fn the_token_is_made_once() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(place.path().to_owned()).unwrap();
        let token = token_of(&home).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(token_of(&home).unwrap(), token);
    }
}
