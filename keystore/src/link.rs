//! Links: a key, what the folder is called, how large it is, and where to find it.
//!
//! ```text
//! syncd://<key>?n=<name>&s=<bytes>&a=<host:port>&t=<tracker>&c=<checksum>
//! https://any.site/#<the same after syncd://>
//! ```
//!
//! `a` and `t` may be repeated. Values are percent-encoded. Unknown parameters are skipped, so that
//! later versions can add some. In the second form all is in the fragment, which a browser tells
//! no site. The checksum is over the key and the values of `n s a t`: sites and messengers may
//! append parameters or encode more than we do, and the link stays good.
//!
//! Whoever made a link may be an enemy: sizes and counts are bounded, and a name comes out fit to
//! be shown. Names are not fit to be a path.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::derive::Arrow;
use crate::percent;
use crate::secret::FolderSecret;
use crate::text::{self, KeyError};

mod parameter;

use parameter::Parameters;
pub use parameter::{ParameterError, clean_name};

/// Longest name, in bytes: what a directory's name can have.
pub const MAX_NAME_BYTES: usize = 255;
/// Most addresses, and most trackers. A peer that answers tells of more.
pub const MAX_ENTRIES: usize = 16;
/// Longest address: a host name of 253, a colon and a port of five digits, and some brackets.
pub const MAX_ADDRESS_BYTES: usize = 261;
/// Longest tracker URL.
pub const MAX_TRACKER_BYTES: usize = 512;
/// Longest link: all of the above, each byte written as three (38 KiB), and as much again for
/// parameters that we do not know.
pub const MAX_LINK_BYTES: usize = 80 * 1024;

/// Characters of the checksum: 30 bits let one of 10^9 wrong links pass.
const CHECK_CHARACTERS: usize = 6;

/// A folder's key and what helps to join it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The key.
    pub secret: FolderSecret,
    /// What the folder is called; fit to be shown, not to be a path.
    pub name: Option<String>,
    /// How much it held when the link was made; a hint.
    pub size_bytes: Option<u64>,
    /// `host:port` of peers to dial.
    pub addresses: Vec<String>,
    /// URLs of trackers to ask.
    pub trackers: Vec<String>,
}

/// Why some text is no link that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The key in it is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It begins like no link.
    #[error("this is no link to a folder: one begins with syncd:// or https://")]
    Scheme,
    /// A web address without the part behind `#`, which holds the key.
    #[error("the link has lost its key, the part after #: copy it again as a whole")]
    NoFragment,
    /// More than [`MAX_LINK_BYTES`].
    #[error("the link is longer than {MAX_LINK_BYTES} bytes")]
    TooLong,
    /// One of its parameters.
    #[error("parameter {number} of the link, after the question mark, {error}")]
    Parameter {
        /// Which one, from one.
        number: usize,
        /// What is wrong with it.
        error: ParameterError,
    },
    /// The checksum does not fit: the key or a parameter is not what it was.
    #[error("the link is damaged (its checksum does not fit): copy it again as a whole")]
    Checksum,
}

/// Parses what a person typed or pasted: a link, or a bare key, which becomes a link with nothing
/// else.
pub fn parse_key_or_link(text: &str) -> Result<Link, LinkError> {
    if text.contains("://") {
        return Link::parse(text);
    }
    Ok(FolderSecret::parse(text)?.into())
}

impl From<FolderSecret> for Link {
    fn from(secret: FolderSecret) -> Self {
        Self { secret, name: None, size_bytes: None, addresses: Vec::new(), trackers: Vec::new() }
    }
}

