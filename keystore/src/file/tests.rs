use proptest::prelude::*;

use super::*;

fn sample() -> KeyFile {
    let writer = FolderSecret::new([5; 20]);
    let reader = FolderSecret::parse(&writer.read_only_key()).expect("a key");
    let folder = |secret, opening, created| KeyFileFolder {
        secret,
        path: b"/home/anna/Fotos \xff#\n".to_vec(),
        name: "Fotos # Käse".to_owned(),
        root_id: [0xab; 16],
        opening,
        created,
    };
    KeyFile {
        device: DeviceKey::from_seed([9; 32]),
        folders: vec![folder(writer.clone(), None, true), folder(reader, writer.opening(), false)],
    }
}

fn same(a: &KeyFile, b: &KeyFile) -> bool {
    a.device.seed() == b.device.seed() && a.folders == b.folders
}

fn encoded() -> String {
    String::from_utf8(sample().encode().to_vec()).expect("text")
}

fn error(text: &str) -> KeyFileError {
    KeyFile::decode(text.as_bytes()).expect_err("no key file")
}

#[test]
fn the_bytes_of_a_key_file_never_change() {
    let golden = [
        "syncd keys 1",
        "# Whoever has this file can read and change your folders. Keep it secret, and keep a copy.",
        "device BEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQ #c8188263",
        "folder AAUCQKBIFAUCQKBIFAUCQKBIFAUCQKBIF root=abababababababababababababababab \
         path=/home/anna/Fotos%20%FF%23%0A name=Fotos%20%23%20K%C3%A4se created #76335b29",
        "folder BYJ6A6FMGFDNML2N3OEKLZENVA3TT4STJ root=abababababababababababababababab \
         path=/home/anna/Fotos%20%FF%23%0A name=Fotos%20%23%20K%C3%A4se \
         opening=2067c3ebc6d0c09e590d1ee8f9b5811b4c01b7e80ff5f77c70de9b4c02748af9\
         fbd5816f69853debb8e54a156b7b3020 #aa423d16",
        "end 2 #16e0b133aea393e8de427bdf58fb5846",
    ];
    assert_eq!(encoded().lines().collect::<Vec<_>>(), golden);
}

#[test]
fn a_person_can_read_the_keys_in_it() {
    let text = encoded();
    for folder in sample().folders {
        assert!(text.contains(&format!("\nfolder {} ", *folder.secret.key())));
    }
}

#[test]
fn a_damaged_line_is_named() {
    let text = encoded();
    for (line, from, to) in
        [(3, "device ", "device A"), (4, "anna", "anne"), (5, "name=F", "name=G"), (6, " #", "")]
    {
        let damaged: String = text
            .split_inclusive('\n')
            .zip(1..)
            .map(
                |(content, number)| {
                    if number == line { content.replacen(from, to, 1) } else { content.to_owned() }
                },
            )
            .collect();
        assert_eq!(error(&damaged), KeyFileError::Damaged { line });
        assert!(error(&damaged).to_string().contains(&format!("line {line} ")));
    }
}

#[test]
fn lines_that_are_good_but_not_all_or_not_in_place_are_noticed() {
    let text = encoded();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let without: String = [&lines[..4], &lines[5..]].concat().concat();
    let swapped: String = [lines[0], lines[1], lines[2], lines[4], lines[3], lines[5]].concat();
    let warning_changed = text.replacen("Keep it", "Kept it", 1);
    let followed = format!("{text}{}", lines[3]);
    for changed in [without, swapped, warning_changed, followed] {
        assert_eq!(error(&changed), KeyFileError::Mixed, "{changed}");
    }
}

#[test]
fn a_file_that_was_cut_at_any_byte_is_refused() {
    let bytes = sample().encode();
    for length in 0..bytes.len() {
        assert!(KeyFile::decode(&bytes[..length]).is_err(), "{length}");
    }
    for (missing, line) in [(1, 6), (39, 6), (40, 5), (41, 5)] {
        let error = KeyFile::decode(&bytes[..bytes.len() - missing]).err();
        assert_eq!(error, Some(KeyFileError::Truncated { line }));
    }
}

