//! One connection: which folders both ends know, who the other end is, and what it tells.
//!
//! [`Session`] does no I/O: bytes of the control stream go in by [`Session::handle_bytes`], and
//! what is to be sent or is worth knowing comes out of [`Session::poll_output`]. Requests have
//! streams of their own and do not pass here; [`Session::folder_of`] says what they are about.
//!
//! Whoever cannot prove a folder learns nothing, not even whether it is known here:
//!
//! 1. Both say hello. The dialler names its folders by tags, each with its proof, among random
//!    slots that nobody else can tell from them (`Join`).
//! 2. The acceptor answers each slot with 32 bytes: its proof if it knows the folder and the
//!    initiator's proof holds, else random bytes (`Answer`). Same bytes, same work.
//! 3. Each side, once the other's proof holds, says who it is and gives the folder a number
//!    (`Welcome`). A folder is joined when both have. The acceptor, who hears last from the dialler,
//!    already says with it what it says to everyone who joins (`Greeting`).
//!
//! Either side begins a join of folders that are added later; two that cross make one membership.
//! Until the dialler's first join the acceptor begins none, so who only probes hears nothing.
//! What a peer may do is its own claim: authority to write is in the signatures of heads alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use keystore::{Capability, DeviceId, DeviceKey, FolderId, FolderSecret, Opening};

use crate::frame::{Frame, FrameDecoder, HEADER_BYTES, MAX_FRAME_BYTES};
use crate::message::{Message, kind};
use member::{Member, Stage};
use proof::{Random, TAG_BYTES};
use wire::Hello;

mod error;
mod join;
mod member;
mod proof;
mod wire;

pub use error::SessionError;
pub use proof::Binding;

/// Most slots in a join: 48 KiB, within [`MAX_UNPROVEN_BYTES`]. More folders take more joins.
pub const MAX_SLOTS: usize = 1024;
/// Longest name of a device, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// What is read from a peer that has proved nothing: a hello and the greatest join, with room.
pub const MAX_UNPROVEN_BYTES: usize = 64 * 1024;
/// What is spoken here.
const VERSION: u32 = 1;
/// What we can do beyond the version: nothing yet.
const FEATURES: u64 = 0;

/// Who the other end is, as far as one folder is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Proved: it holds the device key, at its end of this connection.
    pub device_id: DeviceId,
    /// Its own words, without control characters.
    pub name: String,
    /// Its own words: for display, never for a decision.
    pub capability: Capability,
}

/// What a session wants to be done, or has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// To be written to the control stream.
    Send(Bytes),
    /// The peer has proved this folder, and has not said yet who it is: it may ask about it, and may
    /// be [greeted](Session::greet).
    Proven {
        /// Which.
        folder: FolderId,
    },
    /// Both ends have proved this folder.
    Joined {
        /// Which.
        folder: FolderId,
        /// With whom.
        peer: PeerInfo,
    },
    /// The peer told who the folder's writers are, and it is true: keep it, and tell the other
    /// sessions by [`Session::learn_opening`].
    Opening {
        /// Which.
        folder: FolderId,
        /// What convinces a reader.
        opening: Opening,
    },
    /// The peer told something about a joined folder.
    Message {
        /// Which.
        folder: FolderId,
        /// What.
        message: Message,
    },
    /// The peer has left a joined folder; it may join it again.
    Left {
        /// Which.
        folder: FolderId,
    },
    /// Nothing more will come: close the connection. All folders are left.
    Close(SessionError),
}

/// The folder is not joined, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer has not joined the folder")]
pub struct NotJoined;

/// One connection, with all its folders.
pub struct Session {
    binding: Binding,
    device: DeviceKey,
    name: String,
    random: Random,
    decoder: FrameDecoder,
    /// What the peer said first.
    hello: Option<Hello>,
    /// Whether the peer has proved any folder, and what it sent until then.
    proven: bool,
    unproven_bytes: usize,
    /// The device that the peer has proved to be, and the signature by which it did.
    peer: Option<(DeviceId, [u8; 64])>,
    folders: BTreeMap<FolderId, Member>,
    /// By which tags the peer may name folders.
    tags: BTreeMap<[u8; TAG_BYTES], FolderId>,
    /// The numbers that we gave.
    channels: BTreeMap<u32, FolderId>,
    next_channel: u32,
    /// Folders for the next join.
    due: BTreeSet<FolderId>,
    /// Whether we may begin joins, and have a first one to send even without folders.
    may_join: bool,
    first_join_due: bool,
    /// The join that has not been answered: how many slots, and what is ours in them.
    asked: Option<join::Asked>,
    outputs: VecDeque<Output>,
    closed: bool,
}

