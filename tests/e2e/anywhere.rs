//! Devices that know a key and a tracker and nothing else: one of ours, and one that others wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::time::SystemTime;

use harness::{Device, Folder, Internet, Nat, Net, eventually, in_sync, skipped};
use serde_json::Value;

use crate::net;

/// Where the tracker is: the first device of each network.
const TRACKER: &str = "10.77.0.1:6969";

/// A running tracker; it ends with its story.
struct Tracker {
    process: Child,
    host: Rc<Device>,
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tracker {
    fn ours(host: &Rc<Device>) -> Self {
        let host = Rc::clone(host);
        let mut tracker = host.on_wire(&["tracker", "--listen", TRACKER]);
        let process = tracker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { process, host }
    }

    /// Debian's opentracker with these discovery ids on its white list; `None`, said out loud, where it
    /// is not installed.
    fn opentracker(net: &Net, host: &Rc<Device>, white: &str) -> Option<Self> {
        if !Path::new("/usr/bin/opentracker").exists() {
            skipped("opentracker is not installed");
            return None;
        }
        let host = Rc::clone(host);
        let config = host.data().join("config");
        // It reads the list as nobody, below its root.
        for path in host.data().ancestors().take_while(|path| path.starts_with(net.directory())) {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let root = host.data().display();
        let lines = format!("listen.tcp_udp {TRACKER}\naccess.whitelist /white\ntracker.rootdir {root}\n");
        fs::write(&config, lines).unwrap();
        fs::write(host.data().join("white"), format!("{white}\n")).unwrap();
        let mut command = host.program_on_wire(Path::new("/usr/bin/opentracker"));
        let command = command.arg("-f").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self { process: command.spawn().unwrap(), host })
    }

    /// Returns when it answers.
    fn answers(self) -> Self {
        eventually("the tracker answers", || {
            let probe = "exec 3<>/dev/tcp/10.77.0.1/6969";
            let mut shell = self.host.program_on_wire(Path::new("/bin/bash"));
            shell.args(["-c", probe]).stderr(Stdio::null()).status().unwrap().success().then_some(())
        });
        self
    }
}

/// A device that looks for nobody yet.
fn device(net: &Net, name: &str) -> Rc<Device> {
    let device = net.stopped_device(name);
    let settings = format!("name = \"{name}\"\n\n[discovery]\nlan = false\ndht = false\n");
    fs::write(device.home().join("config.toml"), settings).unwrap();
    device.start();
    device
}

/// From now on its only way is that tracker.
fn set_tracker(device: &Device, tracker: &str) {
    device.json(&["config", "set", "discovery.trackers", tracker]);
}

fn tracker_row(folder: &Folder) -> Value {
    let row = folder.row();
    let rows = row["discovery"].as_array().expect("a list").clone();
    rows.into_iter().find(|row| row["way"] == "tracker").expect("a tracker")
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// The finding with that code, as soon as there is one.
fn found(folder: &Folder, code: &str) -> Value {
    eventually(&format!("doctor finds {code}"), || {
        let all = folder.device().json(&["doctor", folder.id()]);
        all["findings"].as_array()?.iter().find(|finding| finding["code"] == code).cloned()
    })
}

fn no_problem(folder: &Folder) {
    let all = folder.device().json(&["doctor", folder.id()]);
    let all = all["findings"].as_array().expect("a list");
    assert!(all.iter().all(|finding| finding["severity"] != "problem"), "{all:?}");
}

/// Two devices that know the key meet through that tracker.
fn meet(anna: &Folder, ben: &Rc<Device>, tracker: &str) {
    anna.write("file", "file");
    set_tracker(anna.device(), tracker);
    set_tracker(ben, tracker);
    let ben = ben.join(anna.writer_key());
    in_sync(&[anna, &ben]);
    let row = tracker_row(&ben);
    assert!(row["last_announce"].is_u64() && row["error"].is_null(), "{row}");
    no_problem(&ben);
}

/// Through a tracker of ours, over each protocol alone.
#[test]
fn two_devices_that_know_only_the_key_meet_through_our_tracker() {
    for tracker in [format!("udp://{TRACKER}"), format!("http://{TRACKER}/announce")] {
        let net = net();
        if !net.has_wires() {
            return;
        }
        let _tracker = Tracker::ours(&net.stopped_device("tracker")).answers();
        let anna = device(&net, "anna").share("docs");
        meet(&anna, &device(&net, "ben"), &tracker);
    }
}

/// Through a tracker that others wrote and that has the folder on its white list.
#[test]
fn two_devices_that_know_only_the_key_meet_through_opentracker() {
    for tracker in [format!("udp://{TRACKER}/announce"), format!("http://{TRACKER}/announce")] {
        let net = net();
        if !net.has_wires() {
            return;
        }
        let host = net.stopped_device("tracker");
        let anna = device(&net, "anna").share("docs");
        let keys = anna.device().json(&["keys", anna.id()]);
        let white = keys["discovery_id"].as_str().unwrap();
        let Some(running) = Tracker::opentracker(&net, &host, white) else { return };
        let _running = running.answers();
        meet(&anna, &device(&net, "ben"), &tracker);
    }
}

/// Without that entry the tracker refuses, and `status` and `doctor` say so, with what its operator
/// has to do.
#[test]
fn a_tracker_that_refuses_is_named_with_what_it_wants() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let host = net.stopped_device("tracker");
    let anna = device(&net, "anna").share("docs");
    let Some(running) = Tracker::opentracker(&net, &host, &"0".repeat(40)) else { return };
    let _running = running.answers();
    set_tracker(anna.device(), &format!("udp://{TRACKER}"));
    let refused = found(&anna, "TRACKER_REFUSES");
    let keys = anna.device().json(&["keys", anna.id()]);
    let next = refused["next"].as_str().expect("a next step");
    assert!(next.contains(keys["discovery_id"].as_str().unwrap()), "{refused}");
    assert!(
        tracker_row(&anna)["error"].as_str().is_some_and(|error| error.contains("refused")),
        "{}",
        anna.row()
    );
    let shown = anna.device().cli(&["status", "docs"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("refused"), "{shown:?}");
}

/// Of two trackers one is dead: the other is enough, and `status` tells them apart.
#[test]
fn a_dead_tracker_does_not_hold_up_the_living_one() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let _tracker = Tracker::ours(&net.stopped_device("tracker")).answers();
    let (anna, ben) = (device(&net, "anna").share("docs"), device(&net, "ben"));
    anna.write("file", "file");
    let both = format!("udp://10.77.0.99:6969,udp://{TRACKER}");
    set_tracker(anna.device(), &both);
    set_tracker(&ben, &both);
    let ben = ben.join(anna.writer_key());
    in_sync(&[&anna, &ben]);
    let rows = || ben.row()["discovery"].as_array().expect("a list").clone();
    eventually("the dead one is told to be dead", || {
        let dead = rows().into_iter().find(|row| row["source"] == "udp://10.77.0.99:6969")?;
        (dead["error"].is_string() && dead["last_announce"].is_null()).then_some(())
    });
    let living = rows().into_iter().find(|row| row["source"] == format!("udp://{TRACKER}"));
    let living = living.expect("a row of its own");
    assert!(living["last_announce"].is_u64() && living["error"].is_null(), "{living}");
}

/// Of two alternatives the first is dead: the second is asked. When the first is there it is the one, and
/// the second stands by.
#[test]
fn an_alternative_is_asked_while_the_one_before_it_is_dead() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let _tracker = Tracker::ours(&net.stopped_device("tracker")).answers();
    let (anna, ben) = (device(&net, "anna").share("docs"), device(&net, "ben"));
    anna.write("file", "file");
    let (dead, living) = ("udp://10.77.0.99:6969".to_owned(), format!("udp://{TRACKER}"));
    set_tracker(anna.device(), &format!("{dead} {living}"));
    set_tracker(&ben, &format!("{dead} {living}"));
    let ben = ben.join(anna.writer_key());
    in_sync(&[&anna, &ben]);
    let row = |url: &str| {
        let rows = ben.row()["discovery"].as_array().expect("a list").clone();
        rows.into_iter().find(|row| row["source"] == url).expect("a row of its own")
    };
    assert!(row(&dead)["error"].is_string(), "{}", ben.row());
    assert!(row(&living)["last_announce"].is_u64() && row(&living)["stands_by"] == false, "{}", ben.row());

