//! The only source of randomness.

/// Random bytes of the system.
///
/// # Panics
/// If the system has no randomness: then no key and no version would be safe.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has no randomness");
    bytes
}