impl Session {
    /// A session of a connection that has just come up. `name` is cut at [`MAX_NAME_BYTES`]; `seed`
    /// is 32 fresh random bytes. The dialler offers its folders before it polls.
    pub fn new(binding: Binding, device: DeviceKey, name: &str, seed: &[u8; 32]) -> Self {
        let hello = Hello { version: VERSION, features: FEATURES }.encode().encode();
        Self {
            name: name[..name.floor_char_boundary(MAX_NAME_BYTES)].to_owned(),
            random: Random::new(seed),
            decoder: FrameDecoder::new(MAX_UNPROVEN_BYTES),
            hello: None,
            proven: false,
            unproven_bytes: 0,
            peer: None,
            folders: BTreeMap::new(),
            tags: BTreeMap::new(),
            channels: BTreeMap::new(),
            next_channel: 0,
            due: BTreeSet::new(),
            may_join: binding.we_dialed,
            first_join_due: binding.we_dialed,
            asked: None,
            outputs: VecDeque::from([Output::Send(hello)]),
            closed: false,
            binding,
            device,
        }
    }

    /// Lets the peer join a folder if it knows it. `opening` is what a reader was told before; a
    /// writer knows it by itself. A folder that is offered already stays as it is.
    pub fn offer(&mut self, secret: &FolderSecret, opening: Option<Opening>) {
        let folder = secret.folder_id();
        if let Some(member) = self.folders.get_mut(&folder) {
            if member.leaving {
                member.again = Some((secret.clone(), opening));
            }
            return;
        }
        let member = Member::new(&self.binding, secret, opening);
        self.tags.insert(member.proof.peer_tag, folder);
        self.folders.insert(folder, member);
        if self.may_join {
            self.due.insert(folder);
        }
    }

    /// Takes a folder back. The peer is told if it had joined.
    pub fn withdraw(&mut self, folder: &FolderId) {
        let Some(member) = self.folders.get_mut(folder) else { return };
        member.again = None;
        match member.stage {
            Stage::Joined { peer_channel, .. } => {
                self.push_frame(&wire::encode_leave(peer_channel));
                self.forget(folder);
            }
            Stage::Offered if !member.asked => self.forget(folder),
            Stage::Offered | Stage::Proven { .. } => {
                member.leaving = true;
                self.tags.remove(&member.proof.peer_tag);
            }
        }
    }

    /// Takes an opening that was learnt elsewhere, and tells it to the peer if need be. What does
    /// not fit the folder's secret is not believed.
    pub fn learn_opening(&mut self, folder: &FolderId, opening: &Opening) {
        let Some(member) = self.folders.get_mut(folder) else { return };
        if member.opening.is_none() && member.secret.check_opening(opening).is_ok() {
            member.opening = Some(opening.clone());
            self.tell_opening(folder);
        }
    }

    /// Tells the peer something about a joined folder.
    pub fn send(&mut self, folder: &FolderId, message: &Message) -> Result<(), NotJoined> {
        let channel = self.channel_of(folder).ok_or(NotJoined)?;
        self.push_frame(&message.encode(channel));
        Ok(())
    }

    /// Tells a peer that has [proved](Output::Proven) a folder what it would be told as soon as it has
    /// joined: heads, and whether all content is here. Nothing if it has joined meanwhile.
    pub fn greet(&mut self, folder: &FolderId, messages: &[Message]) {
        let member = self.folders.get(folder).filter(|member| !member.leaving);
        if member.is_some_and(|member| matches!(member.stage, Stage::Proven { .. })) {
            self.push_frame(&wire::encode_greeting(folder, messages));
        }
    }

    /// The number by which to ask the peer about a joined folder.
    pub fn channel_of(&self, folder: &FolderId) -> Option<u32> {
        self.folders.get(folder)?.peer_channel()
    }

    /// The folder that a request of the peer is about. It has proved that it knows the folder; it
    /// may ask before its welcome has arrived here, since streams overtake each other.
    pub fn folder_of(&self, channel: u32) -> Option<FolderId> {
        let folder = self.channels.get(&channel)?;
        self.folders.get(folder).filter(|member| !member.leaving).map(|_| *folder)
    }