    set_tracker(ben.device(), &format!("{living} {dead}"));
    eventually("the other way round nobody asks the dead one", || {
        (row(&living)["last_announce"].is_u64() && row(&dead)["stands_by"] == true).then_some(())
    });
    assert!(row(&dead)["error"].is_null(), "{}", ben.row());
    let shown = ben.device().cli(&["status", ben.id()]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("stands by"), "{shown:?}");
}

/// Three meet through a tracker; then it is gone for good, all are started anew, and they find each other
/// all the same.
#[test]
fn those_who_have_met_need_no_tracker_any_more() {
    let net = net().online();
    if !net.has_wires() {
        return;
    }
    let tracker = Tracker::ours(&net.stopped_device("tracker")).answers();
    let devices = ["anna", "ben", "carl"].map(|name| device(&net, name));
    devices.iter().for_each(|device| set_tracker(device, &format!("udp://{TRACKER}")));
    let anna = devices[0].share("docs");
    anna.write("file", "file");
    let (ben, carl) = (devices[1].join(anna.writer_key()), devices[2].join(anna.writer_key()));
    let all = [&anna, &ben, &carl];
    eventually("all have met all", || all.iter().all(|one| one.number("peers") == 2).then_some(()));
    in_sync(&all);

    drop(tracker);
    devices.iter().for_each(|device| device.stop());
    devices.iter().for_each(|device| device.start());
    carl.write("later", "later");
    eventually("all find all again", || all.iter().all(|one| one.number("peers") == 2).then_some(()));
    in_sync(&all);
    assert!(tracker_row(&ben)["last_announce"].is_null(), "{}", ben.row());
}

