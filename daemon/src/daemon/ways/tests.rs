//! Ways that only write down what they are told.

use super::*;
use crate::config::{Config, Surroundings};

/// What was asked of all ways, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, line: String) {
        self.0.lock().push(line);
    }

    /// What was noted since the last look.
    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

struct Pretender {
    diary: Diary,
    is_broken: Arc<Mutex<bool>>,
}

impl Start for Pretender {
    fn start(&self, source: &Source, _: mpsc::Sender<Hint>) -> Result<Arc<dyn Running>, String> {
        self.diary.note(format!("start {source:?}"));
        match *self.is_broken.lock() {
            true => Err("no network".to_owned()),
            false => Ok(Arc::new(Pretended { name: format!("{source:?}"), diary: self.diary.clone() })),
        }
    }
}

struct Pretended {
    name: String,
    diary: Diary,
}

impl Running for Pretended {
    fn set_folder(&self, folder: FolderId, wish: &Wish) {
        self.diary.note(format!("{} set {} {:?}", self.name, folder.0[0], wish.trackers));
    }

    fn remove_folder(&self, folder: FolderId) {
        self.diary.note(format!("{} remove {}", self.name, folder.0[0]));
    }

    fn status(&self, _: FolderId) -> Vec<WayStatus> {
        let (source, error) = ("udp://t:1".to_owned(), Some("it refused".to_owned()));
        let last_announce = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60));
        vec![WayStatus {
            way: Way::Tracker,
            source,
            last_announce,
            next: None,
            found: 2,
            error,
            stands_by: false,
        }]
    }

    fn look_again(&self) {
        self.diary.note(format!("{} look again", self.name));
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.diary.note(format!("{} goodbye", self.name));
            if self.name == "Trackers" {
                std::future::pending::<()>().await; // a tracker that does not answer
            }
        })
    }
}

struct Stage {
    ways: Ways,
    diary: Diary,
    is_broken: Arc<Mutex<bool>>,
}

fn stage() -> Stage {
    let (diary, is_broken) = (Diary::default(), Arc::default());
    let (ways, _) = Ways::new(Pretender { diary: diary.clone(), is_broken: Arc::clone(&is_broken) });
    Stage { ways, diary, is_broken }
}

const OFF: &str = "discovery.lan = false\ndiscovery.dht = false\n";
const TRACKED: &str = "discovery.lan = false\ndiscovery.dht = false\ndiscovery.trackers = [\"udp://t:1\"]\n";

impl Stage {
    fn set(&self, number: u8, settings: &str) -> Vec<String> {
        let settings = Config::parse(settings, Surroundings::default()).unwrap().daemon().discovery;
        self.ways.set_folder(FolderId([number; 16]), DiscoveryId([number; 20]), settings);
        self.diary.read()
    }
}

#[tokio::test]
async fn a_way_starts_with_the_first_folder_and_says_goodbye_after_the_last() {
    let stage = stage();
    assert_eq!(stage.set(1, OFF), [""; 0]);
    assert_eq!(stage.set(2, TRACKED), ["start Trackers", "Trackers set 2 [\"udp://t:1\"]"]);
    assert_eq!(stage.set(2, TRACKED), [""; 0], "nothing is told twice");
    assert_eq!(stage.set(1, TRACKED), ["Trackers set 1 [\"udp://t:1\"]"]);
    assert_eq!(stage.set(2, OFF), ["Trackers remove 2"]);
    stage.ways.remove_folder(FolderId([1; 16]));
    tokio::task::yield_now().await;
    assert_eq!(stage.diary.read(), ["Trackers remove 1", "Trackers goodbye"]);
    assert!(!stage.ways.has_folder(FolderId([1; 16])) && stage.ways.has_folder(FolderId([2; 16])));
}

#[tokio::test]
async fn what_cannot_start_says_why_and_is_tried_again() {
    let stage = stage();
    *stage.is_broken.lock() = true;
    assert_eq!(stage.set(1, TRACKED), ["start Trackers"]);
    let [lan, tracker, dht] = &stage.ways.status(FolderId([1; 16]))[..] else { panic!("three ways") };
    assert_eq!((lan.enabled, dht.enabled), (false, false));
    assert_eq!((tracker.enabled, tracker.error.as_deref()), (true, Some("no network")));
    *stage.is_broken.lock() = false;
    stage.ways.look_again();
    assert_eq!(
        stage.diary.read(),
        ["start Trackers", "Trackers set 1 [\"udp://t:1\"]", "Trackers look again"]
    );
    stage.ways.retry();
    assert_eq!(stage.diary.read(), [""; 0], "what runs is left alone");
}

#[tokio::test]
async fn the_status_names_each_way_also_those_that_are_off() {
    let stage = stage();
    stage.set(1, TRACKED);
    let rows = stage.ways.status(FolderId([1; 16]));
    let ways: Vec<_> = rows.iter().map(|row| (row.way.as_str(), row.enabled)).collect();
    assert_eq!(ways, [("lan", false), ("tracker", true), ("dht", false)]);
    assert_eq!((rows[1].last_announce, rows[1].found), (Some(60), 2));
    assert_eq!(rows[1].source.as_deref(), Some("udp://t:1"));
    assert!(stage.ways.status(FolderId([9; 16])).is_empty());
}

#[tokio::test]
async fn closing_is_bounded_and_final() {
    let stage = stage();
    stage.set(1, "discovery.trackers = [\"udp://t:1\"]");
    stage.diary.read();
    // One of them never answers: without a bound this would not come back.
    stage.ways.close_within(Duration::from_millis(50)).await;
    let mut said = stage.diary.read();
    said.sort();
    assert_eq!(said, ["Dht([]) goodbye", "Lan goodbye", "Trackers goodbye"]);
    assert_eq!(stage.set(2, TRACKED), [""; 0], "nothing starts any more");
}
