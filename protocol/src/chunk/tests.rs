#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use keystore::FolderSecret;

use super::*;

fn key() -> ContentKey {
    FolderSecret::new([42; 20]).content_key()
}

/// Fixed pseudo-random bytes: the first `len` of BLAKE3's output for a name.
fn bytes_of(name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn cuts(bytes: &[u8], pieces: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut chunker = Chunker::default();
    let mut lengths = Vec::new();
    let mut rest = bytes;
    for piece in pieces {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        chunker.push(now, |chunk| lengths.push(chunk.len()));
        rest = later;
    }
    chunker.push(rest, |chunk| lengths.push(chunk.len()));
    chunker.finish(|chunk| lengths.push(chunk.len()));
    lengths
}

fn hash(bytes: &[u8]) -> Hashed {
    let mut hasher = ContentHasher::new(&key());
    hasher.update(bytes);
    hasher.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn cut_points_are_what_they_have_always_been() {
    let bytes = bytes_of("syncd golden input", 4 * 1024 * 1024 + 12_345);
    assert_eq!(cuts(&bytes, []), GOLDEN_LENGTHS);
}

#[test]
fn ids_are_what_they_have_always_been() {
    let bytes = bytes_of("syncd golden input", 4 * 1024 * 1024 + 12_345);
    let hashed = hash(&bytes);
    let ids = [hash(b"").id, hash(&bytes[..65_536]).id, hashed.id].map(|id| hex(&id.0));
    assert_eq!(ids, GOLDEN_IDS);
    assert_eq!((hashed.size, hashed.chunks), (bytes.len() as u64, GOLDEN_LENGTHS.len() as u64));
}

#[test]
fn chunks_do_not_depend_on_how_the_bytes_arrive() {
    let mut bytes = bytes_of("arrival", 5_000_001);
    bytes[1_000_000..3_500_000].fill(0);
    let once = cuts(&bytes, []);
    let mut lengths = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let end = first_cut(rest);
        lengths.push(end);
        rest = &rest[end..];
    }
    assert_eq!(once, lengths, "as cut from the whole file");
    for piece in [4_096, 65_536, 100_003, 1 << 20, (1 << 20) + 1, 4 << 20] {
        assert_eq!(cuts(&bytes, std::iter::repeat_n(piece, bytes.len() / piece)), once, "pieces of {piece}");
    }
    assert_eq!(cuts(&bytes, [0, 1, 0, 2_000_000, 3, 0]), once);
}

#[test]
fn all_chunks_but_the_last_keep_the_bounds() {
    let lengths = cuts(&bytes_of("bounds", 9_000_000), []);
    let (last, others) = lengths.split_last().unwrap();
    assert!(others.iter().all(|len| (MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(len)), "{lengths:?}");
    assert!((1..=MAX_CHUNK_BYTES).contains(last));
}

#[test]
fn a_byte_in_front_changes_few_chunks() {
    let bytes = bytes_of("shift", 8_000_000);
    let ids = |bytes: &[u8]| {
        let mut ids = std::collections::BTreeSet::new();
        let mut chunker = Chunker::default();
        chunker.push(bytes, |chunk| _ = ids.insert(ChunkId::of(&key(), chunk)));
        chunker.finish(|chunk| _ = ids.insert(ChunkId::of(&key(), chunk)));
        ids
    };
    let before = ids(&bytes);
    let after = ids(&[&[0xff], &bytes[..]].concat());
    assert!(after.difference(&before).count() <= 3);
}

#[test]
fn a_small_file_is_one_chunk_and_never_a_hole() {
    for len in [0, 1, 65_535, 65_536] {
        let bytes = vec![0; len];
        let hashed = hash(&bytes);
        assert_eq!((hashed.size, hashed.chunks, hashed.nodes.len()), (len as u64, 1, 0));
        let id = ChunkId(hashed.id.0);
        assert!(!id.is_hole());
        assert!(id.verify(&key(), &bytes));
    }
}

#[test]
fn zeros_in_a_longer_file_are_holes() {
    let hashed = hash(&vec![0; 3_000_000]);
    assert_eq!(hashed.chunks, 3);
    let (id, root) = &hashed.nodes[0];
    assert_eq!(id.0, hashed.id.0);
    let node = crate::chunk_list::parse_node(root).unwrap();
    let crate::chunk_list::ListNode::Chunks(chunks) = node else { panic!("few chunks") };
    assert!(chunks.iter().all(|chunk| chunk.id.is_hole()));
    assert_eq!(chunks.iter().map(|chunk| chunk.len).sum::<u32>(), 3_000_000);
    assert!(ChunkId::HOLE.verify(&key(), &[0; 1000]));
    let mut almost = vec![0; 1000];
    almost[999] = 1;
    assert!(!ChunkId::HOLE.verify(&key(), &almost));
    almost[999] = 0;
    almost[3] = 1;
    assert!(!ChunkId::HOLE.verify(&key(), &almost));
}

#[test]
fn another_folder_names_the_same_bytes_otherwise() {
    let bytes = bytes_of("names", 200_000);
    let mut other = ContentHasher::new(&FolderSecret::new([43; 20]).content_key());
    other.update(&bytes);
    assert_ne!(other.finish().id, hash(&bytes).id);
    assert!(!ChunkId::of(&FolderSecret::new([43; 20]).content_key(), &bytes).verify(&key(), &bytes));
}

#[test]
fn nodes_can_be_taken_as_they_close() {
    // Chunks of zeros are the quickest way to a long list.
    let mut hasher = ContentHasher::new(&key());
    let mut taken = Vec::new();
    let piece = vec![0; GOOD_PIECE_BYTES];
    for _ in 0..20 {
        hasher.update(&piece);
        taken.extend(hasher.take_nodes());
    }
    assert!(!taken.is_empty());
    let hashed = hasher.finish();
    assert_eq!(hashed.chunks, 80);
    assert_eq!(hashed.nodes.last().unwrap().0.0, hashed.id.0);
}

const GOLDEN_LENGTHS: &[usize] =
    &[539041, 378394, 366341, 317634, 288324, 100603, 481428, 164899, 264374, 778886, 526725];
/// Of no bytes, of the first 64 KiB, of all.
const GOLDEN_IDS: [&str; 3] = [
    "98f612a2cecfcf5dd7a8a1e3d1f97aa0d56e560b5c266d4754d3dcd0438f70c7",
    "2565afaa910c2f0d25f0f3f5017afb03d53b8c69a128ca6ff7600d768b78412b",
    "049864acac980a54b01b29066286100b3658ae05d2dc17504c7d044a8c535db8",
];
