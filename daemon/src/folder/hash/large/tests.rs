use std::thread;

use keystore::FolderSecret;
use proptest::prelude::*;
use protocol::chunk::{ContentHasher, MAX_CHUNK_BYTES, cuts};
use protocol::tree::MemoryNodes;

use super::*;

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn key() -> ContentKey {
    FolderSecret::new([7; 20]).content_key()
}

fn in_one_pass(bytes: &[u8]) -> Hashed {
    let mut hasher = ContentHasher::new(&key());
    hasher.update(bytes);
    hasher.finish()
}

/// Where the chunks end.
fn ends(bytes: &[u8]) -> Vec<usize> {
    cuts(bytes, true)
        .scan(0, |end, len| {
            *end += len;
            Some(*end)
        })
        .collect()
}

fn name_all(bytes: &[u8], before: Option<Before<'_>>, piece: usize) -> Hashed {
    let mut nodes = Vec::new();
    let mut fill = |buffer: &mut [u8], offset: u64| {
        let rest = &bytes[bytes.len().min(offset as usize)..];
        let len = rest.len().min(buffer.len()).min(piece);
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok::<_, io::Error>(len)
    };
    let mut keep = |more| {
        nodes.extend(more);
        Ok(())
    };
    // Other tests may hold the lock.
    let hashed = loop {
        if let Some(hashed) = name(&key(), before, &mut fill, &mut keep) {
            break hashed;
        }
        thread::yield_now();
    };
    let mut hashed = hashed.expect("readable");
    nodes.append(&mut hashed.nodes);
    Hashed { nodes, ..hashed }
}

/// What comes of a file that has held something else before.
fn name_again(before: &[u8], now: &[u8]) -> Hashed {
    let known = in_one_pass(before);
    let store = MemoryNodes::new();
    store.save(&known.nodes).expect("save");
    name_all(now, Some((&store, known.id, known.size)), usize::MAX)
}

#[test]
fn a_large_file_is_named_as_in_one_pass() {
    let mut bytes = random(20_000_003, 1);
    bytes[3_000_000..9_000_000].fill(0);
    for len in [bytes.len(), 16 << 20, MAX_CHUNK_BYTES, 100_000] {
        let expected = in_one_pass(&bytes[..len]);
        for piece in [usize::MAX, 1_234_567] {
            assert_eq!(name_all(&bytes[..len], None, piece), expected);
        }
    }
}

#[test]
fn an_error_of_the_reader_ends_it() {
    let fill = |buffer: &mut [u8], offset: u64| {
        if offset > 30_000_000 { Err(io::Error::other("torn out")) } else { Ok(buffer.len()) }
    };
    let failed = loop {
        if let Some(failed) = name(&key(), None, fill, |_| Ok(())) {
            break failed;
        }
        thread::yield_now();
    };
    assert_eq!(failed.expect_err("torn out").to_string(), "torn out");
}

#[test]
fn a_byte_behind_a_chunk_moves_its_end() {
    let before = random(6_000_000, 2);
    for end in ends(&before) {
        for at in [end.saturating_sub(1), end, end + 1] {
            let mut now = before.clone();
            let Some(byte) = now.get_mut(at) else { continue };
            *byte ^= 0x55;
            assert_eq!(name_again(&before, &now), in_one_pass(&now), "{at}");
        }
    }
}

#[test]
fn a_file_that_ends_with_a_known_chunk_is_named_as_in_one_pass() {
    let before = random(5_000_000, 3);
    for end in ends(&before) {
        for end in [end - 1, end, (end + 1).min(before.len())] {
            assert_eq!(name_again(&before, &before[..end]), in_one_pass(&before[..end]), "{end}");
        }
        let longer = [&before[..], &before[..end]].concat();
        assert_eq!(name_again(&before, &longer), in_one_pass(&longer), "{end}");
    }
}

