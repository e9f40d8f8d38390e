//! Naming a file by guessing that it still has the chunks that it had: two threads hash, nobody cuts.
//!
//! A chunk ends where its bytes and the one behind them say so, whatever comes before it. So bytes
//! that hash to a known chunk end where that ended, if the byte behind is the same too: it is, if the
//! next guess is right, and it does not count if the chunk has [`MAX_CHUNK_BYTES`]. Where a guess is
//! wrong, chunks are cut from the last certain end on, until the list's ends are met again.

use std::collections::VecDeque;
use std::io;
use std::iter::Peekable;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use keystore::ContentKey;
use protocol::chunk::{ChunkId, MAX_CHUNK_BYTES, cuts};
use protocol::chunk_list::Located;

use super::known::{Known, Window};
use super::{Naming, Next, gone};

/// What is read and verified at once.
const GROUP_BYTES: usize = 2 << 20;
/// Groups that the helper has: one to work on, one to go on with.
const LENT: usize = 2;
/// Groups that are not taken yet.
const GROUPS: usize = 4;
/// So many chunks in a row that nobody knows are cut here; of more the first is too many.
const STRANGERS: usize = 16;

/// Guesses, and the bytes that they are about.
struct Group {
    bytes: Vec<u8>,
    /// What of the bytes could be read.
    filled: usize,
    guesses: Vec<Guess>,
}

struct Guess {
    number: u64,
    id: ChunkId,
    offset: u64,
    len: usize,
    is_right: bool,
}

impl Group {
    fn verify(&mut self, key: &ContentKey) {
        let mut rest = &self.bytes[..self.filled];
        for guess in &mut self.guesses {
            let Some((bytes, after)) = rest.split_at_checked(guess.len) else { return };
            guess.is_right = guess.id.verify(key, bytes);
            rest = after;
        }
    }
}

enum Slot {
    /// The helper has it.
    Lent,
    Verified(Group),
}

/// Names what lies from `offset` on, taking it for the known chunks from `number` on. Answers how many
/// guesses were right, too. `None` if no thread can be had.
pub(super) fn guess<E: From<io::Error>>(
    naming: &mut Naming<'_, E>,
    known: &Known<'_>,
    window: &mut Window,
    (number, offset): (u64, u64),
) -> Option<Result<(Next, usize), E>> {
    thread::scope(|scope| {
        let (todo, groups) = mpsc::channel();
        let (give_back, verified) = mpsc::channel();
        let key = naming.key;
        let helper = move || verify_groups(key, &groups, &give_back);
        thread::Builder::new().name("verifying".into()).spawn_scoped(scope, helper).ok()?;
        let mut ahead = known.from(number).peekable();
        let start = ahead.peek().map_or(0, |first| first.offset);
        let mut guesser = Guesser {
            naming,
            known,
            window,
            ahead,
            shift: offset.wrapping_sub(start),
            todo,
            verified,
            lent: 0,
            slots: VecDeque::new(),
            spare: Vec::new(),
            at: offset,
            held: None,
            right: 0,
            strangers: 0,
            buffer: Vec::new(),
        };
        Some(guesser.run().map(|next| (next, guesser.right)))
    })
}

fn verify_groups(key: &ContentKey, groups: &Receiver<Group>, give_back: &Sender<Group>) {
    for mut group in groups {
        group.verify(key);
        if give_back.send(group).is_err() {
            return;
        }
    }
}

struct Guesser<'r, 'n, 'k, 's, E, I: Iterator<Item = Located>> {
    naming: &'r mut Naming<'n, E>,
    known: &'k Known<'s>,
    window: &'k mut Window,
    /// Known chunks that are not guessed yet.
    ahead: Peekable<I>,
    /// How much further behind they are in the file than in the list; wraps.
    shift: u64,
    todo: Sender<Group>,
    verified: Receiver<Group>,
    lent: usize,
    slots: VecDeque<Slot>,
    spare: Vec<Group>,
    /// The end of the last certain chunk.
    at: u64,
    /// The chunk there, if only its last byte is not certain.
    held: Option<(ChunkId, usize)>,
    /// How many guesses were right.
    right: usize,
    /// Chunks in a row that had to be cut and are not known.
    strangers: usize,
    /// What is cut.
    buffer: Vec<u8>,
}

