//! Where a folder's peers were reached, over restarts.
//!
//! A few addresses of each device, so that those who have met find each other again when everyone
//! who once introduced them is gone. An address goes when newer ones need the room, when nobody was
//! reached there for [`LIFE_SECONDS`], or when it was often dialled in vain.

use std::net::SocketAddr;

use rusqlite::{Transaction, params};

use super::error::Result;
use super::{DatabaseError, Durability, FolderStore};

/// Addresses of one device: both families, at home and elsewhere.
const MAX_OF_DEVICE: u32 = 4;
/// Devices of one folder.
const MAX_DEVICES: u32 = 64;
/// Three months: after a summer away, devices still know each other.
const LIFE_SECONDS: i64 = 90 * 24 * 3600;
/// So often may it be said that nobody was reached: each time stands for some six hours of dials, all
/// together for two weeks at least.
const MAX_VAIN: u32 = 56;

/// An address at which a peer was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownAddress {
    /// The id of the device that answered.
    pub device: [u8; 32],
    /// Where.
    pub address: SocketAddr,
}

impl FolderStore {
    /// Where peers were reached, the latest first; `now` in seconds since 1970.
    pub fn known_addresses(&self, now: i64) -> Result<Vec<KnownAddress>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT device, address FROM addresses WHERE folder = ?1 AND reached_at > ?2
                 ORDER BY reached_at DESC, address",
            )?;
            let mut rows = select.query(params![self.number, now - LIFE_SECONDS])?;
            let mut known = Vec::new();
            while let Some(row) = rows.next()? {
                let address: String = row.get(1)?;
                let address = address.parse().map_err(|_| DatabaseError::row("an address"))?;
                known.push(KnownAddress { device: row.get(0)?, address });
            }
            Ok(known)
        })
    }

    /// Notes that a device was reached at an address, and forgets what is too old or too much.
    pub fn note_reached(&self, device: &[u8; 32], address: SocketAddr, now: i64) -> Result<()> {
        self.shared.connections.write(Durability::Process, |transaction| {
            // The news may come late, when the folder has just been forgotten.
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO addresses (folder, address, device, reached_at)
                     SELECT number, ?2, ?3, ?4 FROM folders WHERE number = ?1 AND id IS NOT NULL",
                )?
                .execute(params![self.number, address.to_string(), device, now])?;
            self.forget_the_oldest(transaction, now)
        })
    }

    /// Notes that nobody was reached at an address for hours, though others were. Whether that was
    /// once too often, and the address is forgotten.
    pub fn note_unreached(&self, address: SocketAddr) -> Result<bool> {
        self.shared.connections.write(Durability::Process, |transaction| {
            transaction
                .prepare_cached("UPDATE addresses SET vain = vain + 1 WHERE folder = ?1 AND address = ?2")?
                .execute(params![self.number, address.to_string()])?;
            let forgotten = transaction
                .prepare_cached("DELETE FROM addresses WHERE folder = ?1 AND address = ?2 AND vain >= ?3")?
                .execute(params![self.number, address.to_string(), MAX_VAIN])?;
            Ok(forgotten > 0)
        })
    }

    /// Forgets an address.
    pub fn forget_address(&self, address: SocketAddr) -> Result<()> {
        self.shared.connections.write(Durability::PowerCut, |transaction| {
            transaction
                .prepare_cached("DELETE FROM addresses WHERE folder = ?1 AND address = ?2")?
                .execute(params![self.number, address.to_string()])?;
            Ok(())
        })
    }

    fn forget_the_oldest(&self, transaction: &Transaction<'_>, now: i64) -> Result<()> {
        transaction
            .prepare_cached("DELETE FROM addresses WHERE folder = ?1 AND reached_at <= ?2")?
            .execute(params![self.number, now - LIFE_SECONDS])?;
        transaction
            .prepare_cached(
                "DELETE FROM addresses WHERE folder = ?1 AND address IN (
                     SELECT address FROM (
                         SELECT address, row_number() OVER
                             (PARTITION BY device ORDER BY reached_at DESC, address) AS place
                         FROM addresses WHERE folder = ?1)
                     WHERE place > ?2)",
            )?
            .execute(params![self.number, MAX_OF_DEVICE])?;
        transaction
            .prepare_cached(
                "DELETE FROM addresses WHERE folder = ?1 AND device NOT IN (
                     SELECT device FROM addresses WHERE folder = ?1
                     GROUP BY device ORDER BY max(reached_at) DESC, device LIMIT ?2)",
            )?
            .execute(params![self.number, MAX_DEVICES])?;
        Ok(())
    }
}
