//! Heads: signed states that a writer vouches for.
//!
//! A head is signed over its bytes as sent, and they are kept and passed on unchanged; nothing is
//! ever signed or verified after encoding it anew. Fields of newer versions are skipped.

use bytes::Bytes;
use keystore::{FolderId, FolderVerifier, HeadSigner};
use minicbor::{Decoder, Encoder};

use crate::state::Totals;
use crate::store::NodeId;
use crate::tree::{Encoded, Malformed, expect_array, fixed_bytes};

/// Most bytes of a signed head as sent: three times what one has, for fields to come.
pub const MAX_SIGNED_HEAD_BYTES: usize = 512;
/// Put before the bytes of a head when they are signed, so that no other signature can pass for one.
const SIGNED_AS: &[u8] = b"syncd head\0";

const FOLDER: u64 = 1;
const CONTEXT: u64 = 2;
const ENTRIES: u64 = 3;
const FILES: u64 = 4;
const BYTES: u64 = 5;

/// One state of one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whose state.
    pub folder: FolderId,
    /// The root of the context.
    pub context: NodeId,
    /// The root of the entries.
    pub entries: NodeId,
    /// What the writer counted.
    pub totals: Totals,
}

/// The address of a head: the BLAKE3 of its bytes, without the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeadId(pub [u8; 32]);

/// A head and its signature, as received; nothing about it is known to be true before
/// [`open`](Self::open).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The head, encoded.
    pub bytes: Bytes,
    /// Ed25519, by the folder's key.
    pub signature: [u8; 64],
}

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The signature is not the folder's.
    #[error("the head is not signed with the folder's key")]
    Signature,
    /// Signed, but for another folder.
    #[error("the head belongs to another folder")]
    OtherFolder,
    /// More bytes than a head may have.
    #[error("the head is too large")]
    TooLarge,
    /// Not encoded as a head.
    #[error("the head is malformed: {0}")]
    Malformed(#[from] Malformed),
}

impl Head {
    /// The bytes that are signed.
    pub fn encode(&self) -> Bytes {
        let mut to = Encoder::new(Vec::with_capacity(128));
        self.write(&mut to).expect("writing to memory cannot fail");
        to.into_writer().into()
    }

    /// Reads what `encode`, or that of a newer version, wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        if bytes.len() > MAX_SIGNED_HEAD_BYTES {
            return Err(HeadError::TooLarge);
        }
        Ok(decode_fields(bytes)?)
    }

    fn write(&self, to: &mut Encoder<Vec<u8>>) -> Encoded {
        to.map(5)?.u64(FOLDER)?.bytes(&self.folder.0)?;
        to.u64(CONTEXT)?.bytes(&self.context.0)?;
        to.u64(ENTRIES)?.bytes(&self.entries.0)?;
        to.u64(FILES)?.u64(self.totals.files)?;
        to.u64(BYTES)?.u64(self.totals.bytes)?;
        Ok(())
    }
}

fn decode_fields(bytes: &[u8]) -> Result<Head, Malformed> {
    let mut from = Decoder::new(bytes);
    let (mut folder, mut context, mut entries) = (None, None, None);
    let (mut files, mut bytes_total, mut previous) = (None, None, 0);
    for _ in 0..from.map()?.ok_or(Malformed::NotCanonical)? {
        let field = from.u64()?;
        if field <= previous {
            return Err(Malformed::NotCanonical);
        }
        previous = field;
        match field {
            FOLDER => folder = Some(FolderId(fixed_bytes(&mut from)?)),
            CONTEXT => context = Some(NodeId(fixed_bytes(&mut from)?)),
            ENTRIES => entries = Some(NodeId(fixed_bytes(&mut from)?)),
            FILES => files = Some(from.u64()?),
            BYTES => bytes_total = Some(from.u64()?),
            _ => from.skip()?,
        }
    }
    if from.position() != bytes.len() {
        return Err(Malformed::NotCanonical);
    }
    let missing = Malformed::Encoding;
    Ok(Head {
        folder: folder.ok_or(missing)?,
        context: context.ok_or(missing)?,
        entries: entries.ok_or(missing)?,
        totals: Totals { files: files.ok_or(missing)?, bytes: bytes_total.ok_or(missing)? },
    })
}

impl SignedHead {
    /// Signs a head as a writer of its folder.
    pub fn sign(signer: &HeadSigner, head: &Head) -> Self {
        let bytes = head.encode();
        let signature = signer.sign(&signed_message(&bytes));
        Self { bytes, signature }
    }

