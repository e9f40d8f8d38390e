//! LW-01, LW-02, LW-04: users who write in the very moment in which a daemon reads or replaces.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use harness::{Folder, Gate, Net, Rename, Seed, eventually, in_sync};

use crate::net;

/// What a user does to `f` just before it is replaced or removed, and what must be left of it.
type Deed = (&'static str, fn(&Folder), &'static [&'static str]);

const IN_PLACE: Deed = ("in place", |ben| ben.write("f", "written by ben"), &["written by ben"]);
const AT_THE_END: Deed = ("at the end", |ben| ben.append("f", " and ben"), &["base and ben"]);
const OVER: Deed = (
    "by a rename over it",
    |ben| {
        ben.write("side", "saved by ben");
        ben.rename("side", "f");
    },
    &["saved by ben"],
);
const ASIDE: Deed = ("by a rename away from it", |ben| ben.rename("f", "elsewhere"), &["base"]);

/// How often a daemon may have been disturbed on its way to the gate.
const TRIES: usize = 10;

fn two(net: &Net) -> (Folder, Folder) {
    let (anna, ben) = net.two_writers();
    anna.write("f", "base");
    in_sync(&[&anna, &ben]);
    (anna, ben)
}

/// Lets anna write or delete, until ben's daemon stands just before it renames as it is to; `None` where
/// that cannot be had. What anna has done is given the number of the try.
fn held(anna: &Folder, ben: &Folder, rename: Rename, number: u32, deed: impl Fn(usize)) -> Option<Gate> {
    for time in 0..TRIES {
        let gate = Gate::before(ben.device(), rename, number)?;
        deed(time);
        if gate.is_reached() {
            return Some(gate);
        }
        gate.open();
        in_sync(&[anna, ben]);
    }
    panic!("{} never stands before {rename:?}", ben.device().name());
}

/// All contents of files, sorted.
fn contents(folder: &Folder) -> Vec<String> {
    let mut all: Vec<String> = folder.tree().files().iter().map(|name| folder.text(name)).collect();
    all.sort();
    all
}

/// LW-01: just before the final rename of an update the user writes: both contents are kept, on both.
#[test]
fn what_a_user_writes_just_before_an_update_takes_the_name_is_kept() {
    let net = net();
    let (anna, ben) = two(&net);
    for (number, (how, deed, kept)) in [IN_PLACE, AT_THE_END, OVER, ASIDE].into_iter().enumerate() {
        let write = |time| anna.write("f", format!("by anna {number} {time}"));
        let Some(gate) = held(&anna, &ben, Rename::Exchange, 2, write) else { return };
        let text = anna.text("f");
        deed(&ben);
        gate.open();
        in_sync(&[&anna, &ben]);
        let all = contents(&anna);
        let expected = kept.iter().copied().chain([text.as_str()]);
        for content in expected {
            assert!(all.iter().any(|text| text == content), "{how}: {content} in {all:?}");
        }
        anna.tree().files().iter().for_each(|name| anna.remove(name));
        anna.write("f", "base");
        in_sync(&[&anna, &ben]);
    }
}

/// LW-02: just before a removal the user writes: the file stays, with the user's bytes, on both.
#[test]
fn what_a_user_writes_just_before_a_removal_is_kept() {
    let net = net();
    let (anna, ben) = two(&net);
    for (how, deed, kept) in [IN_PLACE, AT_THE_END, OVER] {
        let Some(gate) = held(&anna, &ben, Rename::ToFree, 1, |_| anna.remove("f")) else { return };
        deed(&ben);
        gate.open();
        in_sync(&[&anna, &ben]);
        assert_eq!(
            (anna.tree().files(), contents(&ben)),
            (vec!["f".to_owned()], kept.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "{how}"
        );
        assert_eq!(anna.number("conflicts"), 0, "{how}");
        anna.write("f", "base");
        in_sync(&[&anna, &ben]);
    }
}

/// LW-01: just before a new file takes its name the user makes one there: both are kept, on both.
#[test]
fn what_a_user_makes_just_before_a_new_file_takes_the_name_is_kept() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let make = |_| anna.write("f", "by anna");
    let Some(gate) = held(&anna, &ben, Rename::ToFree, 1, make) else { return };
    ben.write("f", "by ben");
    gate.open();
    in_sync(&[&anna, &ben]);
    assert_eq!(contents(&anna), ["by anna", "by ben"]);
}

/// LW-04: a file that is written to while it is being hashed is told as it was at some moment, never as
/// a mixture: whatever Ben has shown is at its path or in the archive.
#[test]
fn a_file_written_to_while_it_is_hashed_is_never_told_as_a_mixture() {
    const SIZE: u64 = 32 << 20;
    let net = net();
    let (anna, ben) = net.two_writers();
    let mut seed = Seed::new(31);
    let long = anna.path("long");
    let beside = anna.device().data().join("beside");
    let mut moments = BTreeSet::new();
    for _ in 0..3 {
        // On a busy machine it may have been read before it stands still: then it is given another.
        loop {
            let head = anna.word("head");
            fs::write(&beside, seed.bytes(SIZE as usize)).unwrap();
            moments.insert(hash(&beside));
            fs::rename(&beside, &long).unwrap();
            if is_caught_reading(&anna, &long, &head) {
                break;
            }
        }
        let file = File::options().write(true).open(&long).unwrap();
        // As long as before: at the front, which was read, and at the end, which was not.
        for at in [0, SIZE - 4_096] {
            file.write_all_at(&seed.bytes(4_096), at).unwrap();
            moments.insert(hash(&long));
        }
        anna.device().thaw();
        in_sync(&[&anna, &ben]);
    }
    let shown = files_below(&ben.path(".syncd/archive"));
    for path in shown.iter().filter(|path| fs::metadata(path).unwrap().len() >= 4_096) {
        assert!(moments.contains(&hash(path)), "{} was never in the file", path.display());
    }
    assert!(moments.contains(&hash(&ben.path("long"))));
    assert!(shown.len() >= 2, "the versions before are archived: {shown:?}");
}

/// Stops the daemon in the middle of reading that file; false when the file was read before, which shows
/// in another head than this.
fn is_caught_reading(folder: &Folder, path: &Path, head: &str) -> bool {
    let device = folder.device();
    let is_read_now = eventually("it is read, or was", || {
        let is_seen = (0..2_000).any(|_| device.has_open(path));
        (is_seen || folder.word("head") != head).then_some(is_seen)
    });
    if is_read_now {
        device.freeze();
        if device.has_open(path) {
            return true;
        }
        device.thaw();
    }
    false
}

fn hash(path: &Path) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).unwrap()).unwrap();
    *hasher.finalize().as_bytes()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(directory).unwrap().map(|found| found.unwrap().path());
    found.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