impl<E: From<io::Error>, I: Iterator<Item = Located>> Guesser<'_, '_, '_, '_, E, I> {
    fn run(&mut self) -> Result<Next, E> {
        loop {
            self.read_ahead()?;
            let Some(slot) = self.slots.pop_front() else { return Ok(Next::Cut { offset: self.at }) };
            let group = match slot {
                Slot::Verified(group) => group,
                Slot::Lent => {
                    self.lent -= 1;
                    self.verified.recv().map_err(|_| gone())?
                }
            };
            for guess in &group.guesses {
                if let Some(next) = self.take(guess)? {
                    return Ok(next);
                }
            }
            self.spare.push(group);
            self.naming.keep_nodes()?;
        }
    }

    /// Keeps the helper busy, and does what it has no time for.
    fn read_ahead(&mut self) -> Result<(), E> {
        while self.slots.len() < GROUPS {
            let Some(mut group) = self.group()? else { return Ok(()) };
            if self.lent < LENT {
                self.todo.send(group).map_err(|_| gone())?;
                self.lent += 1;
                self.slots.push_back(Slot::Lent);
                continue;
            }
            group.verify(self.naming.key);
            self.slots.push_back(Slot::Verified(group));
            return Ok(());
        }
        Ok(())
    }

    /// The next guesses with their bytes; `None` behind the last.
    fn group(&mut self) -> Result<Option<Group>, E> {
        let new = || Group { bytes: vec![0; GROUP_BYTES], filled: 0, guesses: Vec::new() };
        let mut group = self.spare.pop().unwrap_or_else(new);
        group.guesses.clear();
        let mut bytes = 0;
        while let Some(chunk) = self.ahead.next_if(|chunk| bytes + chunk.len as usize <= GROUP_BYTES) {
            let (offset, len) = (chunk.offset.wrapping_add(self.shift), chunk.len as usize);
            let Located { number, id, .. } = chunk;
            group.guesses.push(Guess { number, id, offset, len, is_right: false });
            bytes += len;
        }
        let Some(first) = group.guesses.first() else { return Ok(None) };
        group.filled = self.naming.read(&mut group.bytes[..bytes], first.offset)?;
        Ok(Some(group))
    }

    /// Goes on with a guess if it is right; up to there the file is cut.
    fn take(&mut self, guess: &Guess) -> Result<Option<Next>, E> {
        loop {
            let reached = self.at + self.held.map_or(0, |(_, len)| len as u64);
            if guess.offset < reached {
                return Ok(None);
            }
            if guess.offset > reached || !guess.is_right {
                if let Some(next) = self.cut_one()? {
                    return Ok(Some(next));
                }
                continue;
            }
            // The byte behind what is held is that of a right guess.
            if let Some((id, len)) = self.held.take() {
                self.push(id, len);
            }
            match guess.len {
                MAX_CHUNK_BYTES => self.push(guess.id, guess.len),
                len => self.held = Some((guess.id, len)),
            }
            self.window.is_at(guess.number);
            self.right += 1;
            self.strangers = 0;
            return Ok(None);
        }
    }

    /// The chunk behind the last certain one, by cutting.
    fn cut_one(&mut self) -> Result<Option<Next>, E> {
        self.held = None;
        self.buffer.resize(MAX_CHUNK_BYTES, 0);
        let filled = self.naming.read(&mut self.buffer, self.at)?;
        let bytes = &self.buffer[..filled];
        let Some(len) = cuts(bytes, filled < MAX_CHUNK_BYTES).next() else { return Ok(Some(Next::Done)) };
        let id = ChunkId::of(self.naming.key, &bytes[..len]);
        self.push(id, len);
        let Some(found) = self.window.find(self.known, &id) else {
            self.strangers += 1;
            let is_lost = self.strangers > STRANGERS;
            return Ok(is_lost.then_some(Next::Cut { offset: self.at }));
        };
        self.strangers = 0;
        let end = found.offset + u64::from(found.len);
        let is_elsewhere = end.wrapping_add(self.shift) != self.at;
        Ok(is_elsewhere.then_some(Next::Guess { number: found.number + 1, offset: self.at }))
    }

    fn push(&mut self, id: ChunkId, len: usize) {
        self.naming.list.push(id, len);
        self.at += len as u64;
    }
}
