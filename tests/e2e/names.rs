//! NM: names and types that other tools have mangled.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use harness::{Folder, Seed, Shown, eventually, in_sync, is_root};

use crate::net;

/// NM-01: hundreds of names of random legal bytes come back byte for byte, in both directions.
#[test]
fn hundreds_of_names_of_any_bytes_round_trip() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let mut seed = Seed::new(11);
    for number in 0..400 {
        let mut name: Vec<u8> =
            (0..=seed.below(40)).map(|_| u8::try_from(seed.below(255) + 1).unwrap()).collect();
        name.retain(|byte| *byte != b'/');
        name.extend_from_slice(format!("{number}").as_bytes());
        let folder = if number % 2 == 0 { &anna } else { &ben };
        folder.write(OsStr::from_bytes(&name), format!("{number}"));
    }
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.number("files"), 400);
    assert_eq!((anna.number("problems"), anna.number("conflicts")), (0, 0));
}

/// NM-03, NM-04: twins by normalisation or case are two files; one is edited, one deleted.
#[test]
fn twins_of_case_and_normalisation_stay_apart() {
    let net = net();
    let (anna, ben) = net.two_writers();
    for name in ["a", "A", "\u{e9}", "e\u{301}"] {
        anna.write(name, name);
    }
    in_sync(&[&anna, &ben]);
    ben.write("A", "edited");
    ben.remove("\u{e9}");
    in_sync(&[&ben, &anna]);
    assert_eq!(anna.tree().files(), ["A", "a", "e\u{301}"]);
    assert_eq!((anna.text("a"), anna.text("A")), ("a".into(), "edited".into()));
}

/// A rename that changes case alone.
#[test]
fn a_rename_of_case_alone_arrives() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("readme", "text");
    in_sync(&[&anna, &ben]);
    anna.rename("readme", "README");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.tree().files(), ["README"]);
}

/// NM-09, HW-02, peers.md 25 and 36: links are text; nothing behind one is read, written or deleted.
#[test]
fn links_are_never_followed() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let outside = net.directory().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    anna.link(&outside, "out");
    anna.link("out/secret", "through");
    anna.link("loop", "loop");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.number("files"), 3, "nothing behind the links was found");
    ben.remove("out");
    ben.write("out/secret", "inside");
    in_sync(&[&ben, &anna]);
    assert_eq!(anna.text("out/secret"), "inside");
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}

/// A link is pointed elsewhere, and a file takes its name with the same bytes as the link's text.
#[test]
fn a_link_and_a_file_of_its_text_are_not_equal() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.link("target", "link");
    in_sync(&[&anna, &ben]);
    anna.remove("link");
    anna.link("other", "link");
    in_sync(&[&anna, &ben]);
    assert_eq!(std::fs::read_link(ben.path("link")).unwrap().to_str(), Some("other"));
    anna.remove("link");
    anna.write("link", "other");
    in_sync(&[&anna, &ben]);
    assert!(ben.path("link").symlink_metadata().unwrap().is_file());
}

/// NM-10: a FIFO is never opened, is reported, and is not deleted with its directory by others.
#[test]
fn a_fifo_is_reported_and_holds_nothing_up() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("dir/file", "file");
    in_sync(&[&anna, &ben]);
    assert!(Command::new("mkfifo").arg(anna.path("dir/fifo")).status().unwrap().success());
    anna.write("dir/other", "other");
    in_sync_but_for(&anna, &ben, "dir/fifo");
    eventually("it is reported", || (anna.number("problems") == 1).then_some(()));
    let text = String::from_utf8(anna.device().cli(&["status", anna.id()]).stdout).unwrap();
    assert!(text.contains("dir/fifo"), "{text}");
    ben.remove("dir");
    ben.settle();
    eventually("the files are gone", || (!anna.has("dir/file") && !anna.has("dir/other")).then_some(()));
    assert!(anna.has("dir/fifo"), "what was never synced is not deleted");
}

fn in_sync_but_for(anna: &Folder, ben: &Folder, path: &str) {
    anna.settle();
    eventually("all but one path are equal", || {
        (anna.tree().differences(&ben.tree()).iter().all(|line| line.starts_with(path))).then_some(())
    });
}

/// What is neither file, link nor directory: two FIFOs, a socket and, as root, devices.
struct Specials {
    fifos: [&'static str; 2],
    socket: UnixListener,
    all: Vec<&'static str>,
}

impl Specials {
    fn make(folder: &Folder) -> Self {
        let fifos = ["dir/fifo", "dir/pipe"];
        let mut all = [&fifos[..], &["dir/socket"]].concat();
        let run = |program: &str, arguments: &[&str]| {
            let done = Command::new(program).args(arguments).current_dir(folder.root()).status();
            assert!(done.unwrap().success(), "{program} {arguments:?}");
        };
        run("mkfifo", &fifos);
        let socket = UnixListener::bind(folder.path("dir/socket")).unwrap();
        socket.set_nonblocking(true).unwrap();
        if is_root() {
            run("mknod", &["dir/null", "c", "1", "3"]);
            run("mknod", &["dir/loop", "b", "7", "250"]);
            all.extend(["dir/null", "dir/loop"]);
        }
        Self { fifos, socket, all }
    }

