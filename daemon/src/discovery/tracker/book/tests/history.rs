//! Random histories.

use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What may happen to a book.
#[derive(Clone, Debug)]
enum Happening {
    Set(u16, Vec<&'static str>),
    Remove(u16),
    Reachable(Option<u16>, Option<u16>),
    NetworkChange,
    Pass(u64),
    Land(usize, u8),
}

fn happenings(len: RangeInclusive<usize>) -> impl Strategy<Value = Vec<Happening>> {
    let port = || prop::option::weighted(0.8, 1u16..4);
    let one = prop_oneof![
        2 => (0u16..4, prop::sample::subsequence(vec![ONE, TWO, NAME], 0..=3)).prop_map(|(f, t)| Happening::Set(f, t)),
        1 => (0u16..4).prop_map(Happening::Remove),
        1 => (port(), port()).prop_map(|(v4, v6)| Happening::Reachable(v4, v6)),
        1 => Just(Happening::NetworkChange),
        3 => (0u64..4000).prop_map(Happening::Pass),
        6 => (any::<usize>(), 0u8..4).prop_map(|(which, how)| Happening::Land(which, how)),
    ];
    vec(one, len)
}

fn happen(story: &mut Story, under_way: &mut Vec<Job>, happening: Happening) {
    match happening {
        Happening::Set(folder, trackers) => story.set(folder, &trackers),
        Happening::Remove(folder) => story.book.remove_folder(id(folder).0, story.now),
        Happening::Reachable(v4, v6) => story.book.handle_reachable(Reachable { v4, v6 }, story.now),
        Happening::NetworkChange => story.book.handle_network_change(story.now),
        Happening::Pass(passed) => story.now += seconds(passed),
        Happening::Land(which, how) => {
            if !under_way.is_empty() {
                let job = under_way.swap_remove(which % under_way.len());
                let outcome = [answer(1), silence(), refusal(), absence(job.line.1)];
                story.done(&job, outcome.into_iter().nth(how.into()).expect("one of four"));
            }
        }
    }
    under_way.extend(story.jobs());
}

proptest! {
    /// Whatever has happened: when trackers answer again, each folder is told at each of its trackers
    /// under the right port, and nothing else is left.
    #[test]
    fn in_the_end_the_trackers_know_what_they_should(all in happenings(0..=60)) {
        let (mut story, mut under_way) = (Story::new(BOTH), Vec::new());
        for happening in all {
            happen(&mut story, &mut under_way, happening);
        }
        story.book.handle_reachable(BOTH, story.now);
        let mut known = BTreeSet::new();
        let deadline = story.now + seconds(3 * 3600);
        while story.now < deadline {
            for job in std::mem::take(&mut under_way) {
                let name = (job.line.clone(), job.discovery);
                match job.step {
                    Step::Announce { event: Event::Stopped, .. } => known.retain(|(of, _)| *of != name),
                    Step::Announce { port, .. } => drop(known.insert((name, port))),
                    Step::Count => {}
                }
                story.done(&job, answer(1));
            }
            story.now = story.book.next_due().map_or(deadline, |due| due.max(story.now));
            under_way.extend(story.jobs());
        }
        let wanted: BTreeSet<_> = story.book.folders.values().flat_map(|listed| {
            let port = |key: &LineKey| port_of(BOTH, key.1).unwrap_or_default();
            listed.asked.clone().into_iter().map(move |key| (port(&key), key, listed.discovery))
        }).map(|(port, key, discovery)| ((key, discovery), port)).collect();
        prop_assert_eq!(known, wanted);
    }
}
