use super::*;
use crate::api::types::Capability;

fn row(peers: u64, discovery: Vec<WayRow>) -> FolderRow {
    FolderRow {
        folder_id: "aaaabbbbccccddddeeeeffff22".into(),
        name: "photos".into(),
        path: "/data/photos".into(),
        capability: Capability::Read,
        state: FolderState::Idle,
        reason: None,
        message: None,
        files: 0,
        bytes: 0,
        need_files: 0,
        need_bytes: 0,
        peers,
        seeds: peers,
        leeches: 0,
        down_rate: 0,
        up_rate: 0,
        problems: 0,
        local_changes: 0,
        conflicts: 0,
        head: None,
        discovery,
    }
}

fn folder(peers: u64, ways: &[WayRow]) -> FolderFacts {
    FolderFacts {
        row: row(peers, ways.to_vec()),
        fingerprint: "tidy-otter-42".into(),
        discovery_id: "0123456789abcdef0123456789abcdef01234567".into(),
        is_created: false,
        looking_for: Duration::from_secs(300),
        known: Vec::new(),
    }
}

fn way(way: &str, source: &str, error: Option<&str>) -> WayRow {
    WayRow {
        way: way.into(),
        source: Some(source.into()),
        enabled: true,
        error: error.map(str::to_owned),
        ..WayRow::default()
    }
}

fn off(way: &str) -> WayRow {
    WayRow { way: way.into(), ..WayRow::default() }
}

fn known(address: &str, found_by: FoundBy, failures: u32) -> KnownAddress {
    KnownAddress { address: address.into(), found_by, failures, is_connected: false }
}

fn reach(nat: &str) -> Reach {
    Reach { nat: nat.into(), observed: vec!["203.0.113.7:40000".into()], ..Reach::default() }
}

fn facts(folders: Vec<FolderFacts>) -> Facts {
    Facts {
        is_offline: false,
        has_network: true,
        listen: vec!["[::]:4455".parse().unwrap()],
        buffer: Some((8 << 20, 8 << 20)),
        reach: Reach::default(),
        clock: NOT_BEFORE + 1,
        folders,
    }
}

fn codes(facts: &Facts) -> Vec<String> {
    let found = findings(facts).into_iter();
    found.filter(|found| found.severity != Severity::Good).map(|found| found.code).collect()
}

const TRACKER: &str = "udp://tracker.example:6969";

