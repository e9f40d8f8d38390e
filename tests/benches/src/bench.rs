//! How a step is done, timed and checked.
//!
//! The clock of a first sync runs from the command that adds the folder until each daemon itself says
//! that it has everything; of a change, from its beginning on the first machine until the second
//! one's tree shows it; of a save, from the end of the write until the other file reads the same. Who
//! runs once is timed from start to end. Sources are in the page cache, and what was to be written to
//! the disk is there before the clock starts. After each step the trees are compared.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::Seed;

use crate::Outcome;
use crate::catalogue::{Chain, Step};
use crate::figures::Figures;
use crate::meter::Meter;
use crate::node::Node;
use crate::rig::Rig;
use crate::systems::{Live, Once, System};
use crate::tree::{self, BEFORE, BIG, Totals};

/// What can be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How much smaller than in the titles trees are.
    pub(crate) scale: f64,
    /// How long anything may take.
    pub(crate) timeout: Duration,
    /// How long idling is watched.
    pub(crate) idle: Duration,
    /// How many saves are timed.
    pub(crate) saves: usize,
}

/// How often a tree is looked at for a change.
const LOOK: Duration = Duration::from_millis(20);
/// How often a file is looked at for a save.
const LOOK_AT_FILE: Duration = Duration::from_millis(2);
/// How soon a daemon is asked again at first, and at last: asking costs it time.
const ASK: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// How long a save may take.
const SAVE_PATIENCE: Duration = Duration::from_secs(120);
/// Where the new file lies before it takes the old one's place.
const NEW: &str = "new.bin";
/// What the renamed directory is called.
const AFTER: &str = "after";

/// A chain on one program, from machines that have nothing.
pub(crate) struct Bench {
    rig: Rig,
    system: System,
    settings: Settings,
    totals: Totals,
    is_shared: bool,
    differences: Vec<String>,
}

impl Bench {
    /// Gets the machines ready and puts the tree on the first one; `original` has a copy of it, made
    /// here if it is not there.
    pub(crate) fn new(
        below: &Path,
        original: &Path,
        chain: &Chain,
        system: System,
        settings: Settings,
    ) -> Outcome<Self> {
        let rig = Rig::new(below, chain.machines, chain.line)?;
        let base = chain.base.scaled(settings.scale);
        let data = &rig.nodes[0].data;
        if chain.is_made_in_place() {
            base.make(data)?;
        } else {
            if !original.exists() {
                fs::create_dir_all(original)?;
                base.make(original)?;
            }
            let copied = Command::new("cp").arg("-a").arg(original.join(".")).arg(data).status()?;
            if !copied.success() {
                return Err("the tree cannot be copied".into());
            }
        }
        if let Some(megabits) = chain.cap {
            rig.nodes[0].limit_sending(megabits)?;
        }
        let totals = tree::totals(data)?;
        match &system {
            System::Live(live) => {
                rig.nodes.iter().try_for_each(|node| live.start(node))?;
                live.connect(&rig.nodes)?;
            }
            System::Once(once) => once.prepare(&rig.nodes)?,
        }
        Ok(Self { rig, system, settings, totals, is_shared: false, differences: Vec::new() })
    }

    /// In what the trees differed after the last step.
    pub(crate) fn differences(&self) -> &[String] {
        &self.differences
    }

    /// Does a step; `None` if it means nothing to the program.
    pub(crate) fn run(&mut self, step: Step) -> Outcome<Option<Figures>> {
        rustix::fs::sync();
        let mut figures = match &self.system {
            System::Once(once) => match self.run_once(once.as_ref(), step)? {
                Some(figures) => figures,
                None => return Ok(None),
            },
            System::Live(_) => match step {
                Step::Scan | Step::FirstSync => self.first_sync(step)?,
                Step::Idle => self.idle()?,
                Step::Save => self.save()?,
                Step::Restart => self.restart()?,
                Step::Overwrite | Step::Prepend | Step::Rename | Step::Delete => self.change(step)?,
            },
        };
        figures.tree = self.totals;
        if matches!(step, Step::Save | Step::Overwrite | Step::Prepend | Step::Rename | Step::Delete) {
            self.totals = tree::totals(&self.first().data)?;
        }
        self.differences.clear();
        if step != Step::Scan {
            let (first, others) = self.rig.nodes.split_first().ok_or("there are no machines")?;
            for other in others {
                self.differences.extend(tree::differences(&first.data, &other.data)?);
            }
        }
        figures.differences = self.differences.len();
        Ok(Some(figures))
    }

