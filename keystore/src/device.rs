//! The identity of one installation: an Ed25519 key, whose public half is the device's id.
//!
//! It is shown and proved only to peers that have proved a folder; folders do not depend on it.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::{Zeroize, Zeroizing};

use crate::id::IdError;
use crate::text;

/// The secret half. Wiped when dropped.
#[derive(Clone)]
pub struct DeviceKey(SigningKey);

impl DeviceKey {
    /// The key that follows from 32 random bytes.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = Self(SigningKey::from_bytes(&seed));
        seed.zeroize();
        key
    }

    /// The bytes that the key was made from. **Secret.**
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    /// Signs exactly these bytes; what they are must be said in them.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey(of {})", self.id().short())
    }
}

/// Names a device: its public key, not necessarily a valid one. Its text is 52 characters of
/// lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub [u8; 32]);

impl DeviceId {
    /// Whether this device has signed exactly these bytes (strict Ed25519, some 50 µs).
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    /// The first eight characters, for logs and tables.
    pub fn short(&self) -> String {
        text::lower_base32(&self.0[..5])
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::lower_base32(&self.0))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Reads what [`Display`](fmt::Display) writes, in any case of letters.
impl FromStr for DeviceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text::parse_lower_base32(text).map(Self).ok_or(IdError { what: "device id", length: 52 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_device_recognises_what_it_signed_and_nothing_else() {
        let (anna, mallory) = (DeviceKey::from_seed([1; 32]), DeviceKey::from_seed([2; 32]));
        let signature = anna.sign(b"hello");
        assert!(anna.id().verify(b"hello", &signature));
        assert!(!anna.id().verify(b"hullo", &signature));
        assert!(!mallory.id().verify(b"hello", &signature));
    }

    #[test]
    fn the_id_of_a_seed_never_changes() {
        let id = DeviceKey::from_seed([1; 32]).id();
        assert_eq!(id.to_string(), "rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa");
        assert_eq!(id.short(), "rkeohxlu");
    }

    #[test]
    fn a_weak_id_has_signed_nothing() {
        // The neutral element: under it a signature of zeros fits any message, but for strictness.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!DeviceId(neutral).verify(b"anything", &signature));
    }

    proptest! {
        #[test]
        fn a_device_id_is_read_back(bytes: [u8; 32]) {
            let id = DeviceId(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert!(id.to_string().starts_with(&id.short()));
        }

        #[test]
        fn a_seed_is_read_back(seed: [u8; 32]) {
            prop_assert_eq!(*DeviceKey::from_seed(seed).seed(), seed);
        }

        #[test]
        fn no_bytes_make_verifying_panic(id: [u8; 32], message: Vec<u8>, half: [u8; 32], other: [u8; 32]) {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            signature[32..].copy_from_slice(&other);
            prop_assert!(!DeviceId(id).verify(&message, &signature));
        }
    }
}
