//! Naming one large file on two cores.
//!
//! Two ways: [`guessing`] where the list of chunks that the file had is here and mostly still true,
//! [`cutting`] where not. Each goes over into the other where the file does. The answer is always that
//! of [`ContentHasher`](protocol::chunk::ContentHasher), as long as the known list is of a file that
//! was cut like that; what somebody has cut otherwise stays so where it is unchanged.

mod cutting;
mod guessing;
mod known;
#[cfg(test)]
mod tests;

use std::io;

use bytes::Bytes;
use keystore::ContentKey;
use parking_lot::Mutex;
use protocol::chunk::{ContentList, Hashed};
use protocol::{ContentId, NodeId, NodeStore};

use cutting::{Sought, cut};
use guessing::guess;
use known::{Known, Window};

/// Shorter files are hashed before a thread has started.
pub(super) const LARGE_BYTES: u64 = 16 << 20;
/// So many known chunks in a row are believed to go on, at first.
const PATIENCE: usize = 4;
/// When so many are wanted, guessing has gone wrong too often to be gone on with at once.
const NO_PATIENCE: usize = 16;
/// Fewer right guesses were not worth beginning with them.
const WORTH_IT: usize = 16;

/// Held while a file is named this way. With several large files at once the cores have enough to
/// do, and the memory for one is enough.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What the file held when it was last looked at, and who knows the list of its chunks.
pub(super) type Before<'s> = (&'s dyn NodeStore, ContentId, u64);

/// Reads at an offset: any number of bytes, none at the end.
type Fill<'a, E> = dyn FnMut(&mut [u8], u64) -> Result<usize, E> + 'a;
/// Takes nodes of the list.
type Keep<'a, E> = dyn FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E> + 'a;

/// How it goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// At `offset` the known chunk of this number may begin.
    Guess { number: u64, offset: u64 },
    /// At `offset` begins a chunk of which nothing is known.
    Cut { offset: u64 },
    /// That was all.
    Done,
}

/// A file on its way to a name.
struct Naming<'a, E> {
    key: &'a ContentKey,
    list: ContentList,
    fill: &'a mut Fill<'a, E>,
    keep: &'a mut Keep<'a, E>,
}

impl<E> Naming<'_, E> {
    /// Fills the buffer as far as the file goes.
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, E> {
        let mut filled = 0;
        while filled < buffer.len() {
            match (self.fill)(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn keep_nodes(&mut self) -> Result<(), E> {
        let nodes = self.list.take_nodes();
        if nodes.is_empty() { Ok(()) } else { (self.keep)(nodes) }
    }
}

/// Names what `fill` reads: at an offset, any number of bytes, none at the end. `keep` gets the
/// nodes of the chunk list. `None` if another file is being named this way, or no thread can be had.
pub(super) fn name<E: From<io::Error>>(
    key: &ContentKey,
    before: Option<Before<'_>>,
    mut fill: impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    mut keep: impl FnMut(Vec<(NodeId, Bytes)>) -> Result<(), E>,
) -> Option<Result<Hashed, E>> {
    let _only = ONE_AT_A_TIME.try_lock()?;
    let known = before.and_then(|(store, content, size)| Known::load(store, &content, size));
    let mut naming = Naming { key, list: ContentList::default(), fill: &mut fill, keep: &mut keep };
    let named = match &known {
        Some(known) => name_known(&mut naming, known)?,
        None => cut(&mut naming, 0, None)?.map(drop),
    };
    let Naming { list, .. } = naming;
    let too_short = || io::Error::from(io::ErrorKind::UnexpectedEof).into();
    Some(named.and_then(|()| list.finish().ok_or_else(too_short)))
}

fn name_known<E: From<io::Error>>(naming: &mut Naming<'_, E>, known: &Known<'_>) -> Option<Result<(), E>> {
    let mut window = Window::default();
    // Where guesses go wrong again and again, more is wanted before the next.
    let mut patience = PATIENCE;
    let mut next = Next::Guess { number: 0, offset: 0 };
    loop {
        let step = match next {
            Next::Done => return Some(Ok(())),
            Next::Guess { number, offset } => {
                guess(naming, known, &mut window, (number, offset))?.map(|(next, right)| {
                    patience = match right / WORTH_IT {
                        0 => patience + PATIENCE,
                        worth => patience.saturating_sub(worth).max(PATIENCE),
                    };
                    match next {
                        Next::Guess { offset, .. } if patience > NO_PATIENCE => Next::Cut { offset },
                        next => next,
                    }
                })
            }
            Next::Cut { offset } => {
                let sought = Sought { known, window: &mut window, patience };
                cut(naming, offset, Some(sought))?
            }
        };
        match step {
            Ok(step) => next = step,
            Err(error) => return Some(Err(error)),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the helping thread has ended")
}