    /// Runs a part of the story, through which nobody opens or connects to any of them: whoever opens
    /// one end of a FIFO waits for somebody to open the other.
    fn never_opened(&self, folder: &Folder, part: impl FnOnce()) {
        std::thread::scope(|scope| {
            let ends = self.fifos.iter().zip([true, false]).map(|(fifo, reads)| {
                let path = folder.path(fifo);
                scope.spawn(move || File::options().read(reads).write(!reads).open(path).unwrap())
            });
            let ends: Vec<_> = ends.collect();
            part();
            assert!(!ends.iter().any(|end| end.is_finished()), "somebody has opened a FIFO");
            let nobody = self.socket.accept().map_err(|error| error.kind());
            assert!(matches!(nobody, Err(ErrorKind::WouldBlock)), "{nobody:?}");
            for (fifo, reads) in self.fifos.iter().zip([true, false]) {
                drop(File::options().read(!reads).write(reads).open(folder.path(fifo)).unwrap());
            }
        });
    }

    fn all_are_there(&self, folder: &Folder) {
        let tree = folder.tree();
        assert!(self.all.iter().all(|path| tree.at(path) == Some(&Shown::Special)), "{tree:?}");
    }
}

/// NM-10: FIFOs, sockets and devices are reported by what they are, and never opened; what comes from
/// elsewhere under their names waits until they are gone.
#[test]
fn what_is_no_file_is_reported_never_opened_and_not_replaced() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("dir/file", "file");
    in_sync(&[&anna, &ben]);
    let specials = Specials::make(&anna);
    specials.never_opened(&anna, || {
        anna.tell("rescan");
        anna.settle();
        let count = specials.all.len() as u64;
        eventually("all are reported", || (anna.number("problems") == count).then_some(()));
        let text = String::from_utf8(anna.device().cli(&["status", anna.id()]).stdout).unwrap();
        assert!(specials.all.iter().all(|path| text.contains(path)), "{text}");
        assert!(text.contains("is a FIFO") && text.contains("is a socket"), "{text}");
        assert_eq!(ben.tree().files(), ["dir/file"]);
        ben.write("dir/fifo", "by ben");
        ben.write("dir/socket/below", "by ben");
        ben.write("dir/other", "by ben");
        ben.settle();
        eventually("the rest arrives", || anna.says("dir/other", "by ben").then_some(()));
        anna.tell("rescan");
        anna.settle();
        specials.all_are_there(&anna);
        assert_eq!(anna.number("problems"), count, "they are still what is wrong");
    });
    specials.all_are_there(&anna);
    specials.all.iter().for_each(|path| anna.remove(path));
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.text("dir/fifo") + &anna.text("dir/socket/below"), "by benby ben");
}

/// NM-10: a directory that is deleted elsewhere stays around what was never synced, and says so.
#[test]
fn a_directory_deleted_elsewhere_stays_around_what_is_no_file() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("dir/file", "file");
    in_sync(&[&anna, &ben]);
    let specials = Specials::make(&anna);
    specials.never_opened(&anna, || {
        anna.settle();
        ben.remove("dir");
        ben.settle();
        eventually("the file is gone", || (!anna.has("dir/file")).then_some(()));
        anna.settle();
        specials.all_are_there(&anna);
        assert!(anna.number("problems") >= specials.all.len() as u64, "{}", anna.row());
    });
}

/// NM-10: who puts a FIFO in the place of a file has not deleted the file for others.
#[test]
fn a_fifo_in_the_place_of_a_file_deletes_nothing() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("file", "file");
    in_sync(&[&anna, &ben]);
    anna.remove("file");
    assert!(Command::new("mkfifo").arg(anna.path("file")).status().unwrap().success());
    anna.settle();
    eventually("it is reported", || (anna.number("problems") == 1).then_some(()));
    ben.write("other", "other");
    eventually("the other arrives", || anna.says("other", "other").then_some(()));
    assert_eq!(ben.text("file"), "file");
    ben.write("file", "edited by ben");
    ben.settle();
    anna.settle();
    assert_eq!(anna.tree().at("file"), Some(&Shown::Special));
    anna.remove("file");
    in_sync(&[&anna, &ben]);
    assert_eq!(anna.text("file"), "edited by ben");
}

/// NM-08: deep paths, beyond what one system call takes.
#[test]
fn a_path_of_two_hundred_levels_arrives() {
    let net = net();
    let (anna, ben) = net.two_writers();
    let deep = vec!["level"; 200].join("/");
    anna.write(format!("{deep}/file"), "deep down");
    in_sync(&[&anna, &ben]);
    assert_eq!(ben.text(format!("{deep}/file")), "deep down");
    anna.remove("level");
    in_sync(&[&anna, &ben]);
    assert!(!ben.has("level"));
}

/// HW-13: names from others are never printed raw.
#[test]
fn names_with_escapes_are_not_printed_raw() {
    let net = net();
    let (anna, rita) = net.writer_and_reader();
    rita.write("\u{1b}[31mred\nline", "local");
    rita.settle();
    let output = rita.device().cli(&["status", rita.id()]);
    assert!(!output.stdout.contains(&0x1b), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(anna.tree().is_empty());
}