    fn first(&self) -> &Node {
        &self.rig.nodes[0]
    }

    fn second(&self) -> &Node {
        &self.rig.nodes[1]
    }

    fn live(&self) -> Outcome<&dyn Live> {
        match &self.system {
            System::Live(live) => Ok(live.as_ref()),
            System::Once(_) => Err("it has no daemon".into()),
        }
    }

    fn run_once(&self, once: &dyn Once, step: Step) -> Outcome<Option<Figures>> {
        if !once.takes_part(step) {
            return Ok(None);
        }
        match step {
            Step::Save => return self.time_saves(3, &|| once.bring(&self.rig.nodes, step)).map(Some),
            Step::Scan | Step::FirstSync | Step::Idle | Step::Restart => {}
            Step::Overwrite | Step::Prepend | Step::Rename | Step::Delete => {
                self.prepare_change(step)?;
                self.make_change(step)?;
            }
        }
        let meter = Meter::start(&self.rig.nodes);
        once.bring(&self.rig.nodes, step)?;
        Ok(Some(meter.stop(None)))
    }

    fn first_sync(&mut self, step: Step) -> Outcome<Figures> {
        let meter = Meter::start(&self.rig.nodes);
        let System::Live(live) = &mut self.system else { return Err("it has no daemon".into()) };
        if !self.is_shared {
            live.share(&self.rig.nodes)?;
            self.is_shared = true;
        }
        let awaited = if step == Step::Scan {
            &self.rig.nodes[..1]
        } else {
            live.join(&self.rig.nodes)?;
            &self.rig.nodes[..]
        };
        self.wait_until_in_sync(awaited, self.totals)?;
        Ok(meter.stop(None))
    }

    fn change(&self, step: Step) -> Outcome<Figures> {
        self.prepare_change(step)?;
        thread::sleep(Duration::from_secs(2)); // what was done before is past for the watcher, too
        let meter = Meter::start(&self.rig.nodes);
        self.make_change(step)?;
        let deed = meter.elapsed();
        self.wait([LOOK; 2], || Ok(self.has_changed(step)))?;
        let seen = meter.elapsed();
        let want = tree::totals(&self.first().data)?;
        self.wait_until_in_sync(&self.rig.nodes, want)?;
        Ok(Figures { deed_seconds: Some(deed.as_secs_f64()), ..meter.stop(Some(seen)) })
    }

    /// What need not be timed of a change.
    fn prepare_change(&self, step: Step) -> Outcome<()> {
        if step == Step::Prepend {
            let new = self.first().home.join(NEW);
            let mut file = fs::File::create(new)?;
            std::io::Write::write_all(&mut file, b"!")?;
            std::io::copy(&mut fs::File::open(self.first().data.join(BIG))?, &mut file)?;
            rustix::fs::sync();
        }
        Ok(())
    }

    fn make_change(&self, step: Step) -> Outcome<()> {
        let data = &self.first().data;
        match step {
            Step::Overwrite => {
                let file = OpenOptions::new().write(true).open(data.join(BIG))?;
                file.write_all_at(&Seed::new(99).bytes(1 << 20), file.metadata()?.len() / 2 + 12_345)?;
            }
            Step::Prepend => fs::rename(self.first().home.join(NEW), data.join(BIG))?,
            Step::Rename => fs::rename(data.join(BEFORE), data.join(AFTER))?,
            Step::Delete => tree::make_bare(data)?,
            Step::Scan | Step::FirstSync | Step::Save | Step::Idle | Step::Restart => {}
        }
        Ok(())
    }

