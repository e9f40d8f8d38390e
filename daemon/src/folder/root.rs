//! The root of a folder: opened, checked, counted, and given up again.
//!
//! A root can vanish, be replaced or be put back from a backup at any moment. While it is not what
//! it was, the folder is held and nothing here touches it.

use std::path::Path;
use std::sync::Arc;

use keystore::FolderSecret;
use protocol::engine::{Changes, FolderStore, Hold, Settle};
use protocol::plan;
use protocol::{Content, Metadata, RelPath, Seen, Stat};

use super::apply;
use super::archive::Archive;
use super::hash::{HashContext, hash_file};
use super::kept::{Kept, seconds_since_1970};
use super::marker::{self, KnownStarts, Marker, RootTrouble, Start, Starts};
use super::spelling::Spelling;
use crate::disk::{Disk, DiskLock, DiskStat, Kind, Place, SpecialBits};
use crate::store::FolderFacts;

/// An open root.
pub struct Root {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Keeps other daemons away.
    _lock: DiskLock,
}

/// What was found when the root was opened.
pub struct Opened {
    /// The root.
    pub root: Root,
    /// The database is older than the disk: its records are not to be trusted.
    pub distrust_records: bool,
    /// The disk is older than the database: a person has to decide.
    pub rollback: Option<Hold>,
}

/// Opens the root, and redraws the start counter on both sides. `is_just_made`: the marker was made for
/// this start.
pub fn open(
    path: &Path,
    root_id: &[u8; 16],
    kept: &Kept,
    nonce: [u8; 16],
    is_just_made: bool,
) -> Result<Opened, Hold> {
    let (disk, marker) =
        marker::open_root(path, SpecialBits::Strip, root_id).map_err(|e| trouble(path, &e))?;
    let lock = marker::claim(&disk)
        .map_err(|error| Hold { code: "ROOT_IN_USE", message: format!("{}: {error}", path.display()) })?;
    let facts = kept.0.facts().map_err(|error| database(&error))?;
    let known = facts.start_nonce.map(|nonce| KnownStarts {
        last: Start { count: facts.start_counter, nonce },
        next: facts.next_nonce.map(|nonce| Start { count: facts.start_counter + 1, nonce }),
    });
    let starts = marker::compare(known.as_ref(), &marker);
    let root = Root { disk: Arc::new(disk), _lock: lock };
    let rollback = (starts == Starts::DiskBehind).then(|| Hold {
        code: "ROLLBACK_SUSPECTED",
        message: format!(
            "{} looks like an older copy of this folder (a restored or cloned disk); nothing is sent or \
             applied until you decide: `syncd approve` takes its files as they are, and lets newer ones of \
             other devices win",
            path.display()
        ),
    });
    if is_just_made && starts == Starts::Fresh && marker.start.count == 0 {
        // Another draw would tell nothing apart from it. (Without a database alone it would: the disk may
        // be put back later to what it was at the first start.)
        let facts = FolderFacts { start_nonce: Some(marker.start.nonce), ..facts };
        kept.0.save_facts(&facts).map_err(|error| database(&error))?;
    } else if rollback.is_none() {
        redraw(root.disk.as_ref(), kept, &marker, facts, nonce).map_err(|error| database(error.as_ref()))?;
    }
    let distrust_records = matches!(starts, Starts::DatabaseBehind | Starts::Fresh);
    Ok(Opened { root, distrust_records, rollback })
}

/// Both sides draw anew, the database first what it is about to write, so that a crash in between
/// looks like neither being behind.
pub fn redraw(
    disk: &dyn Disk,
    kept: &Kept,
    marker: &Marker,
    mut facts: FolderFacts,
    nonce: [u8; 16],
) -> Result<(), Box<dyn std::error::Error>> {
    facts.start_counter = facts.start_counter.max(marker.start.count);
    facts.start_nonce.get_or_insert(marker.start.nonce);
    facts.next_nonce = Some(nonce);
    kept.0.save_facts(&facts)?;
    let start = Start { count: facts.start_counter + 1, nonce };
    Marker { root_id: marker.root_id, start }.save(disk)?;
    facts.start_counter = start.count;
    facts.start_nonce = Some(nonce);
    facts.next_nonce = None;
    kept.0.save_facts(&facts)?;
    Ok(())
}