impl Link {
    /// Parses `syncd://…` and `https://…#…`.
    pub fn parse(text: &str) -> Result<Self, LinkError> {
        if text.len() > MAX_LINK_BYTES {
            return Err(LinkError::TooLong);
        }
        let start = payload_start(text)?;
        let payload = text[start..].trim_end();
        let (key, query) = payload.split_once('?').unwrap_or((payload, ""));
        // Browsers put a slash between what they take for a host and the query.
        let key = key.strip_suffix('/').unwrap_or(key);
        let characters_before = text[..start].chars().count();
        let secret = FolderSecret::parse(key).map_err(|error| error.moved_by(characters_before))?;
        let found = Parameters::parse(query)?;
        let link = Self {
            name: found.name.as_deref().and_then(clean_name),
            size_bytes: found.size_bytes,
            addresses: found.addresses,
            trackers: found.trackers,
            secret,
        };
        let wanted = link.check(found.name.as_deref());
        if found.check.is_some_and(|check| !check.eq_ignore_ascii_case(&wanted)) {
            return Err(LinkError::Checksum);
        }
        Ok(link)
    }

    /// The link as text, `syncd://…`, with a checksum. **Secret.** Leaves out what no link may
    /// hold: a name that has nothing to show, addresses and trackers that are none or too many.
    pub fn to_text(&self) -> Zeroizing<String> {
        let link = self.bounded();
        let variable = [&link.addresses, &link.trackers].into_iter().flatten().chain(&link.name);
        // Never exceeded, so that growing leaves no copy of the key behind.
        let capacity = 128 + variable.map(|value| 3 + 3 * value.len()).sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        text.push_str("syncd://");
        text.push_str(&link.secret.key());
        let mut separator = '?';
        let mut push = |name: char, value: &str| {
            text.push(separator);
            text.push(name);
            text.push('=');
            percent::push_encoded(&mut text, value.as_bytes());
            separator = '&';
        };
        link.name.iter().for_each(|name| push('n', name));
        link.size_bytes.iter().for_each(|size| push('s', &size.to_string()));
        link.addresses.iter().for_each(|address| push('a', address));
        link.trackers.iter().for_each(|tracker| push('t', tracker));
        push('c', &link.check(link.name.as_deref()));
        debug_assert!(text.len() <= capacity);
        text
    }

    /// This link with what [`parse`](Self::parse) would take.
    fn bounded(&self) -> Self {
        let keep = |values: &[String], is_good: fn(&str) -> bool| {
            values.iter().filter(|value| is_good(value)).take(MAX_ENTRIES).cloned().collect()
        };
        Self {
            secret: self.secret.clone(),
            name: self.name.as_deref().and_then(clean_name),
            size_bytes: self.size_bytes,
            addresses: keep(&self.addresses, parameter::is_address),
            trackers: keep(&self.trackers, parameter::is_tracker),
        }
    }

    /// The checksum; `name` as it is written, before it is cleaned.
    fn check(&self, name: Option<&str>) -> String {
        let mut values = String::new();
        let mut add = |kind: char, value: &str| {
            // Infallible for strings. The length keeps two values apart from one.
            let _ = write!(values, "{kind}{}:{value}", value.len());
        };
        name.iter().for_each(|name| add('n', name));
        self.size_bytes.iter().for_each(|size| add('s', &size.to_string()));
        self.addresses.iter().for_each(|address| add('a', address));
        self.trackers.iter().for_each(|tracker| add('t', tracker));
        let bytes: [u8; 5] = Arrow::LinkCheck.public(&[self.secret.key().as_bytes(), values.as_bytes()]);
        let mut check = text::lower_base32(&bytes);
        check.truncate(CHECK_CHARACTERS);
        check
    }
}

/// Where the key begins, behind `syncd://` or behind the `#` of a web address.
fn payload_start(text: &str) -> Result<usize, LinkError> {
    let start = text.len() - text.trim_start().len();
    let scheme_ends = |from: usize, scheme: &str| {
        let end = from + scheme.len();
        text.get(from..end).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)).then_some(end)
    };
    if let Some(end) = scheme_ends(start, "syncd://") {
        return Ok(end);
    }
    scheme_ends(start, "https://").ok_or(LinkError::Scheme)?;
    let fragment = start + text[start..].find('#').ok_or(LinkError::NoFragment)? + 1;
    Ok(scheme_ends(fragment, "syncd://").unwrap_or(fragment))
}

#[cfg(test)]
mod tests;
