//! The secret of a folder, and the keys that follow from it.

use std::fmt;

use ed25519_dalek::SigningKey;
use zeroize::{Zeroize, Zeroizing};

use crate::bytes::SecretBytes;
use crate::derive::Arrow;
use crate::id::{DiscoveryId, FolderId};
use crate::opening::{FolderVerifier, HeadSigner, Opening, OpeningError};
use crate::text::{self, KeyError, PART_BYTES, ParsedKey};

/// What a key allows. Each includes those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// To hold ciphertext.
    Store,
    /// To read what the folder holds.
    Read,
    /// To change it.
    Write,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// What a device knows of a folder: S if it may write, else R (see [`derive`](mod@crate::derive)).
///
/// Making one from S costs one multiplication on the curve (some 20 µs); ids and keys cost a hash.
#[derive(Clone, PartialEq, Eq)]
pub struct FolderSecret {
    /// S.
    write: Option<SecretBytes<PART_BYTES>>,
    /// R; follows from S where that is known.
    read: SecretBytes<PART_BYTES>,
}

impl FolderSecret {
    /// The secret of a new folder, from fresh random bytes of the operating system.
    pub fn new(mut random: [u8; PART_BYTES]) -> Self {
        let write = SecretBytes::copy_of(&random);
        random.zeroize();
        Self::of_writer(write)
    }

    /// Parses a key, `A…` or `B…`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Ok(match text::parse_key(text)? {
            ParsedKey::Write(write) => Self::of_writer(write),
            ParsedKey::Read(read) => Self { write: None, read },
        })
    }

    fn of_writer(write: SecretBytes<PART_BYTES>) -> Self {
        let read = opening_of(&write).read_secret();
        Self { write: Some(write), read }
    }

    /// What the secret allows.
    pub fn capability(&self) -> Capability {
        if self.write.is_some() { Capability::Write } else { Capability::Read }
    }

    /// The key that lets others write, for those who may themselves. **Secret.**
    pub fn read_write_key(&self) -> Option<Zeroizing<String>> {
        self.write.as_ref().map(|write| text::key_text('A', write))
    }

    /// The key that lets others read. **Secret.**
    pub fn read_only_key(&self) -> Zeroizing<String> {
        text::key_text('B', &self.read)
    }

    /// The strongest key that this secret can be written as. **Secret.**
    pub fn key(&self) -> Zeroizing<String> {
        self.read_write_key().unwrap_or_else(|| self.read_only_key())
    }

    /// The folder's id, the same for writers and readers.
    pub fn folder_id(&self) -> FolderId {
        FolderId(Arrow::FolderId.public(&[self.read.as_bytes()]))
    }

    /// Where the folder's peers meet.
    pub fn discovery_id(&self) -> DiscoveryId {
        DiscoveryId(Arrow::DiscoveryId.public(&[self.read.as_bytes()]))
    }

    /// Four groups of four digits to compare or read aloud, `0123 4567 8901 2345`: the same for
    /// writers and readers (53 bits; tells nothing about the key).
    pub fn fingerprint(&self) -> String {
        let number = u128::from_le_bytes(Arrow::Fingerprint.public(&[self.read.as_bytes()]));
        let group = |power: u32| number / 10_000_u128.pow(power) % 10_000;
        format!("{:04} {:04} {:04} {:04}", group(3), group(2), group(1), group(0))
    }

    /// The key with which peers prove to each other that they know the folder.
    pub fn swarm_key(&self) -> SwarmKey {
        SwarmKey(self.key_for(Arrow::SwarmKey))
    }

    /// The key of content and chunk ids.
    pub fn content_key(&self) -> ContentKey {
        ContentKey(self.key_for(Arrow::ContentKey))
    }

    fn key_for(&self, arrow: Arrow) -> SecretBytes<32> {
        SecretBytes::fill_with(|key| arrow.fill(&[self.read.as_bytes()], key))
    }

    /// What convinces a reader of the folder's verifying key; a writer knows it.
    pub fn opening(&self) -> Option<Opening> {
        self.write.as_ref().map(opening_of)
    }

    /// Checks an opening that a peer or a file told against R. Only what it gives may judge heads.
    pub fn check_opening(&self, opening: &Opening) -> Result<FolderVerifier, OpeningError> {
        if opening.read_secret() != self.read {
            return Err(OpeningError::OtherFolder);
        }
        FolderVerifier::new(&opening.verifying_key)
    }

    /// What signs heads; a writer has it.
    pub fn signer(&self) -> Option<HeadSigner> {
        self.write.as_ref().map(|write| HeadSigner::new(signing_key(write)))
    }
}

fn signing_key(write: &SecretBytes<PART_BYTES>) -> SigningKey {
    let mut seed = Zeroizing::new([0; 32]);
    Arrow::SigningSeed.fill(&[write.as_bytes()], &mut *seed);
    SigningKey::from_bytes(&seed)
}

fn opening_of(write: &SecretBytes<PART_BYTES>) -> Opening {
    let verifying_key = signing_key(write).verifying_key().to_bytes();
    Opening { verifying_key, blinding: Arrow::Blinding.public(&[write.as_bytes()]) }
}

impl fmt::Debug for FolderSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FolderSecret({} {})", self.capability(), self.folder_id())
    }
}

/// 32 secret bytes with which peers of a folder prove that they know it.
#[derive(Debug, Clone)]
pub struct SwarmKey(SecretBytes<32>);

impl SwarmKey {
    /// The bytes. **Secret.**
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// 32 secret bytes that key the content and chunk ids of a folder.
#[derive(Debug, Clone)]
pub struct ContentKey(SecretBytes<32>);

impl ContentKey {
    /// The bytes. **Secret.**
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests;
