//! Scans of a disk: what does not show its record.

use std::collections::BTreeSet;

use protocol::commit::Observation;
use protocol::engine::{Rules, Scan};
use protocol::{Content, NodeStore, Record, RelPath, Seen};

use crate::device::Device;
use crate::disk::{Node, hash};

/// Whether a path shows its record; `exactly`: also by `lstat`.
pub fn shows(record: Option<&Record>, node: Option<&Node>, exactly: bool) -> bool {
    match (record, node) {
        (None, None) => true,
        (Some(record), Some(node)) => {
            let seen = node.seen();
            let directory = record.shown.content.is_directory();
            let implied = directory && record.shown.entries.is_empty();
            record.shown.content == seen.content
                && (implied || same_metadata(record, &seen))
                && (!exactly || directory || record.stat == seen.stat)
        }
        _ => false,
    }
}

fn same_metadata(record: &Record, seen: &Seen) -> bool {
    let mode =
        matches!(seen.content, Content::Symlink { .. }) || record.shown.metadata.mode == seen.metadata.mode;
    mode && (seen.content.is_directory() || record.shown.metadata.mtime == seen.metadata.mtime)
}

/// The paths that a scan looks at: those named and all below them, and, where a directory above one
/// of them is not what it was, that one and all below it.
fn scope(device: &Device, scan: &Scan) -> BTreeSet<RelPath> {
    let records = device.store.records();
    let all: BTreeSet<RelPath> = records.keys().chain(device.disk.nodes().keys()).cloned().collect();
    let Scan::Paths(paths) = scan else { return all };
    let mut tops = BTreeSet::new();
    for path in paths {
        let changed = |p: &RelPath| {
            records.get(p).map(|r| &r.shown.content) != device.disk.get(p).map(|node| &node.content)
        };
        let above: Vec<_> = path.ancestors().collect();
        let top = above.into_iter().rev().find(changed);
        tops.insert(top.unwrap_or_else(|| path.clone()));
    }
    all.into_iter().filter(|p| tops.iter().any(|top| p == top || p.is_below(Some(top)))).collect()
}

/// What a scan finds. Chunk lists of long files go into the database.
pub fn look(device: &Device, scan: &Scan) -> Vec<Observation> {
    let records = device.store.records();
    let mut found = Vec::new();
    for path in scope(device, scan) {
        let (record, node) = (records.get(&path), device.disk.get(&path));
        if device.rules.is_ignored(&path, false) {
            if let Some(record) = record.filter(|record| !record.ignored) {
                found.push(Observation { path, record: Some(record.clone()), seen: None, ignored: true });
            }
            continue;
        }
        if shows(record, node, true) && !record.is_some_and(|record| record.ignored) {
            continue;
        }
        if let Some(node) = node
            && node.data.len() > protocol::chunk::MIN_CHUNK_BYTES
        {
            let nodes = hash(&device.key, &node.data).nodes;
            device.store.save(&nodes).expect("memory does not fail");
        }
        found.push(Observation { path, record: record.cloned(), seen: node.map(Node::seen), ignored: false });
    }
    found
}