/// What is wrong, and under which codes it is found.
type Case = (&'static str, Facts, &'static [&'static str]);

fn lan() -> WayRow {
    way("lan", "eth0", None)
}

fn tracker(error: Option<&str>) -> WayRow {
    way("tracker", TRACKER, error)
}

/// A folder where all is well, but for this.
fn with(change: impl Fn(&mut Facts)) -> Facts {
    let mut facts = facts(vec![folder(1, &[lan()])]);
    change(&mut facts);
    facts
}

/// A folder without peers that has these ways, and this about it.
fn of(ways: &[WayRow], change: impl Fn(&mut FolderFacts)) -> Facts {
    let mut folder = folder(0, ways);
    change(&mut folder);
    facts(vec![folder])
}

fn cases() -> impl Iterator<Item = Case> {
    of_machine().into_iter().chain(of_ways()).chain(of_reach())
}

fn of_machine() -> Vec<Case> {
    vec![
        ("all is well", with(|_| {}), &[]),
        ("no network", with(|facts| facts.has_network = false), &["NO_NETWORK"]),
        (
            "no network and so nobody",
            Facts { has_network: false, ..of(&[lan(), tracker(Some("no route to it"))], |_| {}) },
            &["NO_NETWORK"],
        ),
        ("offline mode", with(|facts| facts.is_offline = true), &["OFFLINE"]),
        ("a clock that was never set", with(|facts| facts.clock = 86_400), &["CLOCK"]),
        ("small buffers", with(|facts| facts.buffer = Some((208 << 10, 8 << 20))), &["SMALL_BUFFERS"]),
        (
            "loopback alone",
            with(|facts| facts.listen = vec!["127.0.0.1:4455".parse().unwrap()]),
            &["LOOPBACK_ONLY"],
        ),
        ("no way", of(&[off("lan"), off("tracker"), off("dht")], |_| {}), &["NO_WAY"]),
    ]
}

fn of_ways() -> Vec<Case> {
    let refused = Some("the tracker refused this folder: Requested download is not authorized");
    vec![
        ("a mistyped key", of(&[lan(), tracker(None)], |_| {}), &["NOBODY_THERE"]),
        (
            "nobody has joined",
            of(&[lan(), tracker(None)], |folder| folder.is_created = true),
            &["NOBODY_THERE"],
        ),
        (
            "only just begun",
            of(&[lan(), tracker(None)], |folder| folder.looking_for = Duration::from_secs(3)),
            &["LOOKING"],
        ),
        ("beacons alone", of(&[lan(), off("tracker")], |_| {}), &["NOBODY_THERE", "ONLY_LAN"]),
        ("a white list", of(&[tracker(refused)], |_| {}), &["TRACKER_REFUSES"]),
        ("a dead tracker", of(&[tracker(Some("it does not answer"))], |_| {}), &["TRACKER_FAILS"]),
        (
            "a dead tracker and peers nevertheless",
            facts(vec![folder(2, &[lan(), tracker(Some("it does not answer"))])]),
            &["TRACKER_FAILS"],
        ),
        (
            "the other side cannot be reached",
            of(&[tracker(None)], |folder| {
                folder.known = vec![
                    known("203.0.113.7:4455", FoundBy::Tracker, 3),
                    known("192.168.1.9:4455", FoundBy::Tracker, 2),
                ];
            }),
            &["NOBODY_ANSWERS"],
        ),
        (
            "a pinned peer that is away",
            of(&[off("lan")], |folder| folder.known = vec![known("ben.example:4455", FoundBy::Pinned, 9)]),
            &["NOBODY_ANSWERS"],
        ),
        (
            "a dial under way",
            of(&[tracker(None)], |folder| {
                folder.known = vec![known("203.0.113.7:4455", FoundBy::Tracker, 0)];
            }),
            &["DIALLING"],
        ),
        ("beacons fail", of(&[way("lan", "eth0", Some("no route"))], |_| {}), &["ONLY_LAN", "LAN_FAILS"]),
        ("the DHT fails", of(&[way("dht", "", Some("no node answers"))], |_| {}), &["DHT_FAILS"]),
    ]
}

fn of_reach() -> Vec<Case> {
    vec![
        (
            "a copied home",
            with(|facts| {
                let row = &mut facts.folders[0].row;
                (row.state, row.reason) = (FolderState::Held, Some("DUP_DEVICE_ID".into()));
                row.message = Some("another daemon runs with a copy of this device's home".into());
            }),
            &["DUP_DEVICE_ID"],
        ),
        ("an open device", with(|facts| facts.reach = reach("open")), &[]),
        ("a router", with(|facts| facts.reach = reach("nat")), &["NAT"]),
        ("a difficult router", with(|facts| facts.reach = reach("symmetric")), &["SYMMETRIC_NAT"]),
        (
            "a router that does not map",
            with(|facts| {
                let mapping_error = Some("gateway 192.168.1.1: no answer".to_owned());
                facts.reach = Reach { port_mapping: true, mapping_error, ..reach("nat") };
            }),
            &["NAT"],
        ),
        (
            "a router that maps",
            with(|facts| {
                let (mapped, by) = (Some("203.0.113.7:4455".to_owned()), Some("UPnP".to_owned()));
                facts.reach = Reach { mapped, mapped_by: by, ..reach("nat") };
            }),
            &[],
        ),
        ("paused", with(|facts| facts.folders[0].row.state = FolderState::Paused), &["PAUSED"]),
    ]
}

#[test]
fn each_trouble_is_found_and_nothing_else() {
    for (name, facts, expected) in cases() {
        assert_eq!(codes(&facts), expected, "{name}");
    }
}

#[test]
fn what_is_said_is_as_reviewed_and_each_problem_has_a_next_step() {
    let mut text = String::new();
    for (name, facts, _) in cases() {
        text.push_str(&format!("--- {name}\n"));
        for found in findings(&facts) {
            assert!(found.severity != Severity::Problem || found.next.is_some(), "{found:?}");
            text.push_str(&format!("{:?} {}\n", found.severity, found.message));
            found.next.iter().for_each(|next| text.push_str(&format!("     next: {next}\n")));
        }
    }
    insta::assert_snapshot!(text);
}
