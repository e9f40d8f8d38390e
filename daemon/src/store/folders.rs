//! Which folders there are, and the few facts of each that are no state.

use rusqlite::{OptionalExtension, Row, params};

use super::error::Result;
use super::{Durability, FolderStore, Store};

/// How many directories' records are removed at a time when a folder is forgotten.
const FORGOTTEN_AT_A_TIME: i64 = 200;

/// Facts of a folder that are no state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderFacts {
    /// What identifies the root directory.
    pub marker: Option<Marker>,
    /// How often the folder was started, and what was drawn then: the same is in the folder.
    pub start_counter: u64,
    /// Drawn together with the counter.
    pub start_nonce: Option<[u8; 16]>,
    /// Drawn for the next start, while it is being written into the folder.
    pub next_nonce: Option<[u8; 16]>,
    /// Made here, so it waits for no first head.
    pub created: bool,
    /// Paused by a person.
    pub paused: bool,
    /// The records may be believed; not so before the first scan, or after a loss.
    pub trusted: bool,
    /// Verifying key and blinding, once known.
    pub opening: Option<([u8; 32], [u8; 16])>,
}

/// What identifies the root directory of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// The random id that is in the folder's control directory as well.
    pub root_id: [u8; 16],
    /// Device number of the root.
    pub device: u64,
    /// Inode number of the root.
    pub inode: u64,
}

impl Store {
    /// The part of the folder with this id, which is added if it is not there.
    pub fn folder(&self, id: &[u8; 16]) -> Result<FolderStore> {
        let number = self.shared.connections.write(Durability::Process, |transaction| {
            transaction.execute("INSERT OR IGNORE INTO folders (id) VALUES (?1)", [id])?;
            Ok(transaction.query_row("SELECT number FROM folders WHERE id = ?1", [id], |row| row.get(0))?)
        })?;
        Ok(FolderStore { shared: self.shared.clone(), number })
    }

    /// The ids of all folders.
    pub fn folders(&self) -> Result<Vec<[u8; 16]>> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare("SELECT id FROM folders WHERE id IS NOT NULL ORDER BY id")?;
            let ids = select.query_map([], |row| row.get(0))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Forgets all about a folder. Its nodes go with the next sweep. Nobody may use its
    /// [`FolderStore`] any more.
    pub fn forget(&self, id: &[u8; 16]) -> Result<()> {
        self.shared.connections.write(Durability::PowerCut, |transaction| {
            Ok(transaction.execute("UPDATE folders SET id = NULL WHERE id = ?1", [id])?)
        })?;
        self.finish_forgetting()
    }

    /// Removes the rows of forgotten folders, in slices, so that others can write in between.
    pub(super) fn finish_forgetting(&self) -> Result<()> {
        let forgotten: Vec<i64> = self.shared.connections.read(|connection| {
            let mut select = connection.prepare("SELECT number FROM folders WHERE id IS NULL")?;
            let numbers = select.query_map([], |row| row.get(0))?;
            Ok(numbers.collect::<rusqlite::Result<_>>()?)
        })?;
        for folder in forgotten {
            while self.forget_slice(folder)? {}
        }
        Ok(())
    }

    /// Whether there is more.
    fn forget_slice(&self, folder: i64) -> Result<bool> {
        self.shared.connections.write(Durability::Process, |transaction| {
            transaction.execute(
                "DELETE FROM records WHERE directory IN
                 (SELECT number FROM directories WHERE folder = ?1 ORDER BY path LIMIT ?2)",
                params![folder, FORGOTTEN_AT_A_TIME],
            )?;
            let removed = transaction.execute(
                "DELETE FROM directories WHERE number IN
                 (SELECT number FROM directories WHERE folder = ?1 ORDER BY path LIMIT ?2)",
                params![folder, FORGOTTEN_AT_A_TIME],
            )?;
            if removed > 0 {
                return Ok(true);
            }
            for table in
                ["state", "heads", "journal", "pending", "archive_watch", "pinned", "addresses", "linked"]
            {
                transaction.execute(&format!("DELETE FROM {table} WHERE folder = ?1"), [folder])?;
            }
            transaction.execute("DELETE FROM folders WHERE number = ?1", [folder])?;
            Ok(false)
        })
    }
}

