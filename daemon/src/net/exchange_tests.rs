//! Who is told of whom, on a clock of our own.

use super::*;

const FOLDER: FolderId = FolderId([1; 16]);
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(9, 9, 9, 9)), 4455);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn device(n: u8) -> DeviceId {
    DeviceId([n; 32])
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Device n at 198.51.100.n would be an address of documentation, which nobody may name.
fn public(n: u8) -> Member {
    Member { folder: FOLDER, device: device(n), address: SocketAddr::from(([9, 9, 9, n], 4455)) }
}

fn member(n: u8, text: &str) -> Member {
    Member { folder: FOLDER, device: device(n), address: address(text) }
}

fn poll(exchange: &mut Exchange, members: &[Member], seconds: u64) -> Vec<(u8, Vec<SocketAddr>)> {
    let plan = exchange.poll(members, members, at(seconds));
    plan.tell.into_iter().map(|(_, device, addresses)| (device.0[0], addresses)).collect()
}

#[test]
fn those_who_are_here_are_told_of_each_other_a_few_seconds_after_the_second_has_joined() {
    let mut exchange = Exchange::default();
    let members = [public(1), public(2)];
    assert_eq!(poll(&mut exchange, &members[..1], 0), []);
    assert_eq!(exchange.poll(&members, &members, at(10)), Plan { tell: Vec::new(), wake: at(13) });
    let told = poll(&mut exchange, &members, 13);
    assert_eq!(told, [(1, vec![members[1].address]), (2, vec![members[0].address])]);
    assert_eq!(poll(&mut exchange, &members, 14), []);
}

#[test]
fn news_go_out_once_a_minute_and_only_what_is_new() {
    let mut exchange = Exchange::default();
    poll(&mut exchange, &[public(1), public(2)], 0);
    assert_eq!(poll(&mut exchange, &[public(1), public(2)], 3).len(), 2);
    let members = [public(1), public(2), public(3)];
    assert_eq!(poll(&mut exchange, &members, 10), []);
    assert_eq!(poll(&mut exchange, &members, 13), [(3, vec![public(1).address, public(2).address])]);
    assert_eq!(poll(&mut exchange, &members, 62), []);
    let news = vec![public(3).address];
    assert_eq!(poll(&mut exchange, &members, 63), [(1, news.clone()), (2, news)]);
}

#[test]
fn of_hundreds_each_minute_fifty_more_are_told() {
    let mut exchange = Exchange::default();
    let members: Vec<_> = (0..=200).map(public).collect();
    let listener = &members[..1];
    let mut told = Vec::new();
    for second in 0..300 {
        for (_, _, addresses) in exchange.poll(&members, listener, at(second)).tell {
            assert!(addresses.len() <= 50);
            told.push((second, addresses));
        }
    }
    assert_eq!(told.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [3, 63, 123, 183]);
    let all: BTreeSet<_> = told.into_iter().flat_map(|(_, addresses)| addresses).collect();
    assert_eq!(all.len(), 200);
}

#[test]
fn a_private_address_is_told_only_to_those_at_a_private_one_and_one_of_the_machine_or_link_to_nobody() {
    let inside = [member(1, "192.168.1.1:4455"), member(2, "10.0.0.2:4455"), member(3, "[fd00::3]:4455")];
    let outside = [member(4, "9.9.9.9:4455"), member(5, "[2001:4860::5]:4455")];
    let nobody = [member(6, "127.0.0.1:4455"), member(7, "[fe80::7]:4455"), member(8, "169.254.0.8:4455")];
    let all: Vec<_> = [&inside[..], &outside, &nobody].concat();
    let told = |listener| worth_telling(&listener, &all);
    assert_eq!(told(outside[0]), BTreeSet::from([outside[1].address]));
    let others = [inside[1], inside[2], outside[0], outside[1]].map(|member| member.address);
    assert_eq!(told(inside[0]), BTreeSet::from(others));
}

#[test]
fn nobody_is_told_of_itself_of_a_device_at_its_own_address_or_of_another_folder() {
    let elsewhere = Member { folder: FolderId([9; 16]), ..public(4) };
    let twice = Member { address: address("9.9.9.77:4455"), ..public(1) };
    let same_place = Member { address: public(1).address, ..public(3) };
    let members = [public(1), twice, same_place, elsewhere];
    assert_eq!(worth_telling(&public(1), &members), BTreeSet::new());
}

#[test]
fn where_it_is_switched_off_nothing_is_told_or_taken() {
    let mut exchange = Exchange::default();
    exchange.off.insert(FOLDER);
    for second in 0..100 {
        assert_eq!(poll(&mut exchange, &[public(1), public(2)], second), []);
    }
    assert_eq!(exchange.handle_addresses(FOLDER, device(1), &["9.9.9.9:4455".into()], at(0)), []);
}

#[test]
fn an_address_is_told_again_before_it_is_believed_no_more() {
    let mut exchange = Exchange::default();
    let members = [public(1), public(2)];
    let times: Vec<u64> = (0..3600).filter(|n| !poll(&mut exchange, &members, *n).is_empty()).collect();
    assert_eq!(times, [3, 1206, 2409]);
}

#[test]
fn who_comes_back_is_told_all_again_but_not_within_the_minute() {
    let mut exchange = Exchange::default();
    let members = [public(1), public(2)];
    for second in 0..10 {
        poll(&mut exchange, &members, second);
    }
    poll(&mut exchange, &members[..1], 20);
    assert_eq!(poll(&mut exchange, &members, 30), []);
    assert_eq!(
        poll(&mut exchange, &members, 63),
        [(1, vec![members[1].address]), (2, vec![members[0].address])]
    );
}

#[test]
fn a_flood_of_addresses_is_cut_off_for_each_peer_and_names_are_not_looked_up() {
    let mut exchange = Exchange::default();
    let flood: Vec<String> = (0..64).map(|n| format!("9.9.9.{n}:4455")).collect();
    let mut taken = 0;
    for _ in 0..100 {
        taken += exchange.handle_addresses(FOLDER, device(1), &flood, at(0)).len();
    }
    assert_eq!(taken, 64);
    assert_eq!(exchange.handle_addresses(FOLDER, device(2), &flood, at(0)).len(), 64);
    assert_eq!(exchange.handle_addresses(FOLDER, device(1), &flood, at(60)).len(), 64);
    let odd = ["localhost:4455", "", "9.9.9.9", "[::ffff:9.9.9.9]:4455"].map(str::to_owned);
    assert_eq!(exchange.handle_addresses(FOLDER, device(3), &odd, at(0)), [address("9.9.9.9:4455")]);
}

#[test]
fn what_is_reached_is_reported_once_and_again_after_hours() {
    let mut exchange = Exchange::default();
    assert!(exchange.handle_reached(&public(1), at(0)));
    assert!(!exchange.handle_reached(&public(1), at(60)));
    assert!(exchange.handle_reached(&public(1), at(6 * 3600)));
    exchange.forget(FOLDER, Some(public(1).address));
    assert!(exchange.handle_reached(&public(1), at(6 * 3600)));
    let other = Member { device: device(9), ..public(1) };
    assert!(exchange.handle_reached(&other, at(6 * 3600)), "another device has the address now");
}

#[test]
fn an_address_of_the_machine_or_of_this_boot_is_not_remembered() {
    for passing in ["127.0.0.1:4455", "[::1]:4455", "[fe80::1%3]:4455", "169.254.1.1:4455"] {
        assert!(!Exchange::default().handle_reached(&member(1, passing), at(0)), "{passing}");
    }
}

#[test]
fn who_is_strict_remembers_nobody_and_believes_peers_only_where_they_exchange_addresses() {
    let mut exchange = Exchange::default();
    assert!(exchange.remembers(FOLDER, ANYWHERE) && exchange.believes(FOLDER));
    exchange.off.insert(FOLDER);
    assert!(exchange.believes(FOLDER), "of themselves, and of whom they introduce");
    exchange.strict.insert(FOLDER);
    assert!(!exchange.remembers(FOLDER, ANYWHERE) && !exchange.believes(FOLDER));
    exchange.off.remove(&FOLDER);
    assert!(!exchange.remembers(FOLDER, ANYWHERE) && exchange.believes(FOLDER));
}

#[test]
fn what_a_person_has_taken_back_is_not_remembered_though_somebody_is_reached_there() {
    let mut exchange = Exchange::default();
    exchange.disowned.insert((FOLDER, public(1).address));
    assert!(!exchange.handle_reached(&public(1), at(0)) && !exchange.remembers(FOLDER, public(1).address));
    assert!(exchange.handle_reached(&public(2), at(0)) && exchange.remembers(FOLDER, public(2).address));
}

#[test]
fn of_a_thousand_only_those_whose_turn_it_is_are_looked_at() {
    let mut exchange = Exchange::default();
    let many = |count: u16| -> Vec<Member> {
        let numbers = (0..count).map(u16::to_be_bytes);
        let address = |[a, b]: [u8; 2]| SocketAddr::from(([9, 9, a, b], 4455));
        numbers
            .map(|n| Member {
                folder: FOLDER,
                device: DeviceId([n[0], n[1], 1, 1].repeat(8).try_into().unwrap()),
                address: address(n),
            })
            .collect()
    };
    let (all, late) = (many(1001), many(1001)[1000]);
    exchange.poll(&all[..1000], &all[..1000], at(0));
    exchange.poll(&all, &all, at(1));
    assert_eq!(exchange.poll(&all, &all, at(3)).tell.len(), 1000);
    exchange.compared = 0;
    let plan = exchange.poll(&all, &all, at(4));
    assert_eq!(plan.tell.iter().map(|(_, device, _)| *device).collect::<Vec<_>>(), [late.device]);
    assert_eq!(plan.wake, at(63));
    assert_eq!(exchange.compared, 1001);
}
