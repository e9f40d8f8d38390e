//! What proves that someone knows a folder's secret, on this connection and in this role only.

use keystore::SwarmKey;

/// How long a tag is: none fits by chance, and a slot stays small.
pub(super) const TAG_BYTES: usize = 16;
/// How long a proof is.
pub(super) const PROOF_BYTES: usize = 32;

/// What binds proofs to one connection. In TLS 1.3 the exporter does not cover the certificate of
/// the dialler, so both are bound as well.
#[derive(Clone)]
pub struct Binding {
    /// Keying material exported from the TLS session (RFC 5705).
    pub exporter: [u8; 32],
    /// BLAKE3 of the dialler's certificate.
    pub dialer: [u8; 32],
    /// BLAKE3 of the acceptor's certificate.
    pub acceptor: [u8; 32],
    /// Which of the two we are.
    pub we_dialed: bool,
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Dialer,
    Acceptor,
}

/// What a MAC is for. The labels are of one length, so that no two inputs are the same.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Tag,
    Initiator,
    Responder,
}

impl Binding {
    pub(super) fn our_side(&self) -> Side {
        if self.we_dialed { Side::Dialer } else { Side::Acceptor }
    }

    pub(super) fn peer_side(&self) -> Side {
        if self.we_dialed { Side::Acceptor } else { Side::Dialer }
    }

    /// What names a folder in a join that `initiator` began, to those who know the folder.
    pub(super) fn tag(&self, key: &[u8; 32], initiator: Side) -> [u8; TAG_BYTES] {
        let mac = self.mac(key, Purpose::Tag, initiator);
        *mac.as_bytes().first_chunk().expect("a MAC is longer than a tag")
    }

    /// The proof of whoever began the join.
    pub(super) fn initiator_proof(&self, key: &[u8; 32], initiator: Side) -> blake3::Hash {
        self.mac(key, Purpose::Initiator, initiator)
    }

    /// The proof of whoever answers it.
    pub(super) fn responder_proof(&self, key: &[u8; 32], initiator: Side) -> blake3::Hash {
        self.mac(key, Purpose::Responder, initiator)
    }

    /// Compare the result as it is: hashes compare in constant time.
    fn mac(&self, key: &[u8; 32], purpose: Purpose, initiator: Side) -> blake3::Hash {
        let label: &[u8; 14] = match purpose {
            Purpose::Tag => b"syncd/1 join T",
            Purpose::Initiator => b"syncd/1 join I",
            Purpose::Responder => b"syncd/1 join R",
        };
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(label).update(&[side_byte(initiator)]);
        hasher.update(&self.exporter).update(&self.dialer).update(&self.acceptor).finalize()
    }

    /// What the device key of `signer` signs, to show that the device itself is at that end.
    pub(super) fn device_statement(&self, signer: Side) -> Vec<u8> {
        let role = [side_byte(signer)];
        let label = &b"syncd/1 this device is at this end of this connection"[..];
        [label, &role, &self.exporter, &self.dialer, &self.acceptor].concat()
    }
}

fn side_byte(side: Side) -> u8 {
    match side {
        Side::Dialer => b'd',
        Side::Acceptor => b'a',
    }
}

/// The tags and keys of one folder on one connection.
pub(super) struct FolderProof {
    pub(super) key: SwarmKey,
    /// By which we name the folder.
    pub(super) our_tag: [u8; TAG_BYTES],
    /// By which the peer names it.
    pub(super) peer_tag: [u8; TAG_BYTES],
}

impl FolderProof {
    pub(super) fn new(binding: &Binding, key: SwarmKey) -> Self {
        let our_tag = binding.tag(key.as_bytes(), binding.our_side());
        let peer_tag = binding.tag(key.as_bytes(), binding.peer_side());
        Self { key, our_tag, peer_tag }
    }
}

/// Bytes that nobody can tell from tags and proofs, from a seed that the caller drew.
pub(super) struct Random(blake3::OutputReader);

impl Random {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_derive_key("syncd/1 random bytes of a session").update(seed).finalize_xof())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}
