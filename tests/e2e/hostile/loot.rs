//! What mallory has fetched while she could, to be played back later, truly or not.

use std::collections::BTreeMap;

use bytes::Bytes;
use harness::Device;
use keystore::FolderSecret;
use protocol::context::ContextItem;
use protocol::frame::{Frame, FrameDecoder, MAX_FRAME_BYTES};
use protocol::head::{Head, SignedHead};
use protocol::message::{CHUNK_HEADER_BYTES, ChunkHeader, ChunkWanted, NodeReply, Request};
use protocol::tree::{Item, ItemNodes, MemoryNodes, Pull, Tree};
use protocol::{Content, ContentId, Entry, NodeId, NodeStore, chunk_list};

use super::mallory::{Call, Mallory};
use super::silence;

/// One state of a folder, whole.
pub(super) struct Loot {
    pub(super) secret: FolderSecret,
    pub(super) heads: Vec<SignedHead>,
    pub(super) head: Head,
    nodes: MemoryNodes,
    pub(super) chunks: BTreeMap<(ContentId, u64), (ChunkWanted, Bytes)>,
}

impl Loot {
    /// Joins as any reader would, and fetches all there is.
    pub(super) fn fetch(device: &Device, key: &str) -> Self {
        let mallory = Mallory::new(90);
        let call = mallory.join(device, key, silence());
        let secret = FolderSecret::parse(key).expect("a key");
        let heads = call.heads();
        let head = Head::decode(&heads[0].bytes).expect("a head");
        let mut loot = Self { secret, heads, head, nodes: MemoryNodes::new(), chunks: BTreeMap::new() };
        loot.pull::<ContextItem>(&call, loot.head.context);
        loot.pull::<Entry>(&call, loot.head.entries);
        let entries = Tree::<Entry>::new(&loot.nodes, loot.head.entries).range(std::ops::Bound::Unbounded);
        let contents: Vec<Content> = entries.map(|entry| entry.unwrap().content).collect();
        for content in contents {
            if let Content::File { id, size } = content {
                loot.fetch_file(&call, id, size);
            }
        }
        loot
    }

    fn pull<I: Item>(&mut self, call: &Call, root: NodeId) {
        let mut pull = Pull::<ItemNodes<I>>::new(root, None);
        loop {
            let wanted = pull.poll_wanted(&self.nodes, 256).unwrap();
            if wanted.is_empty() {
                return pull.finish(&self.nodes).unwrap();
            }
            for bytes in self.ask_nodes(call, wanted) {
                pull.handle_node(&self.nodes, &bytes).unwrap();
            }
        }
    }

    fn ask_nodes(&self, call: &Call, ids: Vec<NodeId>) -> Vec<Bytes> {
        let replies = ask_nodes(call, self.secret.folder_id(), ids);
        let node = |reply| if let NodeReply::Node(bytes) = reply { bytes } else { panic!("it is there") };
        replies.into_iter().map(node).collect()
    }

    /// Files here are of one chunk, or of a list of one node.
    fn fetch_file(&mut self, call: &Call, content: ContentId, size: u64) {
        let mut wanted = vec![ChunkWanted { content, number: 0, len: u32::try_from(size).unwrap() }];
        if size > 64 * 1024 {
            let list = self.ask_nodes(call, vec![NodeId(content.0)]).remove(0);
            let chunk_list::ListNode::Chunks(chunks) = chunk_list::parse_node(&list).unwrap() else {
                panic!("a short list")
            };
            self.nodes.save(&[(NodeId(content.0), list)]).unwrap();
            let chunk = |(number, len)| ChunkWanted { content, number, len };
            wanted = (0..).zip(chunks.iter().map(|chunk| chunk.len)).map(chunk).collect();
        }
        let chunks = ask_chunks(call, self.secret.folder_id(), &wanted);
        for (wanted, bytes) in wanted.into_iter().zip(chunks) {
            self.chunks.insert((content, wanted.number), (wanted, bytes.expect("it is there")));
        }
    }

    /// The true answer.
    pub(super) fn answer(&self, request: &Request) -> Vec<u8> {
        match request {
            Request::Nodes { ids, .. } => {
                let reply = |id| self.nodes.load(id).unwrap().map_or(NodeReply::Gone, NodeReply::Node);
                ids.iter().flat_map(|id| reply(id).encode().encode()).collect()
            }
            Request::Chunks { chunks, .. } => chunks.iter().flat_map(|wanted| self.chunk(wanted)).collect(),
        }
    }

    fn chunk(&self, wanted: &ChunkWanted) -> Vec<u8> {
        match self.chunks.get(&(wanted.content, wanted.number)) {
            Some((_, bytes)) => [&ChunkHeader::Here { len: wanted.len }.encode()[..], bytes].concat(),
            None => ChunkHeader::Gone.encode().to_vec(),
        }
    }
}

/// Asks for nodes on the channel of that folder.
pub(super) fn ask_nodes(call: &Call, folder: keystore::FolderId, ids: Vec<NodeId>) -> Vec<NodeReply> {
    let request = Request::Nodes { channel: call.channel(folder), ids };
    let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES);
    decoder.push(&call.ask(request.encode().encode()));
    let mut frames: Vec<Frame> = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        frames.push(frame);
    }
    frames.iter().map(|frame| NodeReply::parse(frame).unwrap()).collect()
}

/// Asks for chunks on the channel of that folder.
pub(super) fn ask_chunks(
    call: &Call,
    folder: keystore::FolderId,
    wanted: &[ChunkWanted],
) -> Vec<Option<Bytes>> {
    let request = Request::Chunks { channel: call.channel(folder), chunks: wanted.to_vec() };
    let mut bytes = Bytes::from(call.ask(request.encode().encode()));
    let mut chunks = Vec::new();
    for wanted in wanted {
        let header = bytes.split_to(CHUNK_HEADER_BYTES);
        let header = ChunkHeader::parse(header[..].try_into().unwrap(), wanted).unwrap();
        chunks.push(match header {
            ChunkHeader::Here { len } => Some(bytes.split_to(len as usize)),
            ChunkHeader::Gone => None,
        });
    }
    chunks
}