/// Settles the journal of a step that a crash cut short, and puts its leftovers into the archive.
/// Must come before anything else looks at the disk.
pub fn recover(files: &HashContext, kept: &Kept) -> Result<(), Box<dyn std::error::Error>> {
    let journal = kept.0.journal()?;
    let mut changes = Changes { settle: Settle::Everything, durable: true, ..Changes::default() };
    for (path, target) in &journal {
        let Ok(seen) = look(files, kept, path) else { continue };
        if let Some(record) = plan::recover(target.as_ref(), seen.as_ref()) {
            changes.records.push((path.clone(), record));
        }
    }
    let archive = Archive::new(files.disk.as_ref(), seconds_since_1970());
    apply::sweep(files.disk.as_ref(), &archive)?;
    if !journal.is_empty() {
        tracing::info!(paths = journal.len(), "a step that was cut short is settled");
        kept.keep(changes)?;
    }
    Ok(())
}

/// What a path shows right now.
fn look(
    files: &HashContext,
    kept: &Kept,
    path: &RelPath,
) -> Result<Option<Seen>, Box<dyn std::error::Error>> {
    let at = Place::Folder(path.clone());
    let found = match files.disk.stat(&at) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        other => other?,
    };
    let Some(found) = found else { return Ok(None) };
    if Spelling::new(files.disk.as_ref()).foreign_part(path, &found)?.is_some() {
        return Ok(None); // another path's, on a disk that folds names
    }
    let content = match found.kind {
        Kind::Directory => Content::Directory,
        Kind::Symlink => Content::Symlink { target: files.disk.read_link(&at)?.into() },
        Kind::Other => return Err("neither file, directory nor link".into()),
        Kind::File => {
            let hashed = hash_file(files, path, None, &mut Vec::new(), &mut |nodes| {
                protocol::NodeStore::save(kept, &nodes).map_err(std::io::Error::other)
            });
            match hashed {
                Ok(hashed) => hashed.content,
                Err(_) => return Err("it does not hold still".into()),
            }
        }
    };
    Ok(Some(seen(content, &found)))
}

/// An observation of content and stat.
pub fn seen(content: Content, found: &DiskStat) -> Seen {
    Seen { metadata: metadata(&content, &found.stat), content, stat: Some(found.stat) }
}

fn metadata(content: &Content, stat: &Stat) -> Metadata {
    let mode = (stat.mode & 0o7777) as u16;
    match content {
        Content::Directory => Metadata { mode, ..Metadata::default() },
        Content::File { .. } => Metadata { mtime: stat.mtime, mode, ..Metadata::default() },
        Content::Symlink { .. } => Metadata { mtime: stat.mtime, ..Metadata::default() },
    }
}

/// What hashing needs on a disk.
pub fn files(
    disk: &Arc<dyn Disk>,
    secret: &FolderSecret,
    kept: &Kept,
    hands: &super::hands::Senses,
) -> HashContext {
    HashContext {
        disk: Arc::clone(disk),
        content_key: secret.content_key(),
        lists: Arc::new(kept.clone()),
        progress: Arc::clone(&hands.progress),
        stop: Arc::clone(&hands.stop),
        now: Arc::new(super::hands::wall_clock),
    }
}

/// The hold for a root that is not to be worked on.
pub fn trouble(path: &Path, trouble: &RootTrouble) -> Hold {
    Hold { code: trouble.code(), message: format!("{}: {trouble}", path.display()) }
}

