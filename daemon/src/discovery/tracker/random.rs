//! Everything that is drawn here comes out of one seed, so that nothing else reads the system's.

use keystore::DiscoveryId;
use parking_lot::Mutex;

use crate::tracker::wire::PeerId;

/// How peer ids begin, by convention: the program and its version.
const PROGRAM: &[u8; 8] = b"-SY0001-";

pub(super) struct Random {
    stream: Mutex<blake3::OutputReader>,
    ids: [u8; 32],
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

impl Random {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let mut stream = blake3::Hasher::new_keyed(seed).finalize_xof();
        let mut ids = [0; 32];
        stream.fill(&mut ids);
        Self { stream: Mutex::new(stream), ids }
    }

    pub(super) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.lock().fill(&mut bytes);
        bytes
    }

    /// What a tracker knows us by in one swarm until the next start: peer id and key. They differ
    /// from folder to folder, so that they do not tell which folders lie on one device.
    pub(super) fn identity(&self, discovery: &DiscoveryId) -> (PeerId, u32) {
        let mut drawn = blake3::Hasher::new_keyed(&self.ids);
        drawn.update(&discovery.0);
        let mut stream = drawn.finalize_xof();
        let (mut peer_id, mut key) = ([0; 20], [0; 4]);
        peer_id[..PROGRAM.len()].copy_from_slice(PROGRAM);
        stream.fill(&mut peer_id[PROGRAM.len()..]);
        stream.fill(&mut key);
        (peer_id, u32::from_be_bytes(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_steady_and_differ_between_folders_and_starts() {
        let (a, b) = (DiscoveryId([1; 20]), DiscoveryId([2; 20]));
        let random = Random::new(&[7; 32]);
        let first = random.identity(&a);
        let _: [u8; 9] = random.bytes();
        assert_eq!(random.identity(&a), first);
        assert!(first.0.starts_with(PROGRAM));
        let others = [random.identity(&b), Random::new(&[8; 32]).identity(&a)];
        assert!(others.iter().all(|other| other.0 != first.0 && other.1 != first.1));
    }
}
