//! From a tracker's host to addresses. Names are resolved anew every minute, so that a tracker that
//! moves is found; what is remembered in between saves a thousand folders a thousand questions.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::url::{Host, TrackerUrl};
use super::{Family, TrackerError};

const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
const REMEMBER: Duration = Duration::from_secs(60);
/// As many addresses of one name are tried, one at each attempt.
const MAX_ADDRESSES: usize = 16;

/// What was resolved of a name, and when.
type Resolved = (Instant, Vec<SocketAddr>);

#[derive(Debug, Default)]
pub(super) struct Names {
    known: Mutex<HashMap<String, Resolved>>,
}

impl Names {
    /// All addresses of a tracker of one family; at least one.
    pub(super) async fn resolve(
        &self,
        url: &TrackerUrl,
        family: Family,
    ) -> Result<Vec<SocketAddr>, TrackerError> {
        let name = match &url.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::from((*ip, url.port))]),
            Host::Name(name) => name,
        };
        let all = match self.known(name) {
            Some(addresses) => addresses,
            None => self.look_up(name).await?,
        };
        let of_family = all.into_iter().filter(|address| Family::of(address.ip()) == family);
        let addresses: Vec<_> = of_family.map(|address| SocketAddr::from((address.ip(), url.port))).collect();
        match addresses.is_empty() {
            true => Err(TrackerError::NoAddress { host: name.clone(), family }),
            false => Ok(addresses),
        }
    }

    /// Forgets what was resolved: we may be in another network, with another answer.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }

    fn known(&self, name: &str) -> Option<Vec<SocketAddr>> {
        let known = self.known.lock();
        let (at, addresses) = known.get(name)?;
        (at.elapsed() < REMEMBER).then(|| addresses.clone())
    }

    async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, TrackerError> {
        let failed = |cause| TrackerError::Name { host: name.to_owned(), cause };
        let look_up = timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name, 0)));
        let addresses = match look_up.await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(cause)) => return Err(failed(cause)),
            Err(_) => return Err(failed(io::Error::from(io::ErrorKind::TimedOut))),
        };
        // Some resolvers map IPv4 into IPv6.
        let addresses = addresses.map(|address| SocketAddr::from((address.ip().to_canonical(), 0)));
        let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).collect();
        let mut known = self.known.lock();
        known.retain(|_, (at, _)| at.elapsed() < REMEMBER);
        known.insert(name.to_owned(), (Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}
