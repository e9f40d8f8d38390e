//! The table of all derivations: what follows from what, each one way.
//!
//! ```text
//! S (20 random bytes, letter A)
//! ├─ SigningSeed ──> seed of the folder's Ed25519 key, whose public half is VK
//! ├─ Blinding ─────> r (16 bytes)
//! └─ ReadSecret(VK ‖ r) ──> R (20 bytes, letter B)
//!                           ├─ FolderId ────> 16 bytes, names the folder to people and programs
//!                           ├─ DiscoveryId ─> 20 bytes, where its peers meet
//!                           ├─ Fingerprint ─> 16 digits to read aloud
//!                           ├─ SwarmKey ────> 32 bytes, proves R to peers
//!                           └─ ContentKey ──> 32 bytes, keys the ids of chunks
//! ```
//!
//! Every arrow is BLAKE3 in `derive_key` mode with a context of its own; where fewer than 32 bytes
//! are wanted they are the first ones. All inputs of the tree have a fixed length. A context is
//! part of what devices must agree on: it never changes, a new use gets a new one.
//!
//! That R commits to VK with 160 bits means that who *makes* a folder could, with 2^80 work, find
//! two openings and show its readers different writers; nobody else gains anything.

use zeroize::Zeroize;

/// One derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrow {
    /// S → seed of the folder's signing key.
    SigningSeed,
    /// S → r, which keeps R unknown to those who learn VK.
    Blinding,
    /// VK ‖ r → R, the secret of readers.
    ReadSecret,
    /// R → the folder's id. Not the discovery id, which trackers see.
    FolderId,
    /// R → the id under which peers meet.
    DiscoveryId,
    /// R → what people compare.
    Fingerprint,
    /// R → the key with which peers prove to each other that they know R.
    SwarmKey,
    /// R → the key of content and chunk ids, so that nobody outside can confirm a known file.
    ContentKey,
    /// Key text and parameters → checksum of a link.
    LinkCheck,
    /// A line → its checksum in a key file.
    KeyFileLine,
    /// All lines → the last checksum of a key file.
    KeyFileEnd,
}

impl Arrow {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::SigningSeed,
        Self::Blinding,
        Self::ReadSecret,
        Self::FolderId,
        Self::DiscoveryId,
        Self::Fingerprint,
        Self::SwarmKey,
        Self::ContentKey,
        Self::LinkCheck,
        Self::KeyFileLine,
        Self::KeyFileEnd,
    ];

    /// The context that BLAKE3 separates this derivation from all others by.
    pub const fn context(self) -> &'static str {
        match self {
            Self::SigningSeed => "syncd 2026-11-21 folder: write secret to signing seed",
            Self::Blinding => "syncd 2026-11-21 folder: write secret to blinding",
            Self::ReadSecret => "syncd 2026-11-21 folder: verifying key and blinding to read secret",
            Self::FolderId => "syncd 2026-11-21 folder: read secret to folder id",
            Self::DiscoveryId => "syncd 2026-11-21 folder: read secret to discovery id",
            Self::Fingerprint => "syncd 2026-11-21 folder: read secret to fingerprint",
            Self::SwarmKey => "syncd 2026-11-21 folder: read secret to swarm key",
            Self::ContentKey => "syncd 2026-11-21 folder: read secret to content key",
            Self::LinkCheck => "syncd 2026-11-21 link: checksum",
            Self::KeyFileLine => "syncd 2026-11-21 key file: checksum of a line",
            Self::KeyFileEnd => "syncd 2026-11-21 key file: checksum of all lines",
        }
    }

    /// Fills `out` with what follows from `parts`, one after the other. Callers see to it that the
    /// parts cannot be confused: all of fixed length, or each with its length before it.
    pub(crate) fn fill(self, parts: &[&[u8]], out: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_derive_key(self.context());
        for part in parts {
            hasher.update(part);
        }
        let mut reader = hasher.finalize_xof();
        reader.fill(out);
        reader.zeroize();
        hasher.zeroize();
    }

    /// The first `N` bytes of what follows from `parts`, where that is no secret.
    pub(crate) fn public<const N: usize>(self, parts: &[&[u8]]) -> [u8; N] {
        let mut out = [0; N];
        self.fill(parts, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_arrows_share_a_context() {
        let contexts: std::collections::BTreeSet<_> = Arrow::ALL.iter().map(|a| a.context()).collect();
        assert_eq!(contexts.len(), Arrow::ALL.len());
    }

    #[test]
    fn an_arrow_is_the_key_derivation_of_blake3_cut_to_length() {
        let whole = blake3::derive_key(Arrow::ReadSecret.context(), b"verifying key and blinding");
        let cut: [u8; 20] = Arrow::ReadSecret.public(&[b"verifying key", b" and blinding"]);
        assert_eq!(cut, whole[..20]);
    }
}