    /// Whether the second machine's tree shows it.
    fn has_changed(&self, step: Step) -> bool {
        let (ours, theirs) = (&self.first().data, &self.second().data);
        match step {
            Step::Overwrite | Step::Prepend => {
                let stat =
                    |root: &Path| fs::metadata(root.join(BIG)).map(|m| (m.len(), m.mtime(), m.mtime_nsec()));
                stat(ours).ok() == stat(theirs).ok()
            }
            Step::Rename => {
                !theirs.join(BEFORE).exists() && tree::count(&theirs.join(AFTER)) == self.totals.files
            }
            _ => tree::is_bare(theirs),
        }
    }

    fn save(&self) -> Outcome<Figures> {
        self.time_saves(self.settings.saves, &|| Ok(()))
    }

    /// Half are new files, half are written anew. `bring` is called after each.
    fn time_saves(&self, count: usize, bring: &dyn Fn() -> Outcome<()>) -> Outcome<Figures> {
        let (mut seed, mut latencies) = (Seed::new(7), Vec::new());
        let meter = Meter::start(&self.rig.nodes);
        for number in 0..count {
            // Not in step with anything, and never twice in a second.
            thread::sleep(Duration::from_millis(1_100 + seed.below(900) as u64));
            let (name, content) = (format!("save-{}.bin", number / 2), seed.bytes(1024));
            fs::write(self.first().data.join(&name), &content)?;
            let written = Instant::now();
            bring()?;
            while fs::read(self.second().data.join(&name)).ok().as_ref() != Some(&content) {
                if written.elapsed() > SAVE_PATIENCE {
                    return Err(format!("{name} has not arrived").into());
                }
                thread::sleep(LOOK_AT_FILE);
            }
            latencies.push(written.elapsed().as_secs_f64());
        }
        let mut figures = meter.stop(None);
        latencies.sort_by(f64::total_cmp);
        figures.latencies = latencies;
        if let System::Live(_) = self.system {
            self.wait_until_in_sync(&self.rig.nodes, tree::totals(&self.first().data)?)?;
        }
        Ok(figures)
    }

    fn idle(&self) -> Outcome<Figures> {
        thread::sleep(self.settings.idle / 4); // what a sync leaves to be done
        let meter = Meter::start(&self.rig.nodes);
        thread::sleep(self.settings.idle);
        Ok(meter.stop(None))
    }

    fn restart(&self) -> Outcome<Figures> {
        let live = self.live()?;
        self.second().stop()?;
        thread::sleep(Duration::from_secs(2));
        let meter = Meter::start(&self.rig.nodes);
        live.start(self.second())?;
        self.wait(ASK, || live.is_back(self.second()))?;
        self.wait_until_in_sync(&self.rig.nodes, self.totals)?;
        Ok(meter.stop(None))
    }

    fn wait_until_in_sync(&self, nodes: &[Node], want: Totals) -> Outcome<()> {
        let live = self.live()?;
        // Those who lack most first, so that the first one is asked but once.
        for node in nodes.iter().rev() {
            self.wait(ASK, || live.has(node, want))?;
        }
        Ok(())
    }

    /// Waits for a state, and looks less often the longer it takes: at 1 % of the time that has passed.
    fn wait(&self, [often, rarely]: [Duration; 2], mut is_so: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
        let begun = Instant::now();
        while !is_so()? {
            if begun.elapsed() > self.settings.timeout {
                return Err(format!("not in sync after {} s", self.settings.timeout.as_secs()).into());
            }
            if self.rig.nodes.iter().any(Node::has_lost_a_program) {
                return Err("a program has ended by itself".into());
            }
            thread::sleep((begun.elapsed() / 100).clamp(often, rarely));
        }
        Ok(())
    }
}
