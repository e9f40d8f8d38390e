//! Gathering contents in staging.

use std::sync::Arc;

use protocol::ContentId;
use protocol::engine::{Event, Prepare, Prepared, Ticket};
use protocol::message::ChunkWanted;

use super::{Hands, Open};
use crate::folder::stage::{Written, is_no_space};
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
                        Written::Failed(message) => hands.write_failed(&open, &chunk, message),
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

    /// What has no room is given up, with the part of it that has come: so the rest finds some.
    fn write_failed(&self, open: &Open, chunk: &ChunkWanted, message: String) {
        if !is_no_space(&message) {
            tracing::warn!(message, path = %self.path.display(), "a chunk could not be written");
            return;
        }
        if let Err(error) = open.stage.forget(&[chunk.content]) {
            tracing::debug!(%error, "a staged file is left over");
        }
        self.inputs.event(Event::Prepared(vec![Prepared { content: chunk.content, missing: Err(message) }]));
        self.does_not_fit(u64::from(chunk.len));
    }

    /// Prepares staged files.
    pub fn prepare(self: &Arc<Self>, wishes: Vec<Prepare>) {
        self.spawn(move |hands| {
            hands.forgetting.wait_for(wishes.iter().map(|wish| wish.content));
            // Leftovers are not removed while they are being taken up.
            let _staging = hands.staging.read();
            let prepared = match hands.opened() {
                Some(open) => open.stage.prepare(&wishes),
                None => refused(&wishes),
            };
            let failed = wishes.iter().zip(&prepared).filter_map(|(wish, prepared)| {
                prepared.missing.as_ref().is_err_and(|message| is_no_space(message)).then_some(wish.size)
            });
            let smallest = failed.min();
            hands.inputs.event(Event::Prepared(prepared));
            if let Some(smallest) = smallest {
                hands.does_not_fit(smallest);
            }
        });
    }

    /// Nobody waits for these contents any more.
    pub fn forget(self: &Arc<Self>, contents: Vec<ContentId>) {
        let going = self.forgetting.begin(&contents);
        self.spawn(move |hands| {
            let _going = going;
            let _staging = hands.staging.read();
            if let Some(open) = hands.opened()
                && let Err(error) = open.stage.forget(&contents)
            {
                tracing::debug!(%error, "staged files are left over");
            }
        });
    }
}

fn refused(wishes: &[Prepare]) -> Vec<Prepared> {
    let missing = Err("the folder's directory is not there".to_owned());
    wishes.iter().map(|wish| Prepared { content: wish.content, missing: missing.clone() }).collect()
}
