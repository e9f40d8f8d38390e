use proptest::prelude::*;

use super::*;
use crate::{Capability, FolderSecret};

const READ_KEY: &str = "BLZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX";

fn error(text: &str) -> KeyError {
    FolderSecret::parse(text).expect_err("no key")
}

#[test]
fn a_key_of_letter_b_reads() {
    let secret = FolderSecret::parse(READ_KEY).expect("a key");
    assert_eq!(secret.capability(), Capability::Read);
    assert_eq!(*secret.read_only_key(), READ_KEY);
    assert_eq!(secret.read_write_key(), None);
}

#[test]
fn case_spaces_and_dashes_are_forgiven() {
    let wanted = FolderSecret::parse(READ_KEY).expect("a key");
    for typed in [
        "blzauabvopobj5augksqire7emfk7qdax",
        "  BLZA UABV OPOB J5AU GKSQ IRE7 EMFK 7QDA X\r\n",
        "b-LZAUABVO-POBJ5AUG-KSQIRE7E-MFK7QDAX-",
        "\u{feff}BLZAUABV\u{200b}OPOBJ5AU\u{2011}GKSQIRE7\u{a0}EMFK7QDAX",
    ] {
        assert_eq!(FolderSecret::parse(typed).as_ref(), Ok(&wanted), "{typed:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place_in_the_text_as_typed() {
    use KeyError::*;
    for (typed, wanted) in [
        ("", Empty),
        (" - ", Empty),
        ("XLZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX", Letter { found: 'X', position: 1 }),
        ("  8LZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX", Letter { found: '8', position: 3 }),
        ("LZAUABVOPOBJ5AUGKSQIRE7EMFK7QDAX", LetterMissing),
        ("BLZA0ABVOPOBJ5AUGKSQIRE7EMFK7QDAX", Character { found: '0', position: 5 }),
        ("BLZA-0ABV-OPOBJ5AUGKSQIRE7EMFK7QDAX", Character { found: '0', position: 6 }),
        ("ééé", Letter { found: 'é', position: 1 }),
        ("Bé1", Character { found: 'é', position: 2 }),
        // No letter of another alphabet becomes one of ours by changing its case.
        ("B\u{131}ZA", Character { found: '\u{131}', position: 2 }),
        ("B", TooShort { position: 1, found: 1, wanted: 33 }),
        (&READ_KEY[..32], TooShort { position: 32, found: 32, wanted: 33 }),
        (&format!("{READ_KEY} Q"), TooLong { position: 35, wanted: 33 }),
        (&format!("{READ_KEY}!"), TooLong { position: 34, wanted: 33 }),
        (&READ_KEY.replacen('B', "E", 1), TooShort { position: 33, found: 33, wanted: 65 }),
    ] {
        assert_eq!(error(typed), wanted, "{typed:?}");
    }
}

#[test]
fn each_digit_that_is_in_no_key_comes_with_a_hint() {
    for (digit, hint) in [('0', "letter O"), ('1', "letter I or L"), ('8', "letter B"), ('9', "letter G")] {
        let message = error(&READ_KEY.replacen('Z', &digit.to_string(), 1)).to_string();
        assert!(message.contains(&format!("'{digit}' at position 3")), "{message}");
        assert!(message.contains(hint), "{message}");
    }
}

#[test]
fn reserved_letters_say_so_once_their_form_is_right() {
    for letter in ['C', 'D', 'E', 'F', 'c'] {
        let mut typed = READ_KEY.replacen('B', &letter.to_string(), 1);
        if letter == 'E' {
            typed.push_str(&READ_KEY[1..]);
        }
        let upper = letter.to_ascii_uppercase();
        assert_eq!(error(&typed), KeyError::NotUsableYet { letter: upper });
        let message = error(&typed).to_string();
        assert!(message.contains("cannot use yet"), "{message}");
    }
}

#[test]
fn no_error_repeats_what_was_typed() {
    let body = &READ_KEY[1..];
    let wrong = ["A", "B", "C", "D", "E", "F", "G", "1", ""].iter().flat_map(|letter| {
        ["", "0", "é", "Q", " and more"]
            .map(|tail| [format!("{letter}{body}{tail}"), format!("{letter}{tail}{body}")])
    });
    for typed in wrong.flatten() {
        let Err(error) = FolderSecret::parse(&typed) else { continue };
        let shown = format!("{error} {error:?}").to_uppercase();
        let leaked = body.as_bytes().windows(4).any(|part| shown.as_bytes().windows(4).any(|s| s == part));
        assert!(!leaked, "{typed}: {shown}");
    }
}

#[test]
fn hexadecimal_digits_are_read_in_one_form_only() {
    assert_eq!(parse_hex(&hex(&[0, 0x9a, 0xff])), Some([0, 0x9a, 0xff]));
    for wrong in ["009af", "009afff", "009aF0", "+09aff", "é9aff"] {
        assert_eq!(parse_hex::<3>(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn every_write_key_is_read_back(random: [u8; 20]) {
        let secret = FolderSecret::new(random);
        let text = secret.read_write_key().expect("a writer");
        prop_assert!(text.len() == 33 && text.starts_with('A'));
        let again = FolderSecret::parse(&text).expect("a key");
        prop_assert_eq!(again.capability(), Capability::Write);
        prop_assert_eq!(again, secret);
    }

    #[test]
    fn every_read_key_is_read_back_however_it_is_grouped(random: [u8; 20], every in 1usize..34, lower: bool) {
        let text = FolderSecret::new(random).read_only_key();
        let mut typed: String = text.as_bytes().chunks(every).map(|part| String::from_utf8_lossy(part) + " ").collect();
        if lower {
            typed = typed.to_lowercase();
        }
        let again = FolderSecret::parse(&typed).expect("a key");
        prop_assert_eq!(again.capability(), Capability::Read);
        prop_assert_eq!(&*again.read_only_key(), &*text);
    }

    #[test]
    fn keys_of_reserved_kinds_are_recognised(letter in "[CDF]", body in "[A-Z2-7]{32}", more in "[A-Z2-7]{32}") {
        let wanted = KeyError::NotUsableYet { letter: letter.chars().next().expect("one") };
        prop_assert_eq!(error(&format!("{letter}{body}")), wanted);
        prop_assert_eq!(error(&format!("E{body}{more}")), KeyError::NotUsableYet { letter: 'E' });
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String, near in "[AB]?[A-Za-z0-9é \\-]{25,70}") {
        for text in [text, near] {
            if let Err(error) = FolderSecret::parse(&text) {
                let _ = error.to_string();
            }
        }
    }
}
