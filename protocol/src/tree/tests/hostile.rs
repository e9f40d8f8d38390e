use std::sync::Arc;

use minicbor::Encoder;
use proptest::prelude::*;

use super::support::{file, path, reachable, set, tree};
use crate::context::{Context, ContextItem, Label};
use crate::entry::{Content, ContentId, Entry, Metadata, Timestamp};
use crate::path::PathError;
use crate::store::NodeStore;
use crate::tree::{Child, Item, Malformed, MemoryNodes, Node, Tree, TreeError, levels_ended};
use crate::version::{Origin, Version};

fn leaf(entries: &[Entry]) -> Vec<u8> {
    Node::Leaf(entries.to_vec()).encode().expect("small").1.to_vec()
}

fn parse(bytes: &[u8]) -> Result<Node<Entry>, Malformed> {
    Node::parse(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An entry that has every field.
fn full() -> Entry {
    Entry {
        path: path("a/b"),
        version: Version { seq: 300, origin: Origin([7; 8]) },
        found: true,
        content: Content::Symlink { target: Arc::from(&b"../x"[..]) },
        metadata: Metadata {
            mtime: Timestamp { seconds: -2, nanos: 999_999_999 },
            mode: 0o7777,
            owner: Some((0, 1000)),
            attributes: vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), Vec::new())],
        },
        extra: vec![0x09, 0x82, 0x01, 0x20, 0x18, 0x64, 0x61, b'x'], // 9: [1, -1], 100: "x"
    }
}

/// A leaf of one entry at `path` with these encoded pairs.
fn raw_leaf(path: &[u8], pairs: u64, fields: &[&[u8]]) -> Vec<u8> {
    let mut to = Encoder::new(Vec::new());
    let head = to.array(2).and_then(|to| to.u8(0)?.array(1)?.array(3)?.u8(0)?.bytes(path)?.map(pairs));
    head.expect("memory");
    let mut bytes = to.into_writer();
    bytes.extend(fields.concat());
    bytes
}

const SEQ: &[u8] = &[0x01, 0x01];
const ORIGIN: &[u8] = &[0x02, 0x48, 1, 1, 1, 1, 1, 1, 1, 1];
const DIRECTORY: &[u8] = &[0x03, 0x81, 0x00];

#[test]
fn every_field_survives_those_of_newer_versions_included() {
    let directory =
        Entry { content: Content::Directory, metadata: Metadata::default(), ..file("a", 1, 1, 0) };
    for entry in [full(), directory, file("x", u64::MAX, 255, 9)] {
        assert_eq!(parse(&leaf(std::slice::from_ref(&entry))), Ok(Node::Leaf(vec![entry])));
    }
    assert!(parse(&raw_leaf(b"a", 3, &[SEQ, ORIGIN, DIRECTORY])).is_ok());
    assert!(parse(&raw_leaf(b"a", 4, &[SEQ, ORIGIN, DIRECTORY, &[0x09, 0xa0]])).is_ok());
}

#[test]
fn a_field_out_of_its_range_is_refused() {
    let cases: &[(&[u8], &[&[u8]])] = &[
        (b"../a", &[SEQ, ORIGIN, DIRECTORY]),
        (b"a", &[&[0x01, 0x00], ORIGIN, DIRECTORY]),
        (b"a", &[SEQ, &[0x02, 0x41, 1], DIRECTORY]),
        (b"a", &[SEQ, ORIGIN]),
        (b"a", &[SEQ, ORIGIN, &[0x03, 0x81, 0x09]]),
        (b"a", &[SEQ, ORIGIN, &[0x03, 0x82, 0x02, 0x40]]),
        (b"a", &[SEQ, ORIGIN, &[0x03, 0x82, 0x02, 0x41, 0]]),
        (b"a", &[SEQ, ORIGIN, DIRECTORY, &[0x05, 0x82, 0x00, 0x1a, 0x3b, 0x9a, 0xca, 0x00]]),
        (b"a", &[SEQ, ORIGIN, DIRECTORY, &[0x06, 0x19, 0x10, 0x00]]),
        (b"a", &[SEQ, ORIGIN, DIRECTORY, &[0x08, 0x82, 0x40, 0x40]]),
        (b"a", &[SEQ, ORIGIN, DIRECTORY, &[0x08, 0x84, 0x41, b'b', 0x40, 0x41, b'a', 0x40]]),
    ];
    for (path, fields) in cases {
        let refused = parse(&raw_leaf(path, fields.len() as u64, fields));
        assert!(refused.is_err(), "{refused:?}");
    }
    let kind = parse(&raw_leaf(b"a", 3, &[SEQ, ORIGIN, &[0x03, 0x81, 0x09]]));
    assert_eq!(kind, Err(Malformed::UnknownKind));
    let reserved = parse(&raw_leaf(b"a/.syncd", 3, &[SEQ, ORIGIN, DIRECTORY]));
    assert_eq!(reserved, Err(Malformed::Path(PathError::Reserved)));
}

