//! The name in a link, for a directory that the user has not named.

/// The name, if the text is a link with a name that can be one plain directory.
pub(super) fn link_name(text: &str) -> Option<String> {
    let parameters = text.split_once('?')?.1;
    let encoded = parameters.split('&').find_map(|part| part.strip_prefix("n="))?;
    plain(decode(encoded)?)
}

/// A name made by someone else names one new directory here, and nothing else.
fn plain(name: String) -> Option<String> {
    let harmless = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.chars().any(|c| c == '/' || c == '\\' || c.is_control());
    harmless.then_some(name)
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_a_plain_directory_or_none() {
        let name = |text| link_name(text);
        assert_eq!(name("syncd://AKEY?n=my%20photos&s=1").as_deref(), Some("my photos"));
        assert_eq!(name("https://x.example/#AKEY?s=1&n=photos").as_deref(), Some("photos"));
        for wrong in [
            "AKEY",
            "syncd://A?s=1",
            "syncd://A?n=",
            "syncd://A?n=..",
            "syncd://A?n=%2Fetc",
            "syncd://A?n=a%0A",
        ] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
