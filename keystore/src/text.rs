//! Key text: a letter that says what the key grants, and 20 bytes (`E`: 40) in RFC 4648 base32.
//!
//! There is no room for a checksum, so a wrong character that is in the alphabet makes another,
//! valid key. All the more is said about what can be seen to be wrong, with its place in the text
//! as it was typed; and never what else was typed, since that may be most of a key.

use base32::Alphabet;
use zeroize::{Zeroize, Zeroizing};

use crate::bytes::SecretBytes;

/// Bytes that one part of a key carries.
pub(crate) const PART_BYTES: usize = 20;
/// Characters of base32 that write one part: 20 bytes are exactly 32 times five bits.
const PART_CHARACTERS: usize = 32;

/// Why some text is no key that can be used. Positions count characters, from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing but spaces and dashes.
    #[error("the key is empty: {FORM}")]
    Empty,
    /// A character in front that is no letter of a key.
    #[error("the key begins with {found:?} at position {position}: {FORM}")]
    Letter {
        /// What is there.
        found: char,
        /// Where it is.
        position: usize,
    },
    /// What would be a key if there was a letter in front of it.
    #[error("the key lacks the letter in front: {FORM}")]
    LetterMissing,
    /// A character that is in no key.
    #[error("{found:?} at position {position} is in no key: after the letter come A to Z and 2 to 7{}", hint(*found))]
    Character {
        /// What is there; not in the alphabet, so it tells nothing about the key.
        found: char,
        /// Where it is.
        position: usize,
    },
    /// Characters are missing at the end, or somewhere before.
    #[error(
        "the key is too short: it ends after position {position} with {found} characters of {wanted} \
         (spaces and dashes do not count)"
    )]
    TooShort {
        /// The last position.
        position: usize,
        /// How many characters there are, spaces and dashes not counted.
        found: usize,
        /// How many a key of this letter has.
        wanted: usize,
    },
    /// Something comes after the end of the key.
    #[error("the key is too long: its {wanted} characters end before position {position}")]
    TooLong {
        /// The first position that is too much.
        position: usize,
        /// How many characters a key of this letter has.
        wanted: usize,
    },
    /// A key of a kind that is reserved.
    #[error(
        "this is a key of kind {letter} ({}), which this version of syncd cannot use yet: \
         ask for a key that begins with A or B",
        meaning(*letter)
    )]
    NotUsableYet {
        /// `C`, `D`, `E` or `F`.
        letter: char,
    },
}

const FORM: &str = "a key is the letter A (write) or B (read) and 32 characters after it";

/// What a wrong character was probably meant to be.
fn hint(found: char) -> &'static str {
    match found {
        '0' => " (a zero is probably the letter O)",
        '1' => " (a one is probably the letter I or L)",
        '8' => " (an eight is probably the letter B)",
        '9' => " (a nine is probably the letter G or the digit 4)",
        _ => "",
    }
}

fn meaning(letter: char) -> &'static str {
    match letter {
        'C' => "a one-time invitation",
        'D' => "write, of an encrypted folder",
        'E' => "read, of an encrypted folder",
        _ => "store, of an encrypted folder",
    }
}

impl KeyError {
    /// The same error in a text that has `characters` more before the key.
    pub(crate) fn moved_by(mut self, characters: usize) -> Self {
        match &mut self {
            Self::Letter { position, .. }
            | Self::Character { position, .. }
            | Self::TooShort { position, .. }
            | Self::TooLong { position, .. } => *position += characters,
            Self::Empty | Self::LetterMissing | Self::NotUsableYet { .. } => {}
        }
        self
    }
}

/// A key as its text says it, before anything is derived.
pub(crate) enum ParsedKey {
    /// S, behind letter `A`.
    Write(SecretBytes<PART_BYTES>),
    /// R, behind letter `B`.
    Read(SecretBytes<PART_BYTES>),
}

