//! From a request to its answer.
//!
//! The address is that of the connection: neither `ip=` nor `X-Forwarded-For` is believed, or anyone
//! could enlist anyone. A refusal is an answer of BEP 3 with the status 200, since clients show its
//! reason only then.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::page;
use crate::random;
use crate::tracker::counters::Count;
use crate::tracker::desk::{Desk, MAX_WANT, USUAL_WANT};
use crate::tracker::source::Source;
use crate::tracker::swarms::{Dice, Named, Wanted};
use crate::tracker::wire::http::{
    AnnounceAnswer, encode_failure, encode_scrape_answer, parse_announce, scrape_hashes,
};

/// Swarms of one scrape; more do not fit into the head of a request anyway.
const MAX_SCRAPE_HASHES: usize = 100;
/// What programs read.
const PLAIN: &str = "text/plain; charset=utf-8";

/// What is sent back.
type Answer = Response<Full<Bytes>>;

/// Answers a request from there. Its body, if it has one, is not read.
pub(super) fn answer<B>(desk: &Desk, from: IpAddr, request: &Request<B>) -> Answer {
    if !desk.pace.is_granted(Source::of(from), desk.now().micros()) {
        desk.counters.add_one(Count::HttpLimited);
        return plain(StatusCode::TOO_MANY_REQUESTS, "too many requests from your address\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "a tracker answers GET\n");
    }
    let query = request.uri().query().unwrap_or_default().as_bytes();
    match request.uri().path() {
        "/announce" => announce(desk, from, query),
        "/scrape" => scrape(desk, query),
        "/" => {
            let mut answer = document(StatusCode::OK, "text/html; charset=utf-8", page::status(desk).into());
            let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
            answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            answer
        }
        "/metrics" => document(StatusCode::OK, "text/plain; version=0.0.4", page::metrics(desk).into()),
        _ => plain(StatusCode::NOT_FOUND, "a tracker has /announce, /scrape, / and /metrics\n"),
    }
}

fn announce(desk: &Desk, from: IpAddr, query: &[u8]) -> Answer {
    let announce = match parse_announce(query) {
        Ok(announce) => announce,
        Err(error) => return failure(desk, &error.to_string()),
    };
    let want = announce.want.map_or(USUAL_WANT, |want| want as usize).min(MAX_WANT);
    let (wanted, mut named) = (Wanted { v4: want, v6: want }, Named::default());
    let mut dice = Dice::new(random::bytes());
    match desk.swarms.announce(desk.now().tick(), from, &announce, wanted, &mut dice, &mut named) {
        Err(refusal) => failure(desk, &refusal.to_string()),
        Ok(totals) => {
            desk.counters.add_one(Count::HttpAnnounces);
            let (interval, min_interval) = (desk.draw_interval(&mut dice), desk.min_interval());
            let mut body = Vec::with_capacity(200 + named.v4.len() + named.v6.len());
            let (peers, peers6) = (&named.v4[..], &named.v6[..]);
            AnnounceAnswer { interval, min_interval, totals, peers, peers6 }.encode(&mut body);
            bencoded(body)
        }
    }
}

fn scrape(desk: &Desk, query: &[u8]) -> Answer {
    let mut hashes = match scrape_hashes(query).take(MAX_SCRAPE_HASHES).collect::<Result<Vec<_>, _>>() {
        // All swarms at once would be a large answer, and would name folders to those who know none.
        Ok(hashes) if hashes.is_empty() => return failure(desk, "info_hash is missing"),
        Ok(hashes) => hashes,
        Err(error) => return failure(desk, &error.to_string()),
    };
    hashes.sort_unstable();
    hashes.dedup();
    desk.counters.add_one(Count::HttpScrapes);
    let mut body = Vec::new();
    encode_scrape_answer(&mut body, hashes.into_iter().map(|hash| (hash, desk.swarms.scrape(&hash))));
    bencoded(body)
}

fn failure(desk: &Desk, reason: &str) -> Answer {
    desk.counters.add_one(Count::HttpErrors);
    let mut body = Vec::new();
    encode_failure(&mut body, reason);
    bencoded(body)
}

fn bencoded(body: Vec<u8>) -> Answer {
    document(StatusCode::OK, PLAIN, body.into())
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    document(status, PLAIN, Bytes::from_static(text.as_bytes()))
}

fn document(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
