//! The settings as data: names, types, defaults and reasons, in the order of the file.
//!
//! Everything else about settings (the typed form, the default file, `config get`) is derived from
//! [`SETTINGS`] or checked against it.

use toml_edit::Value;

use super::duration::parse_duration;
use super::rate::parse_rate;

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// `true` or `false`.
    Switch,
    /// `true`, `false` or `"loopback"`.
    Lan,
    /// Seconds, or text such as `"1h30m"`.
    Duration,
    /// Bytes a second, or text such as `"2M"`; 0 is without limit.
    Rate,
    /// A whole number up to this one.
    Number(i64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    List,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its full name, `table.key` or `key`.
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default, as TOML.
    pub default: &'static str,
    /// What it does and why the default is what it is; the lines of its comment.
    pub about: &'static [&'static str],
    /// Whether `[folder.ID]` may override it.
    pub per_folder: bool,
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static [&'static str],
) -> Setting {
    Setting { key, kind, default, about, per_folder: true }
}

const fn global(
    key: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static [&'static str],
) -> Setting {
    Setting { key, kind, default, about, per_folder: false }
}

/// All settings. Those of one table stand together; those without a table come first.
pub const SETTINGS: &[Setting] = &[
    setting(
        "name",
        Kind::Text,
        "\"\"",
        &[
            "What peers see, and what conflict copies of your edits are marked with.",
            "Empty: the host name. At most 32 bytes are used as the mark.",
        ],
    ),
    setting(
        "atomic",
        Kind::Switch,
        "false",
        &[
            "Show first syncs and huge steps only when they are whole, too.",
            "Off, because then nothing at all would show until the last byte is here.",
        ],
    ),
    setting(
        "last",
        Kind::List,
        "[]",
        &[
            "Paths that change at the very end of a step, such as [\"index.html\", \"current\"],",
            "so that whoever reads them finds what they point to.",
        ],
    ),
    setting(
        "discovery.lan",
        Kind::Lan,
        "true",
        &[
            "Find peers in the local network by small beacons that name no folder.",
            "true, false, or \"loopback\" for this machine only.",
            "On, because it needs nobody else and tells strangers nothing.",
        ],
    ),
    setting(
        "discovery.dht",
        Kind::Switch,
        "true",
        &[
            "Find peers through the Mainline DHT, which millions of BitTorrent programs keep up.",
            "On, because with it a key alone is enough anywhere. Its nodes learn this machine's",
            "address and a number that only holders of the key can derive; neither names nor files.",
        ],
    ),
    setting(
        "discovery.dht_bootstrap",
        Kind::List,
        "[]",
        &[
            "Where to enter the DHT, \"host:port\". Empty: the nodes that BitTorrent programs use",
            "(router.bittorrent.com:6881 and others); needed at the first start only, since nodes",
            "that have answered are remembered.",
        ],
    ),
    setting(
        "discovery.trackers",
        Kind::List,
        "[]",
        &[
            "Trackers to announce to, such as [\"udp://tracker.example:6969\"]; https and http too.",
            "All items of the list are asked, side by side, since peers may know only one of them. An",
            "item with blanks in it names alternatives, such as [\"udp://mine:6969 udp://spare:6969\"]:",
            "the next is asked while all before it fail.",
            "None is set: whose would it be? `syncd tracker` runs one of your own, which also helps",
            "devices behind routers to reach each other. Links carry them to others.",
        ],
    ),
    setting(
        "discovery.peer_exchange",
        Kind::Switch,
        "true",
        &[
            "Tell the peers of a folder about each other, so that who has met one has met all.",
            "They have proved the key; nobody else is told.",
        ],
    ),
    global(
        "discovery.port_mapping",
        Kind::Switch,
        "true",
        &[
            "Ask the router to let peers in (UPnP, NAT-PMP, PCP), to the UDP port of syncd alone.",
            "On, because one reachable device of a folder is what all others need.",
        ],
    ),
    setting(
        "discovery.relay",
        Kind::Switch,
        "true",
        &[
            "Send sealed packets through a tracker of the folder when two devices cannot reach each",
            "other otherwise. It cannot read them; a direct way replaces it as soon as there is one.",
        ],
    ),
    setting("limits.down", Kind::Rate, "0", &["Bytes a second, or \"500K\", \"2M\"; 0 is without limit."]),
    setting("limits.up", Kind::Rate, "0", &["The same for what is sent."]),
    setting(
        "scan.interval",
        Kind::Duration,
        "\"1h\"",
        &[
            "How often to look at every file, beside what the system reports as it happens:",
            "seconds, or text such as \"90s\", \"15m\", \"1h30m\", \"1d\"; 0 is never.",
            "Where the system reports nothing and this is not set, it is 60 s.",
        ],
    ),
    setting(
        "archive.days",
        Kind::Number(36_500),
        "30",
        &["How long replaced and removed files stay in .syncd/archive; 0 keeps them for ever."],
    ),
    setting(
        "hold.deletions",
        Kind::Number(100),
        "30",
        &[
            "Stop and ask when more than this percentage of a folder (and more than 50 files)",
            "is deleted within a minute: mostly an accident. 0 never asks.",
        ],
    ),
    setting(
        "reader.local_changes",
        Kind::Choice(&["keep", "revert"]),
        "\"keep\"",
        &[
            "What becomes of edits in a folder that you may only read: \"keep\" leaves and reports",
            "them, \"revert\" moves them to the archive and shows the folder's state again.",
        ],
    ),
];

/// The setting of that name.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

impl Setting {
    /// The default as a value.
    pub fn default_value(&self) -> Value {
        self.default.parse().expect("each default is TOML; a test reads them all")
    }

    /// The table and the key in it.
    pub fn split(&self) -> (Option<&'static str>, &'static str) {
        match self.key.split_once('.') {
            Some((table, key)) => (Some(table), key),
            None => (None, self.key),
        }
    }

    /// Reads what a person typed for this setting: TOML, and text also without its quotation marks; a
    /// list also as its items with commas between them.
    pub fn parse_text(&self, text: &str) -> Value {
        let parsed = text.trim().parse::<Value>();
        if self.kind == Kind::List && !matches!(parsed, Ok(Value::Array(_))) && !text.trim().starts_with('[')
        {
            let items = text.split(',').map(|item| item.trim().trim_matches('"'));
            return Value::Array(items.filter(|item| !item.is_empty()).collect());
        }
        match parsed {
            Ok(value) if self.kind != Kind::Text || value.is_str() => value.decorated("", ""),
            _ => Value::from(text),
        }
    }

    /// Says what is wrong with a value, as the end of a sentence.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let wanted = |fits: bool, what: &str| if fits { Ok(()) } else { Err(format!("must be {what}")) };
        match self.kind {
            Kind::Text => wanted(value.is_str(), "text"),
            Kind::Switch => wanted(value.is_bool(), "true or false"),
            Kind::Lan => {
                wanted(value.is_bool() || value.as_str() == Some("loopback"), "true, false or \"loopback\"")
            }
            Kind::Duration => parse_duration(value).map(|_| ()),
            Kind::Rate => parse_rate(value).map(|_| ()),
            Kind::Number(most) => wanted(
                value.as_integer().is_some_and(|number| (0..=most).contains(&number)),
                &format!("a whole number from 0 to {most}"),
            ),
            Kind::Choice(words) => wanted(
                value.as_str().is_some_and(|word| words.contains(&word)),
                &words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or "),
            ),
            Kind::List => wanted(
                value.as_array().is_some_and(|list| list.iter().all(Value::is_str)),
                "a list of texts, such as [\"one\", \"two\"]",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        for setting in SETTINGS {
            setting.check(&setting.default_value()).unwrap_or_else(|why| panic!("{} {why}", setting.key));
        }
    }

    #[test]
    fn a_list_needs_no_brackets() {
        let trackers = find("discovery.trackers").unwrap();
        let read = |text| trackers.parse_text(text).to_string();
        assert_eq!(read("udp://a:1"), "[\"udp://a:1\"]");
        assert_eq!(read("udp://a:1, http://b/announce"), "[\"udp://a:1\", \"http://b/announce\"]");
        assert_eq!(read("[\"udp://a:1\"]"), "[\"udp://a:1\"]");
        assert_eq!(read("udp://a:1 udp://b:1, udp://c:1"), "[\"udp://a:1 udp://b:1\", \"udp://c:1\"]");
        assert_eq!(read(""), "[]");
        assert!(trackers.check(&trackers.parse_text("[1]")).is_err());
        assert!(trackers.check(&trackers.parse_text("[\"a\"")).is_err());
    }

    #[test]
    fn text_needs_no_quotation_marks() {
        assert_eq!(find("name").unwrap().parse_text("123").as_str(), Some("123"));
        assert_eq!(find("name").unwrap().parse_text("\"anna\"").as_str(), Some("anna"));
        assert_eq!(find("scan.interval").unwrap().parse_text("90s").as_str(), Some("90s"));
        assert_eq!(find("discovery.lan").unwrap().parse_text("false").as_bool(), Some(false));
        assert_eq!(find("discovery.lan").unwrap().parse_text("loopback").as_str(), Some("loopback"));
    }
}