#[test]
fn another_encoding_of_the_same_is_refused() {
    let cases: &[&[&[u8]]] = &[
        &[&[0x01, 0x18, 0x01], ORIGIN, DIRECTORY],            // long integer
        &[ORIGIN, SEQ, DIRECTORY],                            // order of fields
        &[SEQ, SEQ, ORIGIN, DIRECTORY],                       // twice
        &[SEQ, ORIGIN, DIRECTORY, &[0x04, 0xf4]],             // default written
        &[SEQ, ORIGIN, DIRECTORY, &[0x06, 0x00]],             // default written
        &[SEQ, ORIGIN, DIRECTORY, &[0x18, 0x09, 0x00]],       // long unknown field
        &[SEQ, ORIGIN, DIRECTORY, &[0x0a, 0x00, 0x09, 0x00]], // unknown out of order
        &[SEQ, ORIGIN, DIRECTORY, &[0x09, 0xff]],             // a break is no value
        &[SEQ, ORIGIN, DIRECTORY, &[0x09, 0x9f, 0xff]],       // indefinite length
    ];
    for fields in cases {
        let pairs = if fields.concat().ends_with(&[0x0a, 0x00, 0x09, 0x00]) { 5 } else { fields.len() };
        let refused = parse(&raw_leaf(b"a", pairs as u64, fields));
        assert!(refused.is_err(), "{} {refused:?}", hex(&fields.concat()));
    }
    let mut trailing = leaf(&[full()]);
    trailing.push(0);
    assert_eq!(parse(&trailing), Err(Malformed::NotCanonical));
}

#[test]
fn a_node_that_no_tree_would_contain_is_refused() {
    let entries: Vec<_> = (0..200).map(|n| file(&format!("f{n:03}"), 1, 1, 1)).collect();
    assert_eq!(parse(&leaf(&entries)), Err(Malformed::Boundary));
    let inside: Vec<_> =
        entries.iter().filter(|e| levels_ended::<Entry>(&e.key()) == 0).take(2).cloned().collect();
    assert!(parse(&leaf(&inside)).is_ok());
    assert_eq!(parse(&leaf(&[inside[1].clone(), inside[0].clone()])), Err(Malformed::Order));
    assert_eq!(parse(&leaf(&[inside[0].clone(), inside[0].clone()])), Err(Malformed::Order));

    let child = |entry: &Entry, count| Child { last: entry.key(), id: crate::NodeId([1; 32]), count };
    let inner = |level, children| {
        let node = Node::<Entry>::Inner { level, children };
        parse(&node.encode().expect("small").1).expect_err("refused")
    };
    assert_eq!(inner(1, vec![]), Malformed::Level);
    assert_eq!(inner(13, vec![child(&inside[0], 1)]), Malformed::Level);
    assert_eq!(inner(1, vec![child(&inside[0], 1), child(&inside[1], 1)]), Malformed::Boundary);
    assert_eq!(inner(1, vec![child(&inside[0], 0)]), Malformed::Field("a count"));
    let end = entries.iter().find(|e| levels_ended::<Entry>(&e.key()) == 1).expect("one of 32");
    let last = file("g", 1, 1, 1);
    assert_eq!(inner(1, vec![child(end, u64::MAX), child(&last, 1)]), Malformed::Field("a count"));
}

#[test]
fn long_paths_that_unpack_to_too_much_are_refused_before_they_do() {
    let long = "x".repeat(250) + &format!("/{}", "y".repeat(250)).repeat(60);
    let mut entries = (0..).map(|n| file(&format!("{long}/{n:06}"), 1, 1, 1));
    let long: Vec<_> = entries.by_ref().filter(|e| levels_ended::<Entry>(&e.key()) == 0).take(1200).collect();
    assert_eq!(Node::Leaf(long).encode(), Err(Malformed::TooLarge));
}

#[test]
fn an_entry_that_others_would_refuse_is_not_written() {
    let store = MemoryNodes::new();
    let tree = tree(&store, &set([]));
    let mut entry = file("a", 1, 1, 1);
    entry.metadata.attributes = vec![(b"user.a".to_vec(), vec![0; 5000])];
    let refused = tree.edit([(entry.key(), Some(entry.clone()))]);
    assert!(matches!(refused, Err(TreeError::Unfit(Malformed::Field(_)))));
    entry.metadata = Metadata { mode: 0o10_000, ..Metadata::default() };
    assert!(tree.edit([(entry.key(), Some(entry))]).is_err());
}

