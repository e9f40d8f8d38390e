//! One question to one tracker, over whatever its URL says.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keystore::DiscoveryId;

use super::book::Job;
use super::http::{Fetched, Http};
use super::names::Names;
use super::random::Random;
use super::swarm::Step;
use super::udp::Udp;
use super::url::{Scheme, TrackerUrl};
use super::{Family, Scrape, TrackerError};
use crate::tracker::wire::http::{
    AnswerError, announce_query, parse_announce_answer, parse_scrape_answer, scrape_query,
};
use crate::tracker::wire::udp::{self, announce_request, scrape_request, url_option};
use crate::tracker::wire::{Announce, Event, peers_v4, peers_v6};

/// Addresses that we want of one answer.
const WANTED: u32 = 50;
/// Addresses that are taken from one answer at most, whatever was wanted.
const MAX_TAKEN: usize = 200;

/// What a tracker has answered to an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The tracker's address.
    pub(super) from: IpAddr,
    pub(super) interval: Option<Duration>,
    pub(super) min_interval: Option<Duration>,
    /// Where it sees us.
    pub(super) external_ip: Option<IpAddr>,
    /// How many there are, as the tracker counts.
    pub(super) total: u32,
    /// The others, and perhaps ourselves.
    pub(super) peers: Vec<SocketAddr>,
}

impl From<IpAddr> for Answer {
    /// An answer that says nothing.
    fn from(from: IpAddr) -> Self {
        Self { from, interval: None, min_interval: None, external_ip: None, total: 0, peers: Vec::new() }
    }
}

#[derive(Debug)]
pub(super) struct Asker {
    random: Arc<Random>,
    udp: Udp,
    http: Http,
    names: Names,
}

impl Asker {
    pub(super) fn new(random: Random) -> Self {
        let random = Arc::new(random);
        Self { udp: Udp::new(Arc::clone(&random)), http: Http::new(), names: Names::default(), random }
    }

    pub(super) fn random(&self) -> &Random {
        &self.random
    }

    /// Forgets what belongs to the network that we were in.
    pub(super) fn handle_network_change(&self) {
        self.udp.forget_connections();
        self.names.forget();
    }

    /// Makes the request of a job.
    pub(super) async fn ask(&self, job: &Job) -> Result<Answer, TrackerError> {
        let (url, family) = &job.line;
        let turn = usize::try_from(job.failures).unwrap_or_default();
        let (event, port) = match job.step {
            Step::Announce { event, port } => (event, port),
            Step::Count => {
                let Scrape { address, totals } = self.scrape(url, *family, turn, job.discovery).await?;
                let total = totals.seeders.saturating_add(totals.leechers);
                return Ok(Answer { total, ..Answer::from(address.ip()) });
            }
        };
        let announce = self.announce(&job.discovery, event, port);
        let answer = match url.scheme {
            Scheme::Udp => self.announce_udp(url, *family, turn, &announce).await,
            Scheme::Http | Scheme::Https => self.announce_http(url, *family, turn, &announce).await,
        }?;
        Ok(Answer { peers: answer.peers.iter().map(canonical).collect(), ..answer })
    }

    fn announce(&self, discovery: &DiscoveryId, event: Event, port: u16) -> Announce {
        let (peer_id, key) = self.random.identity(discovery);
        Announce {
            info_hash: discovery.0,
            peer_id,
            downloaded: 0,
            // Some trackers do not tell those who have everything of each other.
            left: 1,
            uploaded: 0,
            event,
            key,
            want: Some(if event == Event::Stopped { 0 } else { WANTED }),
            port,
        }
    }

