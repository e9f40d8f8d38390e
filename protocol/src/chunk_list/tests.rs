#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::chunk::ChunkId;
use crate::entry::ContentId;
use crate::store::{NodeId, NodeStore};
use crate::tree::{MemoryNodes, Pull, PullError};

fn some_chunk(number: u32) -> (ChunkId, usize) {
    let id = blake3::hash(&number.to_le_bytes());
    (ChunkId(*id.as_bytes()), 70_000 + (number % 1000) as usize)
}

fn build(nodes: &MemoryNodes, chunks: impl Iterator<Item = (ChunkId, usize)>) -> (ContentId, u64, u64) {
    let mut builder = ListBuilder::default();
    let mut size = 0;
    for (id, len) in chunks {
        builder.push(id, len);
        size += len as u64;
        nodes.save(&builder.take_nodes()).unwrap();
    }
    let count = builder.chunks();
    let (root, rest) = builder.finish().unwrap();
    nodes.save(&rest).unwrap();
    (ContentId(root.0), size, count)
}

#[test]
fn a_list_of_any_length_reads_back_as_it_was_written() {
    for length in [1, 2, 31, 32, 33, 64, 255, 256, 257, 5_000, 40_000] {
        let nodes = MemoryNodes::new();
        let (id, size, count) = build(&nodes, (0..length).map(some_chunk));
        let list = ChunkList::load(&nodes, &id, size).unwrap();
        assert_eq!((list.count(), count), (length.into(), length.into()));
        let mut offset = 0;
        let mut seen = 0;
        for (number, chunk) in list.iter().enumerate() {
            let (id, len) = some_chunk(number as u32);
            let len = len as u32;
            assert_eq!(chunk.unwrap(), Located { number: number as u64, offset, id, len });
            offset += u64::from(len);
            seen += 1;
        }
        assert_eq!((seen, offset), (length, size));
    }
}

#[test]
fn one_chunk_is_found_by_loading_one_node_a_level() {
    let nodes = MemoryNodes::new();
    let (id, size, count) = build(&nodes, (0..40_000).map(some_chunk));
    let list = ChunkList::load(&nodes, &id, size).unwrap();
    for number in [0, 1, 31_415, count - 1] {
        let before = nodes.loads();
        let found = list.locate(number).unwrap().unwrap();
        assert_eq!((found.number, found.id), (number, some_chunk(number as u32).0));
        assert!(nodes.loads() - before <= 3);
    }
    assert_eq!(list.locate(count).unwrap(), None);
}

#[test]
fn a_small_change_makes_small_parts() {
    let nodes = MemoryNodes::new();
    build(&nodes, (0..40_000).map(some_chunk));
    let before = nodes.ids();
    let inserted = (0..40_000).flat_map(|n| if n == 20_000 { vec![99_999, n] } else { vec![n] });
    build(&nodes, inserted.map(some_chunk));
    let mut new = nodes.ids();
    new.retain(|id| before.binary_search(id).is_err());
    assert!(new.len() <= 8, "{} new nodes", new.len());
}

#[test]
fn a_node_is_about_four_kilobytes() {
    let nodes = MemoryNodes::new();
    build(&nodes, (0..40_000).map(some_chunk));
    let lengths = nodes.ids().into_iter().map(|id| nodes.load(&id).unwrap().unwrap().len());
    let average = lengths.sum::<usize>() / nodes.len();
    assert!((3_000..5_000).contains(&average), "{average}");
}

#[test]
fn a_huge_hole_costs_next_to_nothing() {
    let nodes = MemoryNodes::new();
    let hole = (ChunkId::HOLE, crate::chunk::MAX_CHUNK_BYTES);
    let (id, size, _) = build(&nodes, std::iter::repeat_n(hole, 1 << 20));
    assert_eq!(size, 1 << 40);
    assert!(nodes.len() < 20);
    let list = ChunkList::load(&nodes, &id, size).unwrap();
    assert_eq!(list.locate(1_000_000).unwrap().unwrap().offset, 1_000_000 << 20);
}

#[test]
fn a_content_of_one_chunk_needs_no_list() {
    let nodes = MemoryNodes::new();
    for size in [0, 1, 65_536] {
        let list = ChunkList::load(&nodes, &ContentId([7; 32]), size).unwrap();
        let only: Vec<_> = list.iter().map(Result::unwrap).collect();
        let id = ChunkId([7; 32]);
        assert_eq!(only, [Located { number: 0, offset: 0, id, len: size as u32 }]);
    }
    let missing = ChunkList::load(&nodes, &ContentId([7; 32]), 65_537);
    assert!(matches!(missing.err(), Some(ListError::Missing(_))));
}

#[test]
fn a_list_that_does_not_add_up_is_refused() {
    let nodes = MemoryNodes::new();
    let (id, size, _) = build(&nodes, (0..5_000).map(some_chunk));
    assert!(matches!(ChunkList::load(&nodes, &id, size + 1).err(), Some(ListError::Size { .. })));

    // A root that lies about the length of its first part.
    let root = parse_node(&nodes.load(&NodeId(id.0)).unwrap().unwrap()).unwrap();
    let ListNode::Parts { level, mut parts } = root else { panic!("a high list") };
    parts[0].bytes += 1;
    let lie = ListNode::Parts { level, parts }.encode();
    nodes.save(&[(NodeId::of(&lie), lie.clone())]).unwrap();
    let list = ChunkList::load(&nodes, &ContentId(NodeId::of(&lie).0), size + 1).unwrap();
    let read: Result<Vec<_>, _> = list.iter().collect();
    assert!(matches!(read, Err(ListError::Node(_))));
}