#[test]
fn what_has_not_changed_is_not_cut_but_at_its_end() {
    let bytes = random(20_000_000, 4);
    let known = in_one_pass(&bytes);
    let store = MemoryNodes::new();
    store.save(&known.nodes).expect("save");
    let list = Known::load(&store, &known.id, known.size).expect("a list");
    let mut fill = |buffer: &mut [u8], offset: u64| {
        let rest = &bytes[bytes.len().min(offset as usize)..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok::<_, io::Error>(len)
    };
    let key = key();
    let (list_of, keep) = (ContentList::default(), &mut |_| Ok(()));
    let mut naming = Naming { key: &key, list: list_of, fill: &mut fill, keep };
    let (next, right) =
        guess(&mut naming, &list, &mut Window::default(), (0, 0)).expect("a thread").expect("readable");
    let ends = ends(&bytes);
    assert_eq!(right, ends.len() - 1);
    assert_eq!(next, Next::Cut { offset: ends[ends.len() - 3] as u64 });
}

#[derive(Debug, Clone)]
enum Edit {
    Overwrite(prop::sample::Index, usize),
    Zeros(prop::sample::Index, usize),
    Insert(prop::sample::Index, usize),
    Remove(prop::sample::Index, usize),
    /// What was before, once more, from one place to another.
    Copy(prop::sample::Index, prop::sample::Index, usize),
    Truncate(prop::sample::Index),
    Append(usize),
}

impl Edit {
    fn make(&self, bytes: &mut Vec<u8>, seed: u64) {
        let place = |index: &prop::sample::Index| index.index(bytes.len().max(1)).min(bytes.len());
        let range = |index: &prop::sample::Index, len: &usize| {
            let from = place(index);
            from..(from + len).min(bytes.len())
        };
        match self {
            Self::Overwrite(at, len) => {
                let range = range(at, len);
                let new = random(range.len(), seed);
                bytes[range].copy_from_slice(&new);
            }
            Self::Zeros(at, len) => {
                let range = range(at, len);
                bytes[range].fill(0);
            }
            Self::Insert(at, len) => {
                let at = place(at);
                bytes.splice(at..at, random(*len, seed));
            }
            Self::Remove(at, len) => {
                let range = range(at, len);
                bytes.drain(range);
            }
            Self::Copy(from, to, len) => {
                let (copied, to) = (bytes[range(from, len)].to_vec(), place(to));
                bytes.splice(to..to, copied);
            }
            Self::Truncate(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Append(len) => bytes.extend(random(*len, seed)),
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    use prop::sample::Index;
    let len = || prop_oneof![1..4_usize, 1..2_000_usize, 1..3_000_000_usize];
    prop_oneof![
        3 => (any::<Index>(), len()).prop_map(|(at, len)| Edit::Overwrite(at, len)),
        2 => (any::<Index>(), len()).prop_map(|(at, len)| Edit::Zeros(at, len)),
        3 => (any::<Index>(), len()).prop_map(|(at, len)| Edit::Insert(at, len)),
        3 => (any::<Index>(), len()).prop_map(|(at, len)| Edit::Remove(at, len)),
        2 => (any::<Index>(), any::<Index>(), len()).prop_map(|(from, to, len)| Edit::Copy(from, to, len)),
        1 => any::<Index>().prop_map(Edit::Truncate),
        1 => len().prop_map(Edit::Append),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_edited_file_is_named_as_in_one_pass(
        len in 100_000..12_000_000_usize,
        first in prop::collection::vec(edit(), 0..3),
        then in prop::collection::vec(edit(), 0..6),
        seed in any::<u64>(),
    ) {
        let mut bytes = random(len, seed);
        for (number, edit) in first.iter().enumerate() {
            edit.make(&mut bytes, seed.wrapping_add(number as u64));
        }
        let before = bytes.clone();
        for (number, edit) in then.iter().enumerate() {
            edit.make(&mut bytes, seed.wrapping_sub(1 + number as u64));
        }
        // Shorter files are not named this way.
        prop_assume!(before.len() > 65_536 && bytes.len() > 65_536);
        prop_assert_eq!(name_again(&before, &bytes), in_one_pass(&bytes));
    }
}