    async fn announce_udp(
        &self,
        url: &TrackerUrl,
        family: Family,
        turn: usize,
        announce: &Announce,
    ) -> Result<Answer, TrackerError> {
        let addresses = self.names.resolve(url, family).await?;
        let to = addresses[turn % addresses.len()];
        let options = if url.path.is_empty() { Vec::new() } else { url_option(&url.path) };
        let request = |connection, transaction| {
            let mut datagram = announce_request(connection, transaction, announce).to_vec();
            datagram.extend_from_slice(&options);
            datagram
        };
        let bytes = self.udp.ask(to, request).await?;
        let announced = match read_udp(&bytes, to, DiscoveryId(announce.info_hash))? {
            udp::Answer::Announce { announced, .. } => announced,
            _ => return Err(unexpected(to)),
        };
        let peers = match family {
            Family::V4 => peers_v4(announced.peers).take(MAX_TAKEN).collect(),
            Family::V6 => peers_v6(announced.peers).take(MAX_TAKEN).collect(),
        };
        let interval = Some(Duration::from_secs(announced.interval.into()));
        let total = announced.seeders.saturating_add(announced.leechers);
        Ok(Answer { interval, total, peers, ..Answer::from(to.ip()) })
    }

    async fn announce_http(
        &self,
        url: &TrackerUrl,
        family: Family,
        turn: usize,
        announce: &Announce,
    ) -> Result<Answer, TrackerError> {
        let target = url.announce_target(&announce_query(announce));
        let fetched = self.http.get(url, target, (&self.names, family), turn).await?;
        let read = parse_announce_answer(&fetched.body, MAX_TAKEN);
        let read = read_http(read, &fetched, DiscoveryId(announce.info_hash))?;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Ok(Answer {
            from: fetched.from.ip(),
            interval: read.interval.map(seconds),
            min_interval: read.min_interval.map(seconds),
            external_ip: read.external_ip,
            total: read.seeders.unwrap_or_default().saturating_add(read.leechers.unwrap_or_default()),
            peers: read.peers,
        })
    }

    /// Asks how many there are of a folder.
    pub(super) async fn scrape(
        &self,
        url: &TrackerUrl,
        family: Family,
        turn: usize,
        discovery: DiscoveryId,
    ) -> Result<Scrape, TrackerError> {
        let hashes = [discovery.0];
        if url.scheme != Scheme::Udp {
            let target = url.scrape_target(&scrape_query(&hashes)).ok_or(TrackerError::NoScrape)?;
            let fetched = self.http.get(url, target, (&self.names, family), turn).await?;
            let read = parse_scrape_answer(&fetched.body, &discovery.0);
            let totals = read_http(read, &fetched, discovery)?.unwrap_or_default();
            return Ok(Scrape { address: fetched.from, totals });
        }
        let addresses = self.names.resolve(url, family).await?;
        let to = addresses[turn % addresses.len()];
        let request = |connection, transaction| scrape_request(connection, transaction, &hashes);
        let bytes = self.udp.ask(to, request).await?;
        match read_udp(&bytes, to, discovery)? {
            udp::Answer::Scrape { totals: [first, ..], .. } => {
                Ok(Scrape { address: to, totals: udp::totals(first) })
            }
            _ => Err(unexpected(to)),
        }
    }
}

fn read_udp(bytes: &[u8], from: SocketAddr, discovery: DiscoveryId) -> Result<udp::Answer<'_>, TrackerError> {
    match udp::Answer::parse(bytes) {
        Some(udp::Answer::Short { .. }) => Err(TrackerError::NotListed(discovery)),
        Some(udp::Answer::Error { message, .. }) => Err(TrackerError::refused(message, discovery)),
        Some(answer) => Ok(answer),
        None => Err(unexpected(from)),
    }
}

fn unexpected(address: SocketAddr) -> TrackerError {
    TrackerError::Malformed { address, why: "it answered another question".to_owned() }
}

/// A refusal may come with any status; without one, the status says what is wrong.
fn read_http<T>(
    read: Result<T, AnswerError>,
    fetched: &Fetched,
    discovery: DiscoveryId,
) -> Result<T, TrackerError> {
    let &Fetched { from: address, status, .. } = fetched;
    match read {
        Err(AnswerError::Refused(reason)) => Err(TrackerError::refused(reason.as_bytes(), discovery)),
        _ if status != 200 => Err(TrackerError::Status { address, status }),
        Err(AnswerError::Bencode(cause)) => Err(TrackerError::bencode(address, cause)),
        Ok(read) => Ok(read),
    }
}

/// IPv4 inside IPv6 is IPv4.
fn canonical(address: &SocketAddr) -> SocketAddr {
    SocketAddr::from((address.ip().to_canonical(), address.port()))
}
