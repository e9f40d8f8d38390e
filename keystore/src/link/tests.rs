use proptest::prelude::*;

use super::parameter::{is_address, is_tracker};
use super::*;
use crate::Capability;

const KEY: &str = "BLZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX";

fn link() -> Link {
    Link {
        name: Some("Fotos & Käse".to_owned()),
        size_bytes: Some(1_234_567),
        addresses: vec!["192.168.1.7:4455".to_owned(), "[2001:db8::1]:4455".to_owned()],
        trackers: vec!["udp://tracker.example:6969/announce?a=b".to_owned()],
        ..FolderSecret::parse(KEY).expect("a key").into()
    }
}

fn error(text: &str) -> LinkError {
    parse_key_or_link(text).expect_err("no link")
}

#[test]
fn the_text_of_a_link_never_changes() {
    let golden = "syncd://BLZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX?n=Fotos%20%26%20K%C3%A4se&s=1234567\
                  &a=192.168.1.7:4455&a=%5B2001:db8::1%5D:4455\
                  &t=udp://tracker.example:6969/announce%3Fa%3Db&c=tfu6fy";
    assert_eq!(*link().to_text(), golden);
}

#[test]
fn a_bare_key_is_a_link_with_nothing_else() {
    let link = parse_key_or_link(&format!(" {KEY}\n")).expect("a key");
    assert_eq!(link, Link::from(FolderSecret::parse(KEY).expect("a key")));
    assert_eq!(link.secret.capability(), Capability::Read);
}

#[test]
fn a_link_survives_what_browsers_and_messengers_do_to_it() {
    let text = link().to_text();
    let payload = text.strip_prefix("syncd://").expect("the scheme");
    let (key, query) = payload.split_once('?').expect("parameters");
    for changed in [
        format!("  {}\n", *text),
        format!("SYNCD://{payload}"),
        format!("https://any.site/#{payload}"),
        format!("HTTPS://any.site/join?lang=de#{payload}"),
        format!("https://any.site/#syncd://{payload}"),
        format!("syncd://{}/?{query}", key.to_lowercase()),
        format!("{}&utm_source=mail&x&&", *text),
        text.replace("%20", " ").replace("%C3%A4", "ä").replace("%3F", "?"),
    ] {
        assert_eq!(parse_key_or_link(&changed), Ok(link()), "{changed}");
    }
}

#[test]
fn a_checksum_notices_another_key_and_another_value() {
    let text = link().to_text();
    for (from, to) in
        [("LZAU", "LZAV"), ("1234567", "1234568"), ("4455", "4456"), ("Fotos", "Photos"), ("&c=", "&c=a")]
    {
        assert_eq!(error(&text.replacen(from, to, 1)), LinkError::Checksum, "{from}");
    }
    assert!(parse_key_or_link(&format!("syncd://{KEY}?n=x")).is_ok(), "a link may lack a checksum");
}

#[test]
fn what_is_wrong_with_a_link_is_said() {
    let parameter = |number, error| LinkError::Parameter { number, error };
    let many = "&a=h:1".repeat(MAX_ENTRIES + 1);
    for (text, wanted) in [
        ("http://any.site/#x".to_owned(), LinkError::Scheme),
        ("https://any.site/".to_owned(), LinkError::NoFragment),
        ("https://any.site/#".to_owned(), KeyError::Empty.into()),
        (" syncd://BLZ0".to_owned(), KeyError::Character { found: '0', position: 13 }.into()),
        ("https://é.site/#BLZ0".to_owned(), KeyError::Character { found: '0', position: 20 }.into()),
        (format!("syncd://{KEY}?x=%zz&n=%4"), parameter(2, ParameterError::Encoding)),
        (format!("syncd://{KEY}?n=%ff"), parameter(1, ParameterError::Encoding)),
        (format!("syncd://{KEY}?n=a&n=b"), parameter(2, ParameterError::Repeated)),
        (format!("syncd://{KEY}?n={}", "x".repeat(256)), parameter(1, ParameterError::Name)),
        (format!("syncd://{KEY}?s=-1"), parameter(1, ParameterError::Size)),
        (format!("syncd://{KEY}?s=99999999999999999999"), parameter(1, ParameterError::Size)),
        (format!("syncd://{KEY}?a=host"), parameter(1, ParameterError::Address)),
        (format!("syncd://{KEY}?t=tracker"), parameter(1, ParameterError::Tracker)),
        (format!("syncd://{KEY}?{many}"), parameter(MAX_ENTRIES + 2, ParameterError::TooMany)),
        (format!("syncd://{KEY}?x={}", "x".repeat(MAX_LINK_BYTES)), LinkError::TooLong),
    ] {
        let found = error(&text);
        assert_eq!(found, wanted, "{text}");
        assert!(!format!("{found} {found:?}").contains(&KEY[4..12]));
    }
}

