//! Trackers' URLs: parsed once, so that two spellings of one tracker are one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::TrackerError;

/// No tracker's URL is longer.
const MAX_URL_BYTES: usize = 1024;
/// A host name's limit.
const MAX_NAME_BYTES: usize = 253;

/// How a tracker is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// BEP 15.
    Udp,
    /// BEP 3.
    Http,
    /// BEP 3 inside TLS.
    Https,
}

impl Scheme {
    fn default_port(self) -> Option<u16> {
        match self {
            Self::Udp => None,
            Self::Http => Some(80),
            Self::Https => Some(443),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The machine that a tracker runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, to be resolved; in lower case.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Where a tracker is. Read from `udp://host:port`, `http://host[:port]/announce`,
/// `https://…`; a bare `host:port` means UDP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackerUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Its machine.
    pub host: Host,
    /// Its port, UDP or TCP.
    pub port: u16,
    /// Path and query; empty for a UDP tracker with nothing but the usual path.
    pub path: String,
}

impl TrackerUrl {
    /// Where announces go: the path with one more query.
    pub fn announce_target(&self, query: &str) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}{query}", self.path)
    }

    /// Where scrapes go: by convention the same path with `scrape` for `announce` in its last part.
    /// `None` when it has none: then the tracker does not offer it.
    pub fn scrape_target(&self, query: &str) -> Option<String> {
        let (path, rest) = self.path.split_at(self.path.find('?').unwrap_or(self.path.len()));
        let (parents, last) = path.rsplit_once('/')?;
        let last = last.strip_prefix("announce")?;
        let separator = if rest.is_empty() { '?' } else { '&' };
        Some(format!("{parents}/scrape{last}{rest}{separator}{query}"))
    }

    /// Host and port, as they stand in a `Host` header or are resolved.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme.as_str(), self.host, self.port, self.path)
    }
}

impl FromStr for TrackerUrl {
    type Err = TrackerError;

    fn from_str(text: &str) -> Result<Self, TrackerError> {
        parse(text.trim()).map_err(|why| {
            let url = text.chars().filter(|c| !c.is_control()).take(100).collect();
            TrackerError::Url { url, why }
        })
    }
}

fn parse(text: &str) -> Result<TrackerUrl, &'static str> {
    if text.len() > MAX_URL_BYTES {
        return Err("it is longer than 1,024 bytes");
    }
    // Also because it is put into the head of an HTTP request as it is.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it may have no spaces and nothing but ASCII (names of other letters as xn--…)");
    }
    let (scheme, rest) = match text.split_once("://") {
        None => (Scheme::Udp, text),
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "udp" => (Scheme::Udp, rest),
            "http" => (Scheme::Http, rest),
            "https" => (Scheme::Https, rest),
            _ => return Err("it must begin with udp://, http:// or https://"),
        },
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = split_port(authority)?;
    let port = port.or(scheme.default_port()).ok_or("it lacks a port")?;
    Ok(TrackerUrl { scheme, host: parse_host(host)?, port, path: clean_path(scheme, path) })
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    if authority.contains('@') {
        return Err("it may have no user and password");
    }
    let end_of_host = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.rfind(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end_of_host);
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(0) | None => Err("its port must be a number from 1 to 65535"),
        port => Ok((host, port)),
    }
}

fn parse_host(host: &str) -> Result<Host, &'static str> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("its address lacks a bracket")?;
        let ip: Ipv6Addr = inner.parse().map_err(|_| "what is in brackets is no IPv6 address")?;
        return Ok(Host::Ip(IpAddr::V6(ip).to_canonical()));
    }
    if let Ok(ip) = host.parse() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let is_name = !host.is_empty()
        && host.len() <= MAX_NAME_BYTES
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !is_name {
        return Err("its host is neither a name nor an address (IPv6 goes in brackets)");
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

fn clean_path(scheme: Scheme, path: &str) -> String {
    match (scheme, path) {
        (Scheme::Udp, "" | "/" | "/announce") => String::new(),
        (Scheme::Http | Scheme::Https, "" | "/") => "/announce".to_owned(),
        (_, path) if path.starts_with('?') => format!("/announce{path}"),
        (_, path) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<TrackerUrl>().unwrap().to_string()
    }

    #[test]
    fn spellings_of_one_tracker_are_one() {
        for spelling in
            ["udp://Tracker.Example:6969", "tracker.example:6969", "UDP://tracker.example:6969/announce"]
        {
            assert_eq!(shown(spelling), "udp://tracker.example:6969", "{spelling}");
        }
        for spelling in
            ["http://a.example", "http://a.example:80/", "http://a.example/announce#x", " http://a.example "]
        {
            assert_eq!(shown(spelling), "http://a.example:80/announce", "{spelling}");
        }
        assert_eq!(shown("https://a.example/x?key=1"), "https://a.example:443/x?key=1");
        assert_eq!(shown("[2001:DB8::1]:7"), "udp://[2001:db8::1]:7");
        assert_eq!(shown("http://[::ffff:1.2.3.4]"), "http://1.2.3.4:80/announce");
    }

    #[test]
    fn what_is_no_url_says_what_is_wrong() {
        let cases = [
            ("wss://a.example", "it must begin with udp://, http:// or https://"),
            ("udp://a.example", "it lacks a port"),
            ("a.example", "it lacks a port"),
            ("a.example:0", "its port must be a number from 1 to 65535"),
            ("a.example:70000", "its port must be a number from 1 to 65535"),
            ("a.example:+7", "its port must be a number from 1 to 65535"),
            ("http://me:secret@a.example", "it may have no user and password"),
            ("2001:db8::1:7", "its host is neither a name nor an address (IPv6 goes in brackets)"),
            ("[2001:db8::1:7", "its address lacks a bracket"),
            ("[x]:7", "what is in brackets is no IPv6 address"),
            ("", "it lacks a port"),
            ("http://", "its host is neither a name nor an address (IPv6 goes in brackets)"),
            (
                "http://a.example/ HTTP/1.1\r\nX: y",
                "it may have no spaces and nothing but ASCII (names of other letters as xn--…)",
            ),
        ];
        for (text, expected) in cases {
            let Err(TrackerError::Url { why, .. }) = text.parse::<TrackerUrl>() else { panic!("{text}") };
            assert_eq!(why, expected, "{text}");
        }
    }

    #[test]
    fn a_scrape_goes_where_the_announce_would_with_one_word_changed() {
        let scrape = |url: &str| url.parse::<TrackerUrl>().unwrap().scrape_target("q=1");
        assert_eq!(scrape("http://a.example").as_deref(), Some("/scrape?q=1"));
        assert_eq!(scrape("http://a.example/x/announce.php").as_deref(), Some("/x/scrape.php?q=1"));
        assert_eq!(
            scrape("http://a.example/announce?k=/announce").as_deref(),
            Some("/scrape?k=/announce&q=1")
        );
        assert_eq!(scrape("http://a.example/a"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_what_is_shown_is_read_back(
            text in "(udp|http|https)?(://)?[]\\[a-z0-9:./?é@]{0,30}",
        ) {
            if let Ok(url) = text.parse::<TrackerUrl>() {
                prop_assert_eq!(url.to_string().parse::<TrackerUrl>().unwrap(), url);
            }
        }
    }
}