#[test]
fn a_later_version_is_refused_by_its_number() {
    let newer = encoded().replacen("keys 1", "keys 7", 1);
    assert_eq!(error(&newer), KeyFileError::Newer { version: 7 });
    assert!(error(&newer).to_string().contains("format 7"));
}

#[test]
fn what_is_no_key_file_is_refused() {
    for other in ["", "\n", "syncd keys", "syncd keys 0\n", "SQLite format 3\0", "syncd keys 1\r\n"] {
        assert_eq!(error(other), KeyFileError::NoKeyFile, "{other:?}");
    }
    assert_eq!(KeyFile::decode(&vec![b'\n'; MAX_KEY_FILE_BYTES + 1]).err(), Some(KeyFileError::TooLarge));
}

/// Only a file that somebody made with our checksums gets that far.
#[test]
fn a_line_that_is_whole_and_not_understood_is_named_with_the_reason() {
    let title = format!("{TITLE}{VERSION}\n");
    let key = FolderSecret::new([5; 20]).key().to_string();
    for (said, reason) in [
        ("device abc".to_owned(), "it has no device key"),
        ("invitation x".to_owned(), "it begins with an unknown word, or is there twice"),
        ("folder BLZA root= path=".to_owned(), "it has no key"),
        (format!("folder {key} path=/a name=%ff"), "it has no name"),
        (format!("folder {key} path=/a name=a root=00"), "it has no root id"),
        (format!("folder {key} opening=é"), "its opening is malformed"),
        (format!("folder {key} colour=red"), "it has an unknown field"),
    ] {
        let mut text = title.clone();
        push_line(&mut text, |line| line.push_str(&said));
        assert_eq!(error(&text), KeyFileError::Malformed { line: 2, reason });
        assert!(!format!("{0} {0:?}", error(&text)).contains(&key[1..9]));
    }
    let end = format!("{title}end 0{CHECK_MARK}{}\n", end_check(title.as_bytes()));
    assert_eq!(error(&end), KeyFileError::Malformed { line: 2, reason: "no line has the device's key" });
}

#[test]
fn debug_output_of_a_key_file_hides_its_keys() {
    let file = sample();
    let shown = format!("{file:?}").to_uppercase();
    for folder in &file.folders {
        assert!(!shown.contains(&folder.secret.key()[1..9]), "{shown}");
    }
    let mut seed = String::new();
    text::push_base32(&mut seed, &*file.device.seed());
    assert!(!shown.contains(&seed[..8]) && shown.contains("OPENING(SECRET)"), "{shown}");
}

fn any_folder() -> impl Strategy<Value = KeyFileFolder> {
    (
        any::<([u8; 20], bool)>(),
        any::<Vec<u8>>(),
        any::<String>(),
        any::<[u8; 16]>(),
        any::<Option<([u8; 32], [u8; 16])>>(),
        any::<bool>(),
    )
        .prop_map(|((random, writes), path, name, root_id, opening, created)| {
            let writer = FolderSecret::new(random);
            let secret = match writes {
                true => writer,
                false => FolderSecret::parse(&writer.read_only_key()).expect("a key"),
            };
            let opening = opening.map(|(verifying_key, blinding)| Opening { verifying_key, blinding });
            KeyFileFolder { secret, path, name, root_id, opening, created }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_key_file_is_read_back(seed: [u8; 32], folders in proptest::collection::vec(any_folder(), 0..6)) {
        let file = KeyFile { device: DeviceKey::from_seed(seed), folders };
        let again = KeyFile::decode(&file.encode()).expect("a key file");
        prop_assert!(same(&again, &file));
    }

    #[test]
    fn no_changed_byte_goes_unnoticed(at: prop::sample::Index, to: u8) {
        let mut bytes = sample().encode().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(KeyFile::decode(&bytes).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, said in "(device|folder|end) [ -~é]{0,80}") {
        let _ = KeyFile::decode(&bytes);
        let mut text = format!("{TITLE}{VERSION}\n");
        push_line(&mut text, |line| line.push_str(&said));
        let _ = KeyFile::decode(text.as_bytes());
    }
}
