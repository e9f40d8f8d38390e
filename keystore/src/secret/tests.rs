use proptest::prelude::*;

use super::*;
use crate::text::hex;

/// S = 00 01 … 13, the secret of the golden vectors.
fn writer() -> FolderSecret {
    FolderSecret::new(std::array::from_fn(|i| i as u8))
}

fn reader() -> FolderSecret {
    FolderSecret::parse(&writer().read_only_key()).expect("a key")
}

#[test]
fn what_follows_from_a_secret_never_changes() {
    let secret = writer();
    let opening = secret.opening().expect("a writer");
    let derived = [
        secret.read_write_key().expect("a writer").to_string(),
        secret.read_only_key().to_string(),
        hex(&opening.verifying_key),
        hex(&opening.blinding),
        secret.folder_id().to_string(),
        secret.discovery_id().to_string(),
        secret.fingerprint(),
        hex(secret.swarm_key().as_bytes()),
        hex(secret.content_key().as_bytes()),
        hex(&secret.signer().expect("a writer").sign(b"a head")),
    ];
    let golden = [
        "AAAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT",
        "BE4RYY7COYR2W2EAQZV3YWN4PHBXLA4SP",
        "5594ad85c2b9ed7878238a78186d15a987c0569aaf9bf74f050c1f6151118c79",
        "56a4bcd0c87d39d4d9f9adb7a36f6794",
        "65q66xnygenxtfutgvn3uh2gxu",
        "bf3f9aa60ba202052268617d6dc009e84fb7fbfe",
        "3663 9030 7867 4724",
        "daf619ae63f0b6fa040d7779e48d6c53043bb8bf7486aa001fb5cb6ca1d88728",
        "87914f075d3b27458fe82aa7763c539372c05699f7de57e05fc40f7db3410f1e",
        "863e460a5c487aa5ed72e310b1e5fbfd6447dd046377832057ce1c21b521369c\
         ae76fc7e0a7aad3ee9ced67035ea607e1cdd257f13ef7cf1f55b9f8c4d95070d",
    ];
    assert_eq!(derived, golden);
}

#[test]
fn readers_and_writers_of_a_folder_know_it_by_the_same_names_and_keys() {
    let (writer, reader) = (writer(), reader());
    assert_eq!(writer.folder_id(), reader.folder_id());
    assert_eq!(writer.discovery_id(), reader.discovery_id());
    assert_eq!(writer.fingerprint(), reader.fingerprint());
    assert_eq!(writer.swarm_key().as_bytes(), reader.swarm_key().as_bytes());
    assert_eq!(writer.content_key().as_bytes(), reader.content_key().as_bytes());
    assert_eq!(writer.read_only_key(), reader.read_only_key());
}

#[test]
fn a_reader_has_nothing_that_writes() {
    let reader = reader();
    assert_eq!(reader.capability(), Capability::Read);
    assert_eq!(reader.read_write_key(), None);
    assert_eq!(reader.opening(), None);
    assert!(reader.signer().is_none());
}

#[test]
fn the_same_bytes_behind_another_letter_are_another_folder() {
    let key = writer().read_write_key().expect("a writer");
    let other = FolderSecret::parse(&key.replacen('A', "B", 1)).expect("a key");
    assert_ne!(other.folder_id(), writer().folder_id());
}

#[test]
fn a_reader_believes_the_opening_that_fits_its_key_and_no_other() {
    let opening = writer().opening().expect("a writer");
    let verifier = reader().check_opening(&opening).expect("the right opening");
    let signature = writer().signer().expect("a writer").sign(b"a head");
    assert!(verifier.verify(b"a head", &signature));
    assert!(!verifier.verify(b"another", &signature));

    let mallory = FolderSecret::new([66; 20]);
    let forged = mallory.signer().expect("a writer").sign(b"a head");
    assert!(!verifier.verify(b"a head", &forged));
    let lies = [
        mallory.opening().expect("a writer"),
        Opening { verifying_key: mallory.opening().expect("a writer").verifying_key, ..opening.clone() },
        Opening { verifying_key: opening.verifying_key, blinding: [0; 16] },
    ];
    for lie in lies {
        assert_eq!(reader().check_opening(&lie).err(), Some(OpeningError::OtherFolder));
    }
}

#[test]
fn a_folder_whose_maker_chose_a_weak_signing_key_is_not_trusted() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for verifying_key in [neutral, [0; 32], std::array::from_fn(|i| u8::from(i == 0) * 2)] {
        let opening = Opening { verifying_key, blinding: [7; 16] };
        let reader = FolderSecret { write: None, read: opening.read_secret() };
        assert_eq!(reader.check_opening(&opening).err(), Some(OpeningError::WeakKey), "{verifying_key:?}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let (secret, opening) = (writer(), writer().opening().expect("a writer"));
    let verifier = reader().check_opening(&opening).expect("the right opening");
    let shown = format!(
        "{secret:?} {:?} {opening:?} {verifier:?} {:?} {:?} {:?}",
        reader(),
        secret.signer(),
        secret.swarm_key(),
        secret.content_key()
    );
    let wanted = format!(
        "FolderSecret(write {id}) FolderSecret(read {id}) Opening(secret) FolderVerifier \
         Some(HeadSigner(secret)) SwarmKey((secret)) ContentKey((secret))",
        id = secret.folder_id()
    );
    assert_eq!(shown, wanted);
}

#[test]
fn capabilities_are_ordered_by_what_they_allow() {
    assert!(Capability::Store < Capability::Read && Capability::Read < Capability::Write);
    assert_eq!(
        [Capability::Write, Capability::Read, Capability::Store].map(|c| c.to_string()),
        ["write", "read", "store"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_writer_convinces_its_readers(random: [u8; 20], message: Vec<u8>) {
        let writer = FolderSecret::new(random);
        let reader = FolderSecret::parse(&writer.read_only_key()).expect("a key");
        let verifier = reader.check_opening(&writer.opening().expect("a writer")).expect("the right opening");
        prop_assert!(verifier.verify(&message, &writer.signer().expect("a writer").sign(&message)));
        prop_assert_eq!(writer.fingerprint().len(), 19);
        prop_assert_eq!(writer.fingerprint(), reader.fingerprint());
    }

    #[test]
    fn no_opening_makes_the_check_panic(verifying_key: [u8; 32], blinding: [u8; 16]) {
        let opening = Opening { verifying_key, blinding };
        let reader = FolderSecret { write: None, read: opening.read_secret() };
        let _ = reader.check_opening(&opening).map(|verifier| verifier.verify(b"", &[0; 64]));
    }
}
