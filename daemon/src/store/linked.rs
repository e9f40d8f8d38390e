//! What the link by which a folder was joined has said of where its peers are.

use rusqlite::params;

use super::error::Result;
use super::{Durability, FolderStore};

impl FolderStore {
    /// Addresses and host names, `host:port`, in the order of the link.
    pub fn linked(&self) -> Result<Vec<String>> {
        self.shared.connections.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT address FROM linked WHERE folder = ?1 ORDER BY place")?;
            let addresses = select.query_map([self.number], |row| row.get(0))?;
            Ok(addresses.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Replaces them, unless the folder is being forgotten.
    pub fn set_linked(&self, addresses: &[String]) -> Result<()> {
        self.shared.connections.write(Durability::PowerCut, |transaction| {
            transaction.prepare_cached("DELETE FROM linked WHERE folder = ?1")?.execute([self.number])?;
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO linked (folder, place, address)
                 SELECT number, ?2, ?3 FROM folders WHERE number = ?1 AND id IS NOT NULL",
            )?;
            for (place, address) in (0_i64..).zip(addresses) {
                insert.execute(params![self.number, place, address])?;
            }
            Ok(())
        })
    }
}