impl FolderStore {
    /// The folder's facts; defaults for a new one.
    pub fn facts(&self) -> Result<FolderFacts> {
        self.shared.connections.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT root_id, root_device, root_inode, start_counter, start_nonce, created, paused,
                 trusted, next_nonce, opening_key, opening_blinding
                 FROM folders WHERE number = ?1",
            )?;
            Ok(select.query_row([self.number], read_facts).optional()?.unwrap_or_default())
        })
    }

    /// Replaces all facts, to survive a power cut.
    pub fn save_facts(&self, facts: &FolderFacts) -> Result<()> {
        let marker = facts.marker;
        self.shared.connections.write(Durability::PowerCut, |transaction| {
            let mut update = transaction.prepare_cached(
                "UPDATE folders SET root_id = ?2, root_device = ?3, root_inode = ?4, start_counter = ?5,
                 start_nonce = ?6, created = ?7, paused = ?8, trusted = ?9, next_nonce = ?10,
                 opening_key = ?11, opening_blinding = ?12
                 WHERE number = ?1",
            )?;
            update.execute(params![
                self.number,
                marker.map(|marker| marker.root_id),
                marker.map_or(0, |marker| marker.device.cast_signed()),
                marker.map_or(0, |marker| marker.inode.cast_signed()),
                facts.start_counter.cast_signed(),
                facts.start_nonce,
                facts.created,
                facts.paused,
                facts.trusted,
                facts.next_nonce,
                facts.opening.map(|opening| opening.0),
                facts.opening.map(|opening| opening.1),
            ])?;
            Ok(())
        })
    }

    /// Forgets state, heads, records and what was pending: as good as a lost database.
    pub fn forget_state(&self) -> Result<()> {
        self.shared.connections.write(Durability::PowerCut, |transaction| {
            transaction.execute(
                "DELETE FROM records WHERE directory IN (SELECT number FROM directories WHERE folder = ?1)",
                [self.number],
            )?;
            for table in ["directories", "state", "heads", "journal", "pending"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE folder = ?1"), [self.number])?;
            }
            Ok(())
        })
    }

    /// Addresses that a person gave, sorted.
    pub fn pinned(&self) -> Result<Vec<String>> {
        self.shared.connections.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT address FROM pinned WHERE folder = ?1 ORDER BY address")?;
            let addresses = select.query_map([self.number], |row| row.get(0))?;
            Ok(addresses.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Adds an address, or removes it. Whether that changed anything.
    pub fn pin(&self, address: &str, pinned: bool) -> Result<bool> {
        let sql = if pinned {
            "INSERT OR IGNORE INTO pinned (folder, address) VALUES (?1, ?2)"
        } else {
            "DELETE FROM pinned WHERE folder = ?1 AND address = ?2"
        };
        self.shared.connections.write(Durability::PowerCut, |transaction| {
            Ok(transaction.prepare_cached(sql)?.execute(params![self.number, address])? > 0)
        })
    }
}

fn read_facts(row: &Row<'_>) -> rusqlite::Result<FolderFacts> {
    let root_id: Option<[u8; 16]> = row.get(0)?;
    let device = row.get::<_, i64>(1)?.cast_unsigned();
    let inode = row.get::<_, i64>(2)?.cast_unsigned();
    let key: Option<[u8; 32]> = row.get(9)?;
    let blinding: Option<[u8; 16]> = row.get(10)?;
    Ok(FolderFacts {
        marker: root_id.map(|root_id| Marker { root_id, device, inode }),
        start_counter: row.get::<_, i64>(3)?.cast_unsigned(),
        start_nonce: row.get(4)?,
        created: row.get(5)?,
        paused: row.get(6)?,
        trusted: row.get(7)?,
        next_nonce: row.get(8)?,
        opening: key.zip(blinding),
    })
}
