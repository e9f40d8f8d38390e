//! How answers are put together, without a network.

use protocol::ContentId;

use super::*;

/// Answers a question for chunks like this, and has nothing else.
struct Answering(fn(&[ChunkWanted]) -> Vec<Option<Bytes>>);

impl Serve for Answering {
    fn nodes(&self, _: &[NodeId]) -> Vec<Option<Bytes>> {
        Vec::new()
    }

    fn greeting(&self) -> Vec<Message> {
        Vec::new()
    }

    fn chunks(&self, wanted: &[ChunkWanted]) -> Vec<Option<Bytes>> {
        (self.0)(wanted)
    }
}

/// Every chunk but those of number 0.
fn all_but_the_first(wanted: &[ChunkWanted]) -> Vec<Option<Bytes>> {
    let chunk = |chunk: &ChunkWanted| (chunk.number > 0).then(|| vec![1; chunk.len as usize].into());
    wanted.iter().map(chunk).collect()
}

fn wanted(number: u64, len: usize) -> ChunkWanted {
    ChunkWanted { content: ContentId([7; 32]), number, len: len as u32 }
}

#[test]
fn short_chunks_go_together_and_long_ones_as_they_are() {
    let mut batch = vec![wanted(1, 4096); 100];
    batch.push(wanted(0, 10));
    batch.push(wanted(1, 300_000));
    batch.push(wanted(1, 5));
    let parts = chunk_parts(&Answering(all_but_the_first), &batch);
    let mut expected = Vec::new();
    for wanted in &batch {
        if wanted.number == 0 {
            expected.extend_from_slice(&ChunkHeader::Gone.encode());
        } else {
            expected.extend_from_slice(&ChunkHeader::Here { len: wanted.len }.encode());
            expected.resize(expected.len() + wanted.len as usize, 1);
        }
    }
    assert!(parts.concat() == expected, "what the other side reads is the same");
    assert_eq!(parts.len(), 100 * 4096 / PIECE_BYTES + 1 + 2);
    assert!(parts.iter().all(|part| part.len() <= PIECE_BYTES + SHORT_BYTES + 8 || part.len() == 300_000));
}

#[test]
fn a_server_that_answers_nothing_has_nothing() {
    let parts = chunk_parts(&Answering(|_| Vec::new()), &[wanted(1, 9), wanted(2, 9)]);
    assert_eq!(parts.concat(), [ChunkHeader::Gone.encode(), ChunkHeader::Gone.encode()].concat());
}
