//! Names of the keystore until it is merged.
#![expect(missing_docs, reason = "goes away with the merge")]
#[derive(Clone)]
pub struct ContentKey([u8; 32]);
impl ContentKey {
    pub fn new(b: [u8; 32]) -> Self {
        Self(b)
    }
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