/// Parses a key. Forgives case, spaces, dashes and what web pages hide between characters.
pub(crate) fn parse_key(text: &str) -> Result<ParsedKey, KeyError> {
    let mut marks = text.chars().zip(1..).filter(|(c, _)| !is_filler(*c));
    let (first, position) = marks.next().ok_or(KeyError::Empty)?;
    let letter = first.to_ascii_uppercase();
    let wanted = match letter {
        'A' | 'B' | 'C' | 'D' | 'F' => PART_CHARACTERS,
        'E' => 2 * PART_CHARACTERS,
        _ if is_key_without_letter(text) => return Err(KeyError::LetterMissing),
        _ => return Err(KeyError::Letter { found: first, position }),
    };
    // The capacity is never exceeded, so that no copy is left behind by growing.
    let mut body = Zeroizing::new(String::with_capacity(wanted));
    let mut last = position;
    for (found, position) in marks {
        if body.len() == wanted {
            return Err(KeyError::TooLong { position, wanted: wanted + 1 });
        }
        let upper = found.to_ascii_uppercase();
        if !is_base32(upper) {
            return Err(KeyError::Character { found, position });
        }
        body.push(upper);
        last = position;
    }
    if body.len() < wanted {
        return Err(KeyError::TooShort { position: last, found: body.len() + 1, wanted: wanted + 1 });
    }
    match letter {
        'A' => Ok(ParsedKey::Write(decode_part(&body))),
        'B' => Ok(ParsedKey::Read(decode_part(&body))),
        letter => Err(KeyError::NotUsableYet { letter }),
    }
}

/// The text of a key: `letter` and `bytes`.
pub(crate) fn key_text(letter: char, bytes: &SecretBytes<PART_BYTES>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1 + PART_CHARACTERS));
    text.push(letter);
    push_base32(&mut text, bytes.as_bytes());
    text
}

/// What people and programs put between the characters of a key.
fn is_filler(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

fn is_base32(upper: char) -> bool {
    matches!(upper, 'A'..='Z' | '2'..='7')
}

fn is_key_without_letter(text: &str) -> bool {
    let mut marks = text.chars().filter(|c| !is_filler(*c)).map(|c| c.to_ascii_uppercase());
    marks.by_ref().take(PART_CHARACTERS).filter(|c| is_base32(*c)).count() == PART_CHARACTERS
        && marks.next().is_none()
}

/// Decodes 32 characters of the alphabet. The crate checks neither count nor spare bits; the caller
/// has checked the count, and there are no spare bits.
fn decode_part(body: &str) -> SecretBytes<PART_BYTES> {
    let decoded = Zeroizing::new(decode_base32(body).expect("all characters are in the alphabet"));
    SecretBytes::fill_with(|bytes| bytes.copy_from_slice(&decoded))
}

fn decode_base32(upper: &str) -> Option<Vec<u8>> {
    base32::decode(Alphabet::Rfc4648 { padding: false }, upper)
}

/// Writes base32 in groups of five bytes, which have no bits in common. (At one go the crate's
/// buffer grows for 20 bytes and leaves a part of the text in freed memory.)
pub(crate) fn push_base32(text: &mut String, bytes: &[u8]) {
    for group in bytes.chunks(5) {
        let mut written = base32::encode(Alphabet::Rfc4648 { padding: false }, group);
        text.push_str(&written);
        written.zeroize();
    }
}

/// Lower-case base32 of what is no secret.
pub(crate) fn lower_base32(bytes: &[u8]) -> String {
    base32::encode(Alphabet::Rfc4648Lower { padding: false }, bytes)
}

/// The `N` bytes that `text` writes, if it is their one text, in any case of letters.
pub(crate) fn parse_lower_base32<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 8).div_ceil(5) || !text.is_ascii() {
        return None;
    }
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    if !upper.chars().all(is_base32) {
        return None;
    }
    let decoded = Zeroizing::new(decode_base32(&upper)?);
    let bytes: [u8; N] = decoded.as_slice().try_into().ok()?;
    // Bits that are left over must be zero, or two texts would mean the same.
    let mut again = Zeroizing::new(String::with_capacity(upper.len()));
    push_base32(&mut again, &bytes);
    (*again == *upper).then_some(bytes)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    text
}

/// The `N` bytes that exactly `2 N` lower-case hexadecimal digits write.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
