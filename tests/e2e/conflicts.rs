//! CF: changes that did not know of each other.

use std::fs;

use harness::{Folder, Net, in_sync};

use crate::net;

/// Cuts the wire between two devices for two deeds, and joins them again.
fn apart(anna: &Folder, ben: &Folder, of_anna: impl FnOnce(&Folder), of_ben: impl FnOnce(&Folder)) {
    ben.device().disconnect();
    of_anna(anna);
    of_ben(ben);
    anna.settle();
    ben.settle();
    ben.device().connect();
    in_sync(&[anna, ben]);
}

/// All contents of files whose names begin so, sorted.
fn contents(folder: &Folder, prefix: &str) -> Vec<String> {
    let files = folder.tree().files();
    let mut all: Vec<String> =
        files.iter().filter(|name| name.starts_with(prefix)).map(|name| folder.text(name)).collect();
    all.sort();
    all
}

/// CF-01: two edits both survive, under the same names everywhere.
#[test]
fn two_edits_apart_both_survive_under_the_same_names() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("report.txt", "base");
    in_sync(&[&anna, &ben]);
    apart(&anna, &ben, |anna| anna.write("report.txt", "by anna"), |ben| ben.write("report.txt", "by ben"));
    assert_eq!(contents(&anna, "report"), ["by anna", "by ben"]);
    let copy = anna.tree().files().into_iter().find(|name| name.contains("(conflict ")).expect("a copy");
    assert!(copy.starts_with("report (conflict 20") && copy.ends_with(").txt"), "{copy}");
    let loser = anna.text(&copy).replace("by ", "");
    assert!(copy.contains(&format!(" {loser} ")), "{copy} holds what {loser} wrote");
    assert_eq!((anna.number("conflicts"), ben.number("conflicts")), (1, 1));
}

/// CF-02: bytes that nobody has seen yet are not overwritten by newer ones from elsewhere.
#[test]
fn an_edit_that_the_daemon_has_not_seen_survives_one_that_arrives() {
    let net = net();
    let (anna, ben) = net.two_writers();
    anna.write("f", "base");
    in_sync(&[&anna, &ben]);
    ben.device().freeze();
    ben.write("f", "unseen");
    anna.write("f", "arriving");
    anna.settle();
    ben.device().thaw();
    in_sync(&[&anna, &ben]);
    assert_eq!(contents(&anna, "f"), ["arriving", "unseen"]);
}

/// CF-04: an edit beats a deletion that did not know of it.
#[test]
fn an_edit_beats_a_deletion_made_apart() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("dir/f", "base");
    anna.write("dir/g", "base");
    in_sync(&[&anna, &ben]);
    apart(&anna, &ben, |anna| anna.remove("dir"), |ben| ben.write("dir/f", "edited"));
    assert_eq!(anna.tree().files(), ["dir/f"]);
    assert_eq!((anna.text("dir/f").as_str(), anna.number("conflicts")), ("edited", 0));
}

/// CF-06: three edits apart, healed in every order, end in the same three files.
#[test]
fn three_edits_apart_end_alike_in_every_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let net = net();
        let (anna, ben) = net.two_writers();
        let carl = net.device("carl").join(anna.writer_key());
        anna.write("f", "base");
        let all = [anna, ben, carl];
        in_sync(&all.each_ref());
        all.iter().for_each(|one| one.device().stop());
        all.iter().for_each(|one| one.write("f", one.device().name()));
        for (started, index) in order.into_iter().enumerate() {
            all[index].device().start();
            let running: Vec<&Folder> = order[..=started].iter().map(|index| &all[*index]).collect();
            in_sync(&running);
        }
        assert_eq!(contents(&all[0], "f"), ["anna", "ben", "carl"], "{order:?}");
        assert_eq!(all[0].number("conflicts"), 2);
    }
}

/// CF-07: a conflict copy that is edited on both sides never gets a second mark.
#[test]
fn an_edited_conflict_copy_gets_no_second_mark() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    apart(&anna, &ben, |anna| anna.write("f.txt", "anna"), |ben| ben.write("f.txt", "ben"));
    let copy = anna.tree().files().into_iter().find(|name| name.contains("(conflict ")).expect("a copy");
    apart(&anna, &ben, |anna| anna.write(&copy, "anna again"), |ben| ben.write(&copy, "ben again"));
    let files = anna.tree().files();
    assert!(files.iter().all(|name| name.matches("(conflict ").count() <= 1), "{files:?}");
    let kept = contents(&anna, "f");
    assert!(["anna again", "ben again"].iter().all(|text| kept.iter().any(|kept| kept == text)), "{kept:?}");
    assert_eq!(kept.len(), 3, "{files:?}");
}

