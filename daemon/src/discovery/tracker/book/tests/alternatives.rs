//! Items of a list that name several trackers: one is asked, the others stand by.

use super::*;

const BOTH_OF_THEM: &str = "udp://192.0.2.1:1 udp://192.0.2.2:2";

/// Whom each of the requests goes to that may be made now; they stay under way.
fn asked(story: &mut Story) -> Vec<(String, Event)> {
    story.jobs().iter().map(said).map(|(url, event, _)| (url, event)).collect()
}

fn started(url: &str) -> (String, Event) {
    (url.to_owned(), Event::Started)
}

fn standing_by(story: &Story) -> Vec<bool> {
    story.book.status(id(1).0).iter().map(|shown| shown.stands_by).collect()
}

#[test]
fn while_the_first_answers_its_alternative_is_not_asked() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[BOTH_OF_THEM]);
    let job = story.job();
    assert_eq!((said(&job).0.as_str(), asked(&mut story)), (ONE, vec![]), "not even while it is asked");
    story.done(&job, answer(2));
    for _ in 0..3 {
        story.wait();
        let job = story.job();
        assert_eq!(job.line.0.to_string(), ONE);
        story.done(&job, answer(2));
    }
    assert_eq!(standing_by(&story), [false, true]);
    let rows: Vec<_> = story.book.status(id(1).0).into_iter().map(|shown| shown.source).collect();
    assert_eq!(rows, [ONE, TWO], "each has a row of its own");
}

#[test]
fn when_the_first_is_silent_or_refuses_the_next_is_asked_at_once() {
    for failure in [silence, refusal] {
        let mut story = Story::new(ONLY_V4);
        story.set(1, &[BOTH_OF_THEM]);
        let job = story.job();
        story.done(&job, failure());
        assert_eq!(asked(&mut story), [started(TWO)]);
        assert_eq!(standing_by(&story), [false, false]);
        let rows = story.book.status(id(1).0);
        assert!(rows[0].row.error.is_some() && rows[1].row.error.is_none());
    }
}

#[test]
fn a_name_has_failed_when_it_has_over_both_families() {
    let mut story = Story::new(BOTH);
    story.set(1, &["udp://tracker.example:3 udp://192.0.2.2:2"]);
    let (first, second) = (story.job(), story.job());
    story.done(&first, silence());
    assert_eq!(asked(&mut story), []);
    story.done(&second, absence(second.line.1));
    assert_eq!(asked(&mut story), [started(TWO)]);
}

#[test]
fn a_first_one_that_is_back_is_the_one_again_and_the_other_is_told_that_we_go() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[BOTH_OF_THEM]);
    let job = story.job();
    story.done(&job, silence());
    let job = story.job();
    story.done(&job, answer(1));
    // The first one goes on being tried.
    loop {
        story.wait();
        let job = story.job();
        let is_first = job.line.0.to_string() == ONE;
        story.done(&job, answer(1));
        if is_first {
            break;
        }
    }
    let job = story.job();
    assert_eq!(said(&job), (TWO.to_owned(), Event::Stopped, 4));
    story.done(&job, answer(0));
    assert_eq!(standing_by(&story), [false, true]);
    story.wait();
    assert_eq!(story.job().line.0.to_string(), ONE);
}

#[test]
fn when_all_fail_all_are_tried_ever_more_rarely() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[BOTH_OF_THEM]);
    let mut tries = BTreeMap::new();
    let begun = story.now;
    while story.now < begun + seconds(4 * 3600) {
        let job = story.job();
        *tries.entry(job.line.0.to_string()).or_insert(0_u32) += 1;
        story.done(&job, silence());
        story.wait();
    }
    // 30 s, 60 s, … half an hour.
    assert!(tries[ONE].abs_diff(tries[TWO]) <= 1 && (10..20).contains(&tries[ONE]), "{tries:?}");
}

#[test]
fn items_are_asked_side_by_side_whatever_alternatives_they_name() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &[BOTH_OF_THEM, "udp://192.0.2.3:3"]);
    assert_eq!(asked(&mut story), [started(ONE), started("udp://192.0.2.3:3")]);
}

#[test]
fn an_alternative_of_a_family_that_we_lack_is_passed_over_while_we_lack_it() {
    let mut story = Story::new(ONLY_V4);
    story.set(1, &["udp://[2001:db8::1]:1 udp://192.0.2.2:2"]);
    let job = story.job();
    assert_eq!(job.line.0.to_string(), TWO);
    story.done(&job, answer(1));
    story.book.handle_reachable(BOTH, story.now);
    let stopped = (TWO.to_owned(), Event::Stopped);
    assert_eq!(asked(&mut story), [stopped, started("udp://[2001:db8::1]:1")]);
}

#[test]
fn what_is_known_of_a_dead_one_for_another_folder_is_known_for_this() {
    let mut story = Story::new(ONLY_V4);
    story.set(2, &[ONE]);
    let job = story.job();
    story.done(&job, silence());
    story.set(1, &["udp://192.0.2.1:1 udp://192.0.2.2:2 udp://192.0.2.3:3"]);
    assert_eq!(asked(&mut story), [started(TWO)]);
}