/// A tracker that is set for one folder is asked for that one alone.
#[test]
fn a_tracker_of_one_folder_hears_of_no_other() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let _tracker = Tracker::ours(&net.stopped_device("tracker")).answers();
    let (anna, ben) = (device(&net, "anna"), device(&net, "ben"));
    let (public, private) = (anna.share("public"), anna.share("private"));
    anna.json(&["config", "set", "--folder", public.id(), "discovery.trackers", &format!("udp://{TRACKER}")]);
    let link = anna.json(&["keys", public.id()])["link"].as_str().unwrap().to_owned();
    assert!(link.contains("&t=udp://10.77.0.1:6969"), "{link}");
    // Without its addresses, so that the tracker in the link is the only way.
    let key_and_tracker = format!("syncd://{}?t=udp://{TRACKER}", public.writer_key());
    let joined = ben.join_in("public", &key_and_tracker);
    in_sync(&[&public, &joined]);
    assert_eq!(found(&private, "NO_WAY")["folder"], "private");
}

/// Started without a network: when there is one the tracker is asked at once, not at the time appointed
/// before, and `doctor` is right before and after.
#[test]
fn a_network_that_appears_is_used_at_once() {
    let net = net();
    if !net.has_wires() {
        return;
    }
    let _tracker = Tracker::ours(&net.stopped_device("tracker")).answers();
    let (first, second) = (device(&net, "anna"), device(&net, "ben"));
    let anna = first.share("docs");
    anna.write("file", "file");
    set_tracker(&first, &format!("udp://{TRACKER}"));
    set_tracker(&second, &format!("udp://{TRACKER}"));
    second.stop();
    second.disconnect();
    second.start();
    let ben = second.join(anna.writer_key());
    assert_eq!(found(&ben, "NO_NETWORK")["severity"], "problem");
    let appointed = eventually("the next try is some time away", || {
        let next = tracker_row(&ben)["next"].as_u64()?;
        (next > seconds_since_1970() + 20).then_some(next)
    });
    second.connect();
    eventually("it is asked", || (tracker_row(&ben)["next"] != appointed).then_some(()));
    assert!(seconds_since_1970() < appointed, "before the appointed time");
    eventually("a peer is found", || (ben.number("peers") == 1).then_some(()));
    in_sync(&[&anna, &ben]);
    no_problem(&ben);
}

/// A link made at home is enough elsewhere: `get` behind another gateway fetches the folder with nothing
/// else configured.
#[test]
fn a_link_made_behind_one_gateway_is_enough_behind_another() {
    let Some(internet) = Internet::new() else {
        skipped("it needs network namespaces and nft, that is, root");
        return;
    };
    let net = net();
    let public = internet.host();
    let host = net.device_at("tracker", &public);
    let address = format!("{}:6969", public.public());
    let mut tracker = host.on_wire(&["tracker", "--listen", &address]);
    let process = tracker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _tracker = Tracker { process, host };
    let (anna_home, ben_home) = (internet.home(Nat::Preserving), internet.home(Nat::Preserving));
    let first = net.device_at("anna", &anna_home);
    first.start();
    let anna = first.share("docs");
    anna.write("file", [7; 300_000]);
    anna.settle();
    set_tracker(&first, &format!("udp://{address}"));
    let link = first.json(&["keys", anna.id()])["link_read_only"].as_str().unwrap().to_owned();
    let ben = net.device_at("ben", &ben_home);
    let got = ben.on_wire(&["get", &link, "got", "--timeout", "60"]).output().unwrap();
    assert!(got.status.success(), "{got:?}\n{link}");
    assert_eq!(fs::read(ben.data().join("got/file")).unwrap(), [7; 300_000]);
}
