//! Names of heads until they are merged.
#![expect(missing_docs, reason = "goes away with the merge")]
use bytes::Bytes;
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeadId(pub [u8; 32]);
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    pub bytes: Bytes,
    pub signature: [u8; 64],
}
impl SignedHead {
    pub fn encode(&self) -> Bytes {
        [&self.signature[..], &self.bytes].concat().into()
    }
    pub fn decode(bytes: &[u8]) -> Result<Self, ()> {
        let (signature, bytes) = bytes.split_first_chunk::<64>().filter(|_| bytes.len() <= 512).ok_or(())?;
        Ok(Self { bytes: Bytes::copy_from_slice(bytes), signature: *signature })
    }
}
