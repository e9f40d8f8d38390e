//! The same states as Merkle search trees: equal states must have equal roots, however they came to
//! be, and merging trees must give what merging sets gives.

use protocol::commit::Draft;
use protocol::context::{Context, Label};
use protocol::render::{Entries, Group, Labels};
use protocol::tree::{MemoryNodes, Tree, TreeError};
use protocol::{Entry, EntryKey, NodeId, RelPath};

use crate::device::Mind;
use crate::naive::{ByNumber, State};

/// A state planted as trees, if the mind wants them.
pub struct Grove(Option<Planted>);

/// A state's trees, and the nodes that they are made of.
struct Planted {
    nodes: MemoryNodes,
    state: protocol::state::State,
}

impl Grove {
    /// Plants the state.
    pub fn new(mind: Mind, state: &State) -> Self {
        let planted = (mind == Mind::RealTrees).then(|| {
            let nodes = MemoryNodes::default();
            let state = plant(&nodes, state);
            Planted { nodes, state }
        });
        Self(planted)
    }

    /// The entries: of the tree, or these.
    pub fn entries<'a>(&'a self, set: &'a dyn Entries) -> &'a dyn Entries {
        match &self.0 {
            Some(planted) => planted,
            None => set,
        }
    }

    /// The labels: of the context, or by number.
    pub fn labels(&self) -> &dyn Labels {
        match &self.0 {
            Some(planted) => &planted.state.context,
            None => &ByNumber,
        }
    }

    /// The roots of context and entries after a commit.
    pub fn commit(&self, draft: &Draft) -> Option<(NodeId, NodeId)> {
        let Planted { nodes, state } = self.0.as_ref()?;
        let removed = draft.removed.iter().map(|key| (key.clone(), None));
        let mut edits: Vec<_> =
            removed.chain(draft.put.iter().map(|entry| (entry.key(), Some(entry.clone())))).collect();
        edits.sort_by(|(a, _), (b, _)| a.cmp(b));
        let entries = state.tree(nodes).edit(edits).expect("nothing fails in memory").root;
        let origin = draft.version.origin;
        let label = Label::new(Labels::label(&ByNumber, &origin));
        let context = state.context.with(origin, label, draft.version.seq);
        let context_root = context.save_after(nodes, &state.context, state.context_root);
        Some((context_root.expect("nothing fails in memory"), entries))
    }
}

impl Entries for Planted {
    fn at(&self, path: &RelPath) -> Result<Vec<Entry>, TreeError> {
        self.state.tree(&self.nodes).at(path)
    }

    fn group(&self, path: &RelPath) -> Result<Group, TreeError> {
        self.state.tree(&self.nodes).group(path)
    }

    fn any_below(&self, path: &RelPath) -> Result<bool, TreeError> {
        self.state.tree(&self.nodes).any_below(path)
    }

    fn contains(&self, key: &EntryKey) -> Result<bool, TreeError> {
        self.state.tree(&self.nodes).contains(key)
    }

    fn groups(&self, directory: Option<&RelPath>) -> Result<Vec<Group>, TreeError> {
        self.state.tree(&self.nodes).groups(directory)
    }
}

fn plant(nodes: &MemoryNodes, state: &State) -> protocol::state::State {
    let mut planted = protocol::state::State::empty(nodes).expect("nothing fails in memory");
    let mut context = Context::new();
    for (origin, seq) in &state.context {
        context = context.with(*origin, Label::new(Labels::label(&ByNumber, origin)), *seq);
    }
    planted.context_root = context.save(nodes).expect("nothing fails in memory");
    planted.context = context;
    let empty = Tree::<Entry>::new(nodes, planted.entries);
    let edits = state.entries.iter().map(|(key, entry)| (key.clone(), Some(entry.clone())));
    planted.entries = empty.edit(edits).expect("nothing fails in memory").root;
    planted
}

/// The roots of context and entries.
pub fn root(state: &State) -> (NodeId, NodeId) {
    let planted = plant(&MemoryNodes::default(), state);
    (planted.context_root, planted.entries)
}

/// Merging the trees gives the trees of the merge.
pub fn check_merge(ours: &State, theirs: &State, merged: &State) {
    let nodes = MemoryNodes::default();
    let (ours, theirs) = (plant(&nodes, ours), plant(&nodes, theirs));
    let result = protocol::merge::merge(&nodes, &ours, &theirs).expect("honest states merge");
    assert_eq!((result.context_root, result.entries), root(merged), "the merge of trees differs");
    let wanted = plant(&nodes, merged);
    assert_eq!(result.changed, (wanted.context_root, wanted.entries) != (ours.context_root, ours.entries));
}