fn arbitrary_entry() -> impl Strategy<Value = Entry> {
    let content = prop_oneof![
        Just(Content::Directory),
        (any::<[u8; 32]>(), 0..1_u64 << 40).prop_map(|(id, size)| Content::File { id: ContentId(id), size }),
        prop::collection::vec(1_u8.., 1..50).prop_map(|target| Content::Symlink { target: target.into() }),
    ];
    let times = (any::<i64>(), 0..1_000_000_000_u32);
    let metadata = (times, 0..=0o7777_u16, any::<Option<(u32, u32)>>(), any::<bool>());
    ("[a-c]{1,3}(/[a-c]{1,3}){0,3}", 1_u64.., any::<[u8; 8]>(), any::<bool>(), content, metadata).prop_map(
        |(at, seq, origin, found, content, ((seconds, nanos), mode, owner, attributes))| Entry {
            path: path(&at),
            version: Version { seq, origin: Origin(origin) },
            found,
            content,
            metadata: Metadata {
                mtime: Timestamp { seconds, nanos },
                mode,
                owner,
                attributes: if attributes { full().metadata.attributes } else { Vec::new() },
            },
            extra: if attributes { full().extra } else { Vec::new() },
        },
    )
}

proptest! {
    #[test]
    fn any_entries_survive_a_tree(entries in prop::collection::vec(arbitrary_entry(), 0..80)) {
        let store = MemoryNodes::new();
        let entries = set(entries);
        let tree = tree(&store, &entries);
        let back: Vec<_> = tree.range(std::ops::Bound::Unbounded).collect::<Result<_, _>>().expect("whole");
        prop_assert_eq!(back, entries.into_values().collect::<Vec<_>>());
        reachable(&store, tree.root()); // parses each node strictly
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Node::<Entry>::parse(&bytes);
        let _ = Node::<ContextItem>::parse(&bytes);
    }

    #[test]
    fn damaged_nodes_never_panic_and_never_pass_for_another_node(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
    ) {
        let mut bytes = leaf(&[file("a", 1, 1, 1), full()]);
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(node) = Node::<Entry>::parse(&bytes) {
            prop_assert_eq!(node.encode().expect("whole").1, bytes);
        }
    }
}

#[test]
fn the_bytes_of_a_node_are_fixed() {
    let second = Entry { extra: Vec::new(), ..file("a/bc", 2, 1, 3) };
    let first = Entry { extra: Vec::new(), ..full() };
    let ends: Vec<_> = [&first, &second].map(|e| levels_ended::<Entry>(&e.key())).into();
    assert_eq!(ends, [0, 0]);
    assert_eq!(
        hex(&leaf(&[full()])),
        "820081830043612f62aa0119012c02480707070707070707038202442e2e2f7804f50582211a3b9ac9ff06190fff0782001903e8088446757365722e61413146757365722e62400982012018646178"
    );
    assert_eq!(
        hex(&leaf(&[first, second])),
        "820082830043612f62a80119012c02480707070707070707038202442e2e2f7804f50582211a3b9ac9ff06190fff0782001903e8088446757365722e61413146757365722e624083034163a5010202480101010101010101038301582003030303030303030303030303030303030303030303030303030303030303030305821a6553f10005061901a4"
    );
}

#[test]
fn the_shape_of_a_tree_is_fixed() {
    let ends = |at: &str| levels_ended::<Entry>(&file(at, 1, 1, 1).key());
    let ending: Vec<_> =
        (0..2000).map(|n| (n, ends(&format!("f{n}")))).filter(|(_, ends)| *ends > 0).collect();
    assert_eq!(ending.len(), 47);
    assert_eq!(ending[..4], [(116, 1), (265, 1), (289, 1), (306, 1)]);
    let store = MemoryNodes::new();
    let root = |count: u32| {
        tree(&store, &set((0..count).map(|n| file(&format!("d{}/f{n}", n % 5), 1, 1, 1)))).root()
    };
    assert_eq!(root(0).to_string(), "1fcc7ba9de8c8d03d06e96c12842ff14a91e40d8529a4d2722e8d4189df11beb");
    assert_eq!(root(3000).to_string(), "fdc5f6c9c466a8335c7bc693cf18a8841cb98f5439c99aa2c74a13786d8dc39e");
}

#[test]
fn the_bytes_of_a_context_are_fixed() {
    let store = MemoryNodes::new();
    let context = Context::new().with(Origin([1; 8]), Label::new("anna"), 300);
    let root = context.with(Origin([2; 8]), Label::new("b"), 1).save(&store).expect("memory");
    assert_eq!(
        hex(&store.load(&root).expect("memory").expect("whole")),
        "8200828348010101010101010119012c64616e6e6183480202020202020202016162"
    );
    assert_eq!(ContextItem::key_hash(&Origin([1; 8])), blake3::hash(&[1; 8]));
    assert_eq!(Tree::<ContextItem>::new(&store, root).count().expect("whole"), 2);
}