#[test]
fn addresses_and_trackers_have_their_form() {
    for good in ["h:1", "host.example:65535", "192.0.2.1:4455", "[::1]:4455"] {
        assert!(is_address(good), "{good}");
    }
    for bad in
        ["", ":1", "h:", "h:0", "h:65536", "h:+1", "::1:4455", "[h]:1", "[::1]", "h h:1", "h\n:1", "é:1"]
    {
        assert!(!is_address(bad), "{bad}");
    }
    assert!(is_tracker("udp://[2001:db8::1]:6969") && is_tracker("https://t.example/announce"));
    for bad in ["", "udp://", "://x", "udp:x", "u dp://x", "udp://x\u{1b}[2J", "udp://é"] {
        assert!(!is_tracker(bad), "{bad}");
    }
}

#[test]
fn a_name_comes_out_fit_to_be_shown() {
    for (name, wanted) in [
        ("Fotos 2026", Some("Fotos 2026")),
        (" a\u{1b}[31m\nb ", Some("a-[31m-b")),
        ("\u{202e}gpj.exe", Some("-gpj.exe")),
        ("../../etc", Some("..-..-etc")),
        ("..", None),
        ("/", None),
        (" \u{200b} ", None),
    ] {
        assert_eq!(clean_name(name).as_deref(), wanted, "{name:?}");
    }
    let raw = format!("syncd://{KEY}?n=a%1bb");
    assert_eq!(parse_key_or_link(&raw).expect("a link").name.as_deref(), Some("a-b"));
}

#[test]
fn a_link_writes_only_what_it_would_read() {
    let wild = Link {
        name: Some("é".repeat(300)),
        addresses: [vec!["no address".to_owned()], vec!["h:1".to_owned(); 40]].concat(),
        trackers: vec!["x".repeat(600)],
        ..link()
    };
    let read = Link::parse(&wild.to_text()).expect("a link");
    assert_eq!(read.name, Some("é".repeat(127)));
    assert_eq!(read.addresses, vec!["h:1"; MAX_ENTRIES]);
    assert!(read.trackers.is_empty());
}

#[test]
fn debug_output_of_a_link_hides_its_key() {
    let shown = format!("{:?}", link());
    assert!(shown.contains("FolderSecret(read") && !shown.contains(&KEY[1..9]), "{shown}");
}

fn any_link() -> impl Strategy<Value = Link> {
    let address = prop_oneof!["[a-z0-9.-]{1,40}:[1-9][0-9]{0,3}", Just("[2001:db8::7]:4455".to_owned())];
    let tracker = "(udp|https)://[!-~]{1,60}";
    (
        any::<([u8; 20], bool)>(),
        any::<Option<String>>(),
        any::<Option<u64>>(),
        proptest::collection::vec(address, 0..=MAX_ENTRIES),
        proptest::collection::vec(tracker, 0..=MAX_ENTRIES),
    )
        .prop_map(|((random, writes), name, size_bytes, addresses, trackers)| {
            let writer = FolderSecret::new(random);
            let secret = match writes {
                true => writer,
                false => FolderSecret::parse(&writer.read_only_key()).expect("a key"),
            };
            let name = name.as_deref().and_then(clean_name);
            Link { secret, name, size_bytes, addresses, trackers }
        })
}

proptest! {
    #[test]
    fn every_link_is_read_back(link in any_link()) {
        let text = link.to_text();
        prop_assert_eq!(parse_key_or_link(&text), Ok(link.clone()));
        let web = text.replacen("syncd://", "https://any.site/#", 1);
        prop_assert_eq!(parse_key_or_link(&web), Ok(link));
    }

    #[test]
    fn cleaning_a_name_twice_is_cleaning_it_once(name: String) {
        if let Some(clean) = clean_name(&name) {
            prop_assert!(clean.len() <= MAX_NAME_BYTES && !clean.contains(char::is_control));
            prop_assert_eq!(clean_name(&clean), Some(clean));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String, query in "([nsatcx]=[ -~é]{0,12}&){0,6}") {
        for text in [text.clone(), format!("syncd://{text}"), format!("https://{text}"), format!("syncd://{KEY}?{query}")] {
            if let Err(error) = parse_key_or_link(&text) {
                let _ = error.to_string();
            }
        }
    }
}