#[test]
fn a_list_that_contains_itself_ends() {
    // Addresses are hashes, so only a forged store can say so; levels must go down all the same.
    let nodes = MemoryNodes::new();
    let id = NodeId([1; 32]);
    let part = Part { node: id, bytes: 100_000, chunks: 1 };
    let node = ListNode::Parts { level: 3, parts: vec![part] }.encode();
    nodes.save(&[(id, node)]).unwrap();
    let list = ChunkList::load(&nodes, &ContentId(id.0), 100_000).unwrap();
    assert!(list.iter().next().unwrap().is_err());
}

#[test]
fn a_node_in_any_other_form_is_refused() {
    let chunks = |n: u32| {
        ListNode::Chunks((0..n).map(some_chunk).map(|(id, len)| ChunkRef { id, len: len as u32 }).collect())
    };
    let good = chunks(3).encode();
    assert_eq!(parse_node(&good).unwrap(), chunks(3));

    let mut trailing = good.to_vec();
    trailing.push(0);
    let long_level = [&[0x82, 0x18, 0x00][..], &good[2..]].concat();
    let indefinite = [&[0x9f][..], &good[1..], &[0xff]].concat();
    let huge_claim = [&[0x82, 0x00, 0x9b][..], &[0xff; 8]].concat();
    let zero_length = ListNode::Chunks(vec![ChunkRef { id: ChunkId([1; 32]), len: 0 }]).encode();
    let too_long = ListNode::Chunks(vec![ChunkRef { id: ChunkId([1; 32]), len: (1 << 20) + 1 }]).encode();
    let no_items = ListNode::Chunks(vec![]).encode();
    let too_many = chunks(257).encode();
    let part = Part { node: NodeId([1; 32]), bytes: u64::MAX, chunks: u64::MAX };
    let overflow = ListNode::Parts { level: 1, parts: vec![part, part] }.encode();
    let part = Part { node: NodeId([1; 32]), bytes: 1, chunks: 1 };
    let too_high = ListNode::Parts { level: MAX_LEVEL + 1, parts: vec![part] }.encode();
    let overripe = ListNode::Chunks(vec![ChunkRef { id: ChunkId([0; 32]), len: 1 }; 40]).encode();
    let others: [&[u8]; 11] = [
        &trailing,
        &long_level,
        &indefinite,
        &huge_claim,
        &zero_length,
        &too_long,
        &no_items,
        &too_many,
        &overflow,
        &too_high,
        &overripe,
    ];
    for (number, bytes) in others.into_iter().enumerate() {
        assert!(parse_node(bytes).is_err(), "number {number}");
    }
}

#[test]
fn a_list_is_pulled_from_a_peer_and_only_what_is_new() {
    let (alice, bob) = (MemoryNodes::new(), MemoryNodes::new());
    build(&bob, (1..5_000).map(some_chunk));
    let (id, size, count) = build(&alice, (0..5_000).map(some_chunk));
    let mut pull = Pull::<ChunkListKind>::new(NodeId(id.0), ExpectedPart::Root { size });
    let mut fetched = 0;
    while !pull.is_complete() {
        for wanted in pull.poll_wanted(&bob, 100).unwrap() {
            pull.handle_node(&bob, &alice.load(&wanted).unwrap().unwrap()).unwrap();
            fetched += 1;
        }
    }
    pull.finish(&bob).unwrap();
    assert!(fetched <= 6, "{fetched} nodes fetched");
    assert_eq!(ChunkList::load(&bob, &id, size).unwrap().iter().count() as u64, count);
}

#[test]
fn a_list_of_another_size_than_the_entry_says_is_not_pulled() {
    let (alice, bob) = (MemoryNodes::new(), MemoryNodes::new());
    let (id, size, _) = build(&alice, (0..5_000).map(some_chunk));
    let mut pull = Pull::<ChunkListKind>::new(NodeId(id.0), ExpectedPart::Root { size: size - 1 });
    let wanted = pull.poll_wanted(&bob, 100).unwrap();
    let root = alice.load(&wanted[0]).unwrap().unwrap();
    assert!(matches!(pull.handle_node(&bob, &root), Err(PullError::Malformed { .. })));
}

proptest::proptest! {
    #[test]
    fn garbage_is_never_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = parse_node(&bytes);
    }

    #[test]
    fn a_damaged_node_is_never_a_panic(at in 0usize..150, bit in 0u8..8) {
        let chunks = (0..4).map(some_chunk).map(|(id, len)| ChunkRef { id, len: len as u32 }).collect();
        let mut bytes = ListNode::Chunks(chunks).encode().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(node) = parse_node(&bytes) {
            proptest::prop_assert_eq!(node.encode(), bytes);
        }
    }
}