/// peers.md 105: deleting a conflict copy never touches the original; without its winner the loser stays.
#[test]
fn a_deleted_conflict_copy_leaves_the_original_alone() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    apart(&anna, &ben, |anna| anna.write("f", "anna"), |ben| ben.write("f", "ben"));
    let winner = anna.text("f");
    let copy = anna.tree().files().into_iter().find(|name| name.contains("(conflict ")).expect("a copy");
    ben.remove(&copy);
    in_sync(&[&ben, &anna]);
    assert_eq!((anna.tree().files(), anna.text("f")), (vec!["f".to_owned()], winner));
    assert_eq!(anna.number("conflicts"), 0);
}

/// A copy moved over the original is how a person chooses it.
#[test]
fn a_conflict_copy_moved_over_the_original_is_chosen() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    apart(&anna, &ben, |anna| anna.write("f", "anna"), |ben| ben.write("f", "ben"));
    let copy = anna.tree().files().into_iter().find(|name| name.contains("(conflict ")).expect("a copy");
    let chosen = anna.text(&copy);
    anna.rename(&copy, "f");
    in_sync(&[&anna, &ben]);
    assert_eq!((ben.tree().files(), ben.text("f")), (vec!["f".to_owned()], chosen));
}

/// CF-10, both ways: a file becomes a directory while the other edits it.
#[test]
fn a_file_made_a_directory_and_edited_apart_keeps_all() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("f", "base");
    anna.write("d/child", "base");
    in_sync(&[&anna, &ben]);
    let swap = |anna: &Folder| {
        anna.remove("f");
        anna.write("f/child", "new child");
        anna.remove("d");
        anna.write("d", "now a file");
    };
    let edit = |ben: &Folder| {
        ben.write("f", "edited");
        ben.write("d/child", "edited child");
    };
    apart(&anna, &ben, swap, edit);
    let all = contents(&anna, "");
    assert_eq!(all, ["edited", "edited child", "new child", "now a file"], "{:?}", anna.tree().files());
}

/// CF-11: a directory is renamed here and a file in it edited there; nothing else is doubled.
#[test]
fn an_edit_below_a_directory_renamed_apart_doubles_nothing_else() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    (0..100).for_each(|number| anna.write(format!("d1/{number}"), format!("file {number}")));
    in_sync(&[&anna, &ben]);
    apart(&anna, &ben, |anna| anna.rename("d1", "d2"), |ben| ben.write("d1/7", "edited"));
    assert_eq!(anna.text("d1/7"), "edited");
    assert_eq!(anna.tree().files().len(), 101);
    assert_eq!(anna.number("conflicts"), 0);
}

/// CF-12: directories moved into each other end somewhere, with all that was in them.
#[test]
fn directories_moved_into_each_other_apart_lose_nothing() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("x/in-x", "x");
    anna.write("y/in-y", "y");
    in_sync(&[&anna, &ben]);
    apart(&anna, &ben, |anna| anna.rename("x", "y/x"), |ben| ben.rename("y", "x/y"));
    let mut all = contents(&anna, "");
    all.dedup();
    assert_eq!(all, ["x", "y"], "{:?}", anna.tree().files());
}

/// Anna, Ben and Carl, who all write, in sync over what anna has made.
fn three_writers(net: &Net, make: impl FnOnce(&Folder)) -> [Folder; 3] {
    let (anna, ben) = net.two_writers();
    let carl = net.device("carl").join(anna.writer_key());
    make(&anna);
    let all = [anna, ben, carl];
    in_sync(&all.each_ref());
    all
}

/// Cuts all wires but one for a deed of each, and joins them again.
fn three_apart(all: &[Folder; 3], deeds: [fn(&Folder); 3]) {
    all[1..].iter().for_each(|one| one.device().disconnect());
    for (one, deed) in all.iter().zip(deeds) {
        deed(one);
        one.settle();
    }
    all[1..].iter().for_each(|one| one.device().connect());
    in_sync(&all.each_ref());
}

/// CF-12: three directories moved into each other in a ring.
#[test]
fn three_directories_moved_into_each_other_in_a_ring_lose_nothing() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let all = three_writers(&net, |anna| {
        ["x", "y", "z"].iter().for_each(|name| anna.write(format!("{name}/in-{name}"), name));
    });
    let into: [fn(&Folder); 3] =
        [|anna| anna.rename("x", "y/x"), |ben| ben.rename("y", "z/y"), |carl| carl.rename("z", "x/z")];
    three_apart(&all, into);
    let mut kept = contents(&all[0], "");
    kept.dedup();
    assert_eq!(kept, ["x", "y", "z"], "{:?}", all[0].tree().files());
    // Whoever tidies up does so for all: nothing of the ring comes back.
    all[1].tree().files().iter().for_each(|name| all[1].remove(name));
    all[1].write("tidy", "tidy");
    in_sync(&[&all[1], &all[0], &all[2]]);
    assert_eq!(all[2].tree().files(), ["tidy"]);
}

