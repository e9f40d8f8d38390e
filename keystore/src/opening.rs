//! How a reader, who knows only R, comes to trust what writers sign.
//!
//! VK is never published. A peer that has proved R is told `(VK, r)`, checks that R follows from
//! them ([`FolderSecret::check_opening`](crate::FolderSecret::check_opening)) and then holds a
//! [`FolderVerifier`]: whoever has one needs no further proof.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::bytes::SecretBytes;
use crate::derive::Arrow;
use crate::text::PART_BYTES;

/// VK and r, from which R follows. Known to all peers of a folder and to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Opening {
    /// VK, the Ed25519 key that verifies the folder's heads.
    pub verifying_key: [u8; 32],
    /// r, without which VK tells nothing about R.
    pub blinding: [u8; 16],
}

impl Opening {
    /// R, as it follows from this opening.
    pub(crate) fn read_secret(&self) -> SecretBytes<PART_BYTES> {
        SecretBytes::fill_with(|read| Arrow::ReadSecret.fill(&[&self.verifying_key, &self.blinding], read))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.verifying_key.zeroize();
        self.blinding.zeroize();
    }
}

impl ZeroizeOnDrop for Opening {}

/// R follows from an opening, so it is as secret as a key.
impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening(secret)")
    }
}

/// Why an opening is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The folder's secret does not follow from it: whoever told it lies, or means another folder.
    #[error("what the peer told about the folder's writers does not fit the key")]
    OtherFolder,
    /// It is this folder's, but was made so that anybody, or nobody, could sign.
    #[error("the folder was made with a broken signing key and cannot be trusted")]
    WeakKey,
}

/// Judges signatures of one folder's writers.
#[derive(Clone)]
pub struct FolderVerifier(VerifyingKey);

impl FolderVerifier {
    pub(crate) fn new(verifying_key: &[u8; 32]) -> Result<Self, OpeningError> {
        let key = VerifyingKey::from_bytes(verifying_key).map_err(|_| OpeningError::WeakKey)?;
        if key.is_weak() { Err(OpeningError::WeakKey) } else { Ok(Self(key)) }
    }

    /// Whether a writer of the folder has signed exactly these bytes (strict Ed25519, some 50 µs).
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for FolderVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FolderVerifier")
    }
}

/// Signs heads as a writer of one folder. Wiped when dropped.
#[derive(Clone)]
pub struct HeadSigner(SigningKey);

impl HeadSigner {
    pub(crate) fn new(key: SigningKey) -> Self {
        Self(key)
    }

    /// Signs exactly these bytes; what they are must be said in them.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for HeadSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadSigner(secret)")
    }
}
