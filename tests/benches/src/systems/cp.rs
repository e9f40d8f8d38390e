//! `cp -a` on one machine: the floor. It knows no network and no changes.

use super::Once;
use crate::Outcome;
use crate::catalogue::Step;
use crate::node::Node;
use crate::tree;

pub(super) struct Cp;

impl Once for Cp {
    fn takes_part(&self, step: Step) -> bool {
        // It would copy everything again to find that nothing has changed.
        !matches!(step, Step::Scan | Step::Idle | Step::Save | Step::Restart)
    }

    fn prepare(&self, _: &[Node]) -> Outcome<()> {
        Ok(())
    }

    fn bring(&self, nodes: &[Node], step: Step) -> Outcome<()> {
        let [from, others @ ..] = nodes else { return Ok(()) };
        for node in others {
            if matches!(step, Step::Rename | Step::Delete) {
                tree::make_bare(&node.data)?; // it would leave what is no more there
            }
            node.call(node.command("cp").arg("-a").arg(from.data.join(".")).arg(&node.data))?;
        }
        Ok(())
    }
}