/// Each of the names gets what the next one had.
fn rotate(folder: &Folder, names: [&str; 3]) {
    folder.rename(names[0], "aside");
    folder.rename(names[1], names[0]);
    folder.rename(names[2], names[1]);
    folder.rename("aside", names[2]);
}

/// CF-12: three files change names in a ring, here one way, there the other, and two of them elsewhere.
#[test]
fn three_files_whose_names_rotate_apart_lose_nothing() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let all = three_writers(&net, |anna| ["a", "b", "c"].iter().for_each(|name| anna.write(name, name)));
    rotate(&all[0], ["a", "b", "c"]);
    in_sync(&all.each_ref());
    assert_eq!(["a", "b", "c"].map(|name| all[1].text(name)), ["b", "c", "a"]);
    assert_eq!(all[1].tree().files(), ["a", "b", "c"]);
    let swap = |carl: &Folder| {
        carl.rename("a", "aside");
        carl.rename("b", "a");
        carl.rename("aside", "b");
    };
    three_apart(&all, [|anna| rotate(anna, ["a", "b", "c"]), |ben| rotate(ben, ["c", "b", "a"]), swap]);
    let mut kept = contents(&all[2], "");
    kept.dedup();
    assert_eq!(kept, ["a", "b", "c"], "{:?}", all[2].tree().files());
    for name in ["a", "b", "c"] {
        assert!(all.iter().all(|one| one.has(name)), "{name} is still there");
    }
}

/// CF-12: the names of conflict copies change in a ring, here one way and there the other.
#[test]
fn conflict_copies_whose_names_rotate_apart_lose_nothing_and_get_no_second_mark() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let all = three_writers(&net, |anna| anna.write("f", "base"));
    let write = |one: &Folder| one.write("f", one.device().name());
    three_apart(&all, [write; 3]);
    assert_eq!(contents(&all[1], ""), ["anna", "ben", "carl"]);
    let forward = |one: &Folder| {
        let names = one.tree().files();
        rotate(one, [&names[0], &names[1], &names[2]]);
    };
    let backward = |one: &Folder| {
        let names = one.tree().files();
        rotate(one, [&names[2], &names[1], &names[0]]);
    };
    three_apart(&all, [forward, backward, |carl| carl.append("f", " again")]);
    let kept = contents(&all[0], "");
    for text in ["anna", "ben", "carl", " again"] {
        assert!(kept.iter().any(|kept| kept.contains(text)), "{text} in {kept:?}");
    }
    let files = all[0].tree().files();
    assert!(files.iter().all(|name| name.matches("(conflict ").count() <= 1), "{files:?}");
}

/// A rename on both sides keeps the file under both names.
#[test]
fn a_rename_on_both_sides_keeps_both_names() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("f", "content");
    in_sync(&[&anna, &ben]);
    apart(&anna, &ben, |anna| anna.rename("f", "by-anna"), |ben| ben.rename("f", "by-ben"));
    assert_eq!(ben.tree().files(), ["by-anna", "by-ben"]);
}

/// The same edit on both sides, and the same deletion, are no conflict.
#[test]
fn the_same_deeds_apart_are_no_conflict() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    anna.write("edited", "base");
    anna.write("deleted", "base");
    in_sync(&[&anna, &ben]);
    let deed = |one: &Folder| {
        one.write("edited", "alike");
        one.write("new", "alike");
        one.remove("deleted");
    };
    apart(&anna, &ben, deed, deed);
    assert_eq!(anna.tree().files(), ["edited", "new"]);
    assert_eq!(anna.number("conflicts"), 0);
}

/// DB-09 in small: the wall clock does not decide who wins, and a mad one loses nothing.
#[test]
fn files_from_the_past_and_the_future_conflict_like_any() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let (anna, ben) = net.two_writers();
    let edit = |one: &Folder, text: &str, time| {
        one.write("f", text);
        one.set_mtime("f", time);
    };
    let (past, future) =
        (std::time::UNIX_EPOCH, std::time::UNIX_EPOCH + std::time::Duration::from_secs(1 << 33));
    apart(&anna, &ben, |anna| edit(anna, "1970", past), |ben| edit(ben, "2242", future));
    assert_eq!(contents(&ben, "f"), ["1970", "2242"]);
    let copies = fs::read_dir(ben.root()).unwrap().count();
    assert_eq!(copies, 3, "two files and the control directory");
}
