//! Percent-encoding (RFC 3986) of what is no secret, for links and key files.

use std::fmt::Write as _;

/// Appends `bytes` so that the result has only letters, digits and `- . _ ~ / :`.
pub(crate) fn push_encoded(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                text.push(char::from(*byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
}

/// The bytes that `text` stands for; `None` if a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_an_escape_is_refused() {
        for wrong in ["%", "%4", "%g0", "a%+1", "%é"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
        assert_eq!(decode("a%2Fb%2f"), Some(b"a/b/".to_vec()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_back(bytes: Vec<u8>) {
            let mut text = String::new();
            push_encoded(&mut text, &bytes);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b"&=?#,".contains(&b)));
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text: String) {
            let _ = decode(&text);
        }
    }
}