    /// What the peer can do beyond the version, once it has said hello.
    pub fn peer_features(&self) -> Option<u64> {
        self.hello.map(|hello| hello.features)
    }

    /// Takes bytes of the control stream as they arrived, best not more than some 64 KiB at once.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.decoder.push(bytes);
        if let Err(error) = self.on_bytes() {
            self.closed = true;
            self.outputs.push_back(Output::Close(error));
        }
    }

    /// What to do next; none until something else happens.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.begin_join();
        }
        self.outputs.pop_front()
    }

    fn on_bytes(&mut self) -> Result<(), SessionError> {
        while let Some(frame) = self.decoder.next_frame()? {
            if !self.proven {
                self.unproven_bytes += HEADER_BYTES + frame.payload.len();
                self.check_unproven(self.unproven_bytes)?;
            }
            self.on_frame(&frame)?;
        }
        self.check_unproven(self.unproven_bytes + self.decoder.waiting_bytes())
    }

    fn check_unproven(&self, bytes: usize) -> Result<(), SessionError> {
        let too_much = !self.proven && bytes > MAX_UNPROVEN_BYTES;
        if too_much { Err(SessionError::TooMuchBeforeProof) } else { Ok(()) }
    }

    fn on_frame(&mut self, frame: &Frame) -> Result<(), SessionError> {
        let payload = &frame.payload;
        if self.hello.is_none() != (frame.kind == kind::HELLO) {
            return Err(SessionError::Unexpected(frame.kind));
        }
        match frame.kind {
            kind::HELLO => self.on_hello(Hello::parse(payload)?),
            kind::JOIN => {
                self.on_join(&wire::parse_join(payload)?);
                Ok(())
            }
            kind::ANSWER => self.on_answer(&wire::parse_answer(payload)?),
            kind::WELCOME => self.on_welcome(wire::Welcome::parse(payload)?),
            kind::GREETING => self.on_greeting(payload),
            kind::LEAVE => self.on_leave(wire::parse_leave(payload)?),
            kind::OPENING => {
                let (channel, opening) = wire::parse_opening(payload)?;
                let Some(folder) = self.joined_folder(channel, frame.kind)? else { return Ok(()) };
                self.on_opening(&folder, &opening)
            }
            _ => {
                let Some((channel, message)) = Message::parse(frame)? else { return Ok(()) };
                if let Some(folder) = self.joined_folder(channel, frame.kind)? {
                    self.outputs.push_back(Output::Message { folder, message });
                }
                Ok(())
            }
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<(), SessionError> {
        // Later versions speak this one as well; what they can do beyond is in the feature bits.
        if hello.version < VERSION {
            return Err(SessionError::Version(hello.version));
        }
        self.hello = Some(hello);
        Ok(())
    }

    /// What the peer says to us before it knows who we are. About a folder that it has not joined it
    /// is no more than noise, so that it tells nothing about what we have.
    fn on_greeting(&mut self, payload: &Bytes) -> Result<(), SessionError> {
        let (folder, messages) = wire::parse_greeting(payload)?;
        let is_joined = self.folders.get(&folder).is_some_and(|member| member.peer_channel().is_some());
        if is_joined {
            let heard = messages.into_iter().map(|message| Output::Message { folder, message });
            self.outputs.extend(heard);
        }
        Ok(())
    }

    /// The joined folder that a channel of ours stands for; none if it was left while the message
    /// was under way.
    fn joined_folder(&self, channel: u32, kind: u16) -> Result<Option<FolderId>, SessionError> {
        let Some(folder) = self.known_channel(channel)? else { return Ok(None) };
        let joined = self.folders.get(&folder).is_some_and(|member| member.peer_channel().is_some());
        if joined { Ok(Some(folder)) } else { Err(SessionError::Unexpected(kind)) }
    }

    /// The folder of a channel; none if it was given but is no longer. Channels are given to those
    /// who have proved a folder, so what this tells is no secret to them.
    fn known_channel(&self, channel: u32) -> Result<Option<FolderId>, SessionError> {
        let folder = self.channels.get(&channel).copied();
        if folder.is_none() && channel >= self.next_channel {
            return Err(SessionError::UnknownChannel);
        }
        Ok(folder)
    }

    fn push_frame(&mut self, frame: &Frame) {
        self.outputs.push_back(Output::Send(frame.encode()));
    }
}

#[cfg(test)]
mod tests;
