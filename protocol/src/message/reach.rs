//! How peers of a folder help each other to be reached. All of it may be skipped by who does not
//! know it, and none of it is the folder's concern: the network takes it out.

use bytes::Bytes;

use super::cbor::{Writer, Written, read_address, read_list, read_map, write_address, write_map};
use super::{MAX_ADDRESSES, Message, MessageError, kind, parse_with};
use crate::frame::Frame;

pub(super) fn encode(message: &Message, channel: u32) -> Frame {
    let frame = |kind: u16, fields: u64, write: &dyn Fn(&mut Writer) -> Written| {
        let payload = write_map(fields + 1, |e| {
            e.u8(0)?.u32(channel)?.u8(1)?;
            write(e)
        });
        Frame::ignorable(kind, payload)
    };
    match message {
        Message::Observed { address } => frame(kind::OBSERVED, 1, &|e| write_address(e, *address)),
        Message::Introduce { address } => frame(kind::INTRODUCE, 1, &|e| write_address(e, *address)),
        Message::Introduced { address, dial } => frame(kind::INTRODUCED, 2, &|e| {
            write_address(e, *address)?;
            e.u8(2)?.bool(*dial).map(|_| ())
        }),
        Message::Reachable { addresses } => {
            let fitting = &addresses[..addresses.len().min(MAX_ADDRESSES)];
            frame(kind::REACHABLE, 1, &|e| {
                e.array(fitting.len() as u64)?;
                fitting.iter().try_for_each(|address| write_address(e, *address))
            })
        }
        _ => unreachable!("the other messages are encoded by their own"),
    }
}

pub(super) fn parse_observed(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (channel, address) = parse_with(payload, read_address)?;
    Ok((channel, Message::Observed { address }))
}

pub(super) fn parse_introduce(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (channel, address) = parse_with(payload, read_address)?;
    Ok((channel, Message::Introduce { address }))
}

pub(super) fn parse_reachable(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (channel, addresses) = parse_with(payload, |d| read_list(d, MAX_ADDRESSES, read_address))?;
    Ok((channel, Message::Reachable { addresses }))
}

pub(super) fn parse_introduced(payload: &Bytes) -> Result<(u32, Message), MessageError> {
    let (mut channel, mut address, mut dial) = (None, None, false);
    read_map(payload, |key, d| {
        match key {
            0 => channel = Some(d.u32()?),
            1 => address = Some(read_address(d)?),
            2 => dial = d.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (channel, address) = channel.zip(address).ok_or(MessageError::Malformed)?;
    Ok((channel, Message::Introduced { address, dial }))
}