fn database(error: &dyn std::error::Error) -> Hold {
    Hold { code: "DATABASE", message: format!("the folder's records cannot be kept: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{FoldingDisk, SpecialBits};
    use crate::folder::scan::tests::support::{World, path};

    /// A crash came before `A` was put beside `a`, of which it has the bytes, and a directory `D`
    /// beside `d`.
    #[test]
    fn a_journalled_path_is_not_taken_for_its_twin_on_a_disk_that_folds_names() {
        let world = World::new();
        world.write("a", "bytes");
        world.write("d/x", "x");
        let real = crate::disk::RealDisk::open(world.root(), SpecialBits::Strip).expect("open");
        let disk: Arc<dyn Disk> = Arc::new(FoldingDisk::new(Arc::new(real), false));
        let files = HashContext { disk, ..world.files() };
        let home = tempfile::tempdir().expect("a directory");
        let store = crate::store::Store::open(&home.path().join("db")).expect("a database");
        let kept = Kept(store.folder(&[1; 16]).expect("a folder"));
        for (there, twin) in [("a", "A"), ("d", "D"), ("d/x", "D/x")] {
            assert!(look(&files, &kept, &path(there)).expect("a look").is_some());
            assert_eq!(look(&files, &kept, &path(twin)).expect("a look"), None, "{twin}");
        }
    }

    /// A root whose marker has just been made, and a home for databases.
    struct Fresh {
        root: tempfile::TempDir,
        home: tempfile::TempDir,
        disk: crate::disk::RealDisk,
        made: Marker,
    }

    impl Fresh {
        fn new() -> Self {
            let (root, home) = (tempfile::tempdir().expect("a root"), tempfile::tempdir().expect("a home"));
            let made = Marker { root_id: [1; 16], start: Start { count: 0, nonce: [2; 16] } };
            let disk = crate::disk::RealDisk::open(root.path(), SpecialBits::Strip).expect("a disk");
            drop(marker::claim(&disk).expect("nobody else is here"));
            made.save(&disk).expect("a marker");
            Self { root, home, disk, made }
        }

        fn database(&self, name: &str) -> Kept {
            let store = crate::store::Store::open(&self.home.path().join(name)).expect("a database");
            Kept(store.folder(&[1; 16]).expect("a folder"))
        }

        fn start(&self, kept: &Kept, nonce: u8, is_just_made: bool) -> Opened {
            open(self.root.path(), &self.made.root_id, kept, [nonce; 16], is_just_made).expect("it opens")
        }

        fn marker(&self) -> Marker {
            let bytes = std::fs::read(self.root.path().join(".syncd/marker")).expect("the marker");
            Marker::parse(&bytes).expect("a marker")
        }

        /// The disk is put back to what it was when the marker was made.
        fn put_back(&self) {
            self.made.save(&self.disk).expect("an older copy of the disk");
        }
    }

    #[test]
    fn the_first_start_takes_the_marker_as_it_was_made_and_each_later_one_draws_anew() {
        let here = Fresh::new();
        let kept = here.database("db");
        assert!(here.start(&kept, 3, true).distrust_records, "the database has just been made");
        assert_eq!(here.marker(), here.made);
        assert!(!here.start(&kept, 4, false).distrust_records);
        assert_eq!(here.marker().start, Start { count: 1, nonce: [4; 16] });
        here.put_back();
        let restored = here.start(&kept, 5, false).rollback;
        assert_eq!(restored.map(|hold| hold.code), Some("ROLLBACK_SUSPECTED"));
    }

    #[test]
    fn a_disk_of_the_first_start_is_told_apart_also_after_the_database_was_lost() {
        let here = Fresh::new();
        here.start(&here.database("first"), 3, true);
        let second = here.database("second");
        assert!(here.start(&second, 4, false).distrust_records, "it is lost");
        assert_eq!(here.marker().start, Start { count: 1, nonce: [4; 16] });
        here.put_back();
        let restored = here.start(&second, 5, false).rollback;
        assert_eq!(restored.map(|hold| hold.code), Some("ROLLBACK_SUSPECTED"));
    }
}
