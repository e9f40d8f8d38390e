//! Bytes that nobody may see: the one place that wipes, compares and hides them.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes. They stay at one place on the heap, so that moving the value leaves no copy
/// behind, and are wiped when it is dropped.
#[derive(Clone)]
pub(crate) struct SecretBytes<const N: usize>(Box<[u8; N]>);

impl<const N: usize> SecretBytes<N> {
    /// Takes the bytes that `fill` writes.
    pub(crate) fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut bytes = Self(Box::new([0; N]));
        fill(&mut bytes.0);
        bytes
    }

    /// Takes a copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8; N]) -> Self {
        Self::fill_with(|own| own.copy_from_slice(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Drop for SecretBytes<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> ZeroizeOnDrop for SecretBytes<N> {}

/// Looks at all bytes whatever the first ones are, so that time tells little.
impl<const N: usize> PartialEq for SecretBytes<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl<const N: usize> Eq for SecretBytes<N> {}

impl<const N: usize> fmt::Debug for SecretBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wipes_itself<T: ZeroizeOnDrop>() {}

    #[test]
    fn all_that_is_secret_wipes_itself() {
        wipes_itself::<SecretBytes<20>>();
        wipes_itself::<crate::Opening>();
        // Only with the feature `zeroize` of that crate.
        wipes_itself::<ed25519_dalek::SigningKey>();
    }

    #[test]
    fn secrets_are_equal_when_all_bytes_are() {
        let secret = SecretBytes::copy_of(&[1, 2, 3]);
        assert_eq!(secret, secret.clone());
        for other in [[0, 2, 3], [1, 2, 4], [3, 2, 1]] {
            assert_ne!(secret, SecretBytes::copy_of(&other));
        }
        assert_eq!(format!("{secret:?}"), "(secret)");
    }
}