    /// Verifies the signature over the bytes as received, then reads the head.
    pub fn open(&self, verifier: &FolderVerifier, folder: FolderId) -> Result<Head, HeadError> {
        if self.bytes.len() > MAX_SIGNED_HEAD_BYTES {
            return Err(HeadError::TooLarge);
        }
        if !verifier.verify(&signed_message(&self.bytes), &self.signature) {
            return Err(HeadError::Signature);
        }
        let head = Head::decode(&self.bytes)?;
        if head.folder == folder { Ok(head) } else { Err(HeadError::OtherFolder) }
    }

    /// The address of the head.
    pub fn id(&self) -> HeadId {
        HeadId(*blake3::hash(&self.bytes).as_bytes())
    }

    /// For the wire: the CBOR array `[head, signature]`.
    pub fn encode(&self) -> Bytes {
        let mut to = Encoder::new(Vec::with_capacity(256));
        self.write(&mut to).expect("writing to memory cannot fail");
        to.into_writer().into()
    }

    /// Reads what `encode` wrote; all of `bytes`, at most [`MAX_SIGNED_HEAD_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        if bytes.len() > MAX_SIGNED_HEAD_BYTES {
            return Err(HeadError::TooLarge);
        }
        let mut from = Decoder::new(bytes);
        expect_array(&mut from, 2)?;
        let head = from.bytes().map_err(Malformed::from)?;
        let signature = fixed_bytes(&mut from)?;
        if from.position() != bytes.len() {
            return Err(Malformed::NotCanonical.into());
        }
        Ok(Self { bytes: Bytes::copy_from_slice(head), signature })
    }

    fn write(&self, to: &mut Encoder<Vec<u8>>) -> Encoded {
        to.array(2)?.bytes(&self.bytes)?.bytes(&self.signature)?;
        Ok(())
    }
}

fn signed_message(head: &[u8]) -> Vec<u8> {
    [SIGNED_AS, head].concat()
}

#[cfg(test)]
mod tests {
    use keystore::FolderSecret;

    use super::*;

    fn head() -> Head {
        Head {
            folder: FolderId([1; 16]),
            context: NodeId([2; 32]),
            entries: NodeId([3; 32]),
            totals: Totals { files: 4, bytes: 500 },
        }
    }

    fn folder() -> (HeadSigner, FolderVerifier) {
        let secret = FolderSecret::new([5; 20]);
        let opening = secret.opening().expect("a writer");
        (secret.signer().expect("a writer"), secret.check_opening(&opening).expect("its own"))
    }

    #[test]
    fn a_signed_head_arrives_as_it_was_sent() {
        let (signer, verifier) = folder();
        let signed = SignedHead::sign(&signer, &head());
        let arrived = SignedHead::decode(&signed.encode()).expect("whole");
        assert_eq!(arrived, signed);
        assert_eq!(arrived.open(&verifier, head().folder), Ok(head()));
        assert!(signed.encode().len() < MAX_SIGNED_HEAD_BYTES / 2);
    }

    #[test]
    fn a_head_that_was_changed_or_belongs_elsewhere_is_refused() {
        let (signer, verifier) = folder();
        let other = FolderId([9; 16]);
        let signed = SignedHead::sign(&signer, &head());
        assert_eq!(signed.open(&verifier, other), Err(HeadError::OtherFolder));
        let bytes = Head { folder: other, ..head() }.encode();
        let forged = SignedHead { bytes, ..signed };
        assert_eq!(forged.open(&verifier, other), Err(HeadError::Signature));
        let bytes = head().encode();
        let bare = SignedHead { signature: signer.sign(&bytes), bytes };
        assert_eq!(bare.open(&verifier, head().folder), Err(HeadError::Signature), "not signed as a head");
    }

    #[test]
    fn fields_of_newer_versions_are_skipped_and_anything_else_is_refused() {
        let mut newer = head().encode().to_vec();
        newer[0] += 1; // one more pair
        newer.extend([0x06, 0x82, 0x01, 0x61, b'x']);
        assert_eq!(Head::decode(&newer), Ok(head()));
        newer.push(0);
        assert_eq!(Head::decode(&newer), Err(Malformed::NotCanonical.into()));
        assert_eq!(Head::decode(&[0; 513]), Err(HeadError::TooLarge));
        let encoded = SignedHead::sign(&folder().0, &head()).encode();
        for end in 0..encoded.len() {
            assert!(SignedHead::decode(&encoded[..end]).is_err());
        }
    }

    #[test]
    fn the_bytes_of_a_head_are_fixed() {
        let fixed = [
            &[0xa5, 0x01, 0x50][..],
            &[1; 16],
            &[0x02, 0x58, 0x20],
            &[2; 32],
            &[0x03, 0x58, 0x20],
            &[3; 32],
            &[0x04, 0x04, 0x05, 0x19, 0x01, 0xf4],
        ];
        assert_eq!(head().encode(), fixed.concat());
    }
}
