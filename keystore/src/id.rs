//! Names of a folder that are no secret: its id for people and programs, and its discovery id.

use std::fmt;
use std::str::FromStr;

use crate::text;

/// Names a folder: the same for all who hold a key of it, and unknown to those who only see its
/// peers meet. Its text is 26 characters of lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId(pub [u8; 16]);

/// Where a folder's peers meet: the info-hash for trackers and the DHT. Its text is 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiscoveryId(pub [u8; 20]);

/// Some text is not the id that it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no {what}: {length} letters a to z and digits 2 to 7 are wanted")]
pub struct IdError {
    /// Which kind of id was wanted.
    pub(crate) what: &'static str,
    /// How many characters such an id has.
    pub(crate) length: usize,
}

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::lower_base32(&self.0))
    }
}

/// Reads what [`Display`](fmt::Display) writes, in any case of letters.
impl FromStr for FolderId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text::parse_lower_base32(text).map(Self).ok_or(IdError { what: "folder id", length: 26 })
    }
}

impl fmt::Debug for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for DiscoveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl fmt::Debug for DiscoveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_folder_id_is_refused() {
        let id = FolderId([7; 16]).to_string();
        assert_eq!(id.len(), 26);
        for wrong in [&id[1..], &format!("{id}a"), &id.replace('4', "1"), "", &"ä".repeat(13)] {
            assert!(wrong.parse::<FolderId>().is_err(), "{wrong}");
        }
        // The last character carries two bits that no id uses.
        assert!(format!("{}b", &id[..25]).parse::<FolderId>().is_err());
    }

    proptest! {
        #[test]
        fn a_folder_id_is_read_back_in_any_case(bytes: [u8; 16]) {
            let id = FolderId(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<FolderId>();
        }
    }
}
