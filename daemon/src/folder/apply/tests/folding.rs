//! Names that the disk does not tell apart: neither file is touched for the other.

use super::*;
use crate::disk::FoldingDisk;

const COMPOSED: &str = "caf\u{e9}";
const DECOMPOSED: &str = "cafe\u{301}";

impl Home {
    fn folding(decomposes: bool) -> Self {
        let mut home = Self::new();
        home.fold(decomposes);
        home
    }

    fn fold(&mut self, decomposes: bool) {
        let real = RealDisk::open(self.root.path(), SpecialBits::Strip).expect("open");
        let folding = FoldingDisk::new(Arc::new(real), decomposes);
        self.disk = Arc::new(FaultyDisk::new(Arc::new(folding)));
    }

    fn names(&self, below: &str) -> Vec<String> {
        let listed = fs::read_dir(self.at(below)).expect("list");
        let names = listed.map(|one| one.expect("entry").file_name().into_string().expect("text"));
        let mut names: Vec<_> = names.filter(|name| name != ".syncd").collect();
        names.sort();
        names
    }
}

fn is_collision(outcome: &Outcome, names: [&str; 2]) -> bool {
    matches!(outcome, Outcome::Problem { code: "COLLISION", message }
        if names.iter().all(|name| message.contains(&format!("`{name}`"))))
}

#[test]
fn a_file_whose_name_is_taken_in_another_spelling_is_a_collision() {
    for (there, new) in [("a", "A"), (COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)] {
        // Equal bytes are no reason to take one file for both.
        for bytes in ["one", "two"] {
            let home = Home::folding(false);
            home.put(there, b"one");
            let source = home.stage("s", bytes.as_bytes());
            let outcomes = home.run(&[op(new, None, Some(file(new, bytes.as_bytes())), source)]);
            assert!(is_collision(&outcomes[0], [there, new]), "{outcomes:?}");
            assert_eq!(home.names(""), [there]);
            assert_eq!(fs::read(home.at(there)).expect("read"), b"one");
            assert!(home.holds(bytes.as_bytes()), "staged still");
        }
    }
}

#[test]
fn a_directory_whose_name_is_taken_in_another_spelling_takes_nothing_below_it() {
    let home = Home::folding(false);
    home.run(&[op("Dir", None, Some(directory("Dir", 0o755)), Source::None)]);
    home.put("Dir/x", b"x");
    let ops = [
        op("dir", None, Some(directory("dir", 0o755)), Source::None),
        op("dir/x", None, Some(file("dir/x", b"x")), home.stage("s", b"x")),
        op("dir/y", None, Some(file("dir/y", b"y")), home.stage("t", b"y")),
    ];
    let outcomes = home.run(&ops);
    assert!(is_collision(&outcomes[0], ["Dir", "dir"]), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|one| matches!(one, Outcome::Waits(_))), "{outcomes:?}");
    assert_eq!((home.names(""), home.names("Dir")), (vec!["Dir".to_owned()], vec!["x".to_owned()]));
}

#[test]
fn a_rename_of_the_spelling_alone_is_made() {
    for (old, new) in [("a", "A"), (COMPOSED, DECOMPOSED)] {
        let home = Home::folding(false);
        let record = home.put(old, b"one");
        let source = Source::MovedFrom { path: path(old), record };
        let outcomes = home.run(&[op(new, None, Some(file(new, b"one")), source)]);
        assert!(matches!(outcomes[0], Outcome::Done(Some(_))), "{outcomes:?}");
        assert_eq!(home.names(""), [new]);
    }
}

#[test]
fn a_name_that_the_disk_writes_otherwise_is_taken_back() {
    let home = Home::folding(true);
    let below = format!("{COMPOSED}/f");
    let ops = [
        op(COMPOSED, None, Some(directory(COMPOSED, 0o755)), Source::None),
        op(&below, None, Some(file(&below, b"below")), home.stage("s", b"below")),
        op("plain", None, Some(file("plain", b"plain")), home.stage("t", b"plain")),
    ];
    let outcomes = home.run(&ops);
    assert!(is_collision(&outcomes[0], [COMPOSED, DECOMPOSED]), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Waits(_)), "{outcomes:?}");
    assert!(matches!(outcomes[2], Outcome::Done(Some(_))), "{outcomes:?}");
    assert_eq!(home.names(""), ["plain"]);
    assert!(home.holds(b"below"), "staged still");
}

#[test]
fn a_file_that_its_user_respelled_is_neither_replaced_nor_removed() {
    for after in [None, Some(file("a", b"two"))] {
        let mut home = Home::new();
        let mut before = home.put("a", b"one");
        // Renaming changes the ctime: what is recorded proves nothing any more.
        before.stat = None;
        fs::rename(home.at("a"), home.at("A")).expect("rename");
        home.fold(false);
        let source = after.as_ref().map_or(Source::None, |_| home.stage("s", b"two"));
        let outcomes = home.run(&[op("a", Some(before), after, source)]);
        assert!(matches!(outcomes[0], Outcome::Touched), "{outcomes:?}");
        assert_eq!(fs::read(home.at("A")).expect("read"), b"one");
    }
}
