//! Gathering contents in staging.

use std::sync::Arc;

use protocol::ContentId;
use protocol::engine::{Event, Prepare, Prepared, Ticket};
use protocol::message::ChunkWanted;

use super::Hands;
use crate::folder::stage::Written;
use crate::net::ChunkAnswer;

impl Hands {
    /// Verifies and writes some chunks, and tells what became of them.
    pub(super) async fn write(self: &Arc<Self>, ticket: Ticket, batch: Vec<(ChunkWanted, ChunkAnswer)>) {
        let hands = Arc::clone(self);
        let _ = tokio::task::spawn_blocking(move || {
            let Some(open) = hands.opened() else { return };
            let (mut arrived, mut gone, mut bad) = (Vec::new(), Vec::new(), Vec::new());
            for (chunk, answer) in batch {
                match answer {
                    ChunkAnswer::Gone => gone.push(chunk),
                    ChunkAnswer::Here(bytes) => match open.stage.write(&chunk, &bytes) {
                        Written::Ok => arrived.push(chunk),
                        Written::Bad => bad.push(chunk),
                        Written::Unwanted => {}
                        Written::Failed(message) => hands.write_failed(&message, u64::from(chunk.len)),
                    },
                }
            }
            for (chunks, event) in [
                (arrived, Event::Arrived as fn(Ticket, Vec<ChunkWanted>) -> Event),
                (gone, Event::Gone),
                (bad, Event::Bad),
            ] {
                if !chunks.is_empty() {
                    hands.inputs.event(event(ticket, chunks));
                }
            }
        })
        .await;
    }

    fn write_failed(&self, message: &str, bytes: u64) {
        if is_no_space(message) {
            return self.no_space(bytes);
        }
        tracing::warn!(message, path = %self.path.display(), "a chunk could not be written");
    }

    /// Prepares staged files.
    pub fn prepare(self: &Arc<Self>, wishes: Vec<Prepare>) {
        self.spawn(move |hands| {
            // Leftovers are not removed while they are being taken up.
            let _staging = hands.staging.read();
            let prepared = match hands.opened() {
                Some(open) => open.stage.prepare(&wishes),
                None => refused(&wishes),
            };
            let failed = wishes.iter().zip(&prepared).filter_map(|(wish, prepared)| {
                prepared.missing.as_ref().is_err_and(|message| is_no_space(message)).then_some(wish.size)
            });
            if let Some(smallest) = failed.min() {
                hands.no_space(smallest);
            }
            hands.inputs.event(Event::Prepared(prepared));
        });
    }

    /// Nobody waits for these contents any more.
    pub fn forget(self: &Arc<Self>, contents: Vec<ContentId>) {
        self.spawn(move |hands| {
            let _staging = hands.staging.read();
            if let Some(open) = hands.opened()
                && let Err(error) = open.stage.forget(&contents)
            {
                tracing::debug!(%error, "staged files are left over");
            }
        });
    }
}

/// Whether staging says that the disk is full.
fn is_no_space(message: &str) -> bool {
    message.starts_with("no space")
}

fn refused(wishes: &[Prepare]) -> Vec<Prepared> {
    let missing = Err("the folder's directory is not there".to_owned());
    wishes.iter().map(|wish| Prepared { content: wish.content, missing: missing.clone() }).collect()
}
