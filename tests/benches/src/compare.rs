//! One command that runs all programs through all workloads.
//!
//! In each run every workload is done by all programs, one after the other, before the next one: so
//! what the machine does meanwhile hits them alike, and ratios are taken within a run. Another program
//! begins in each run.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::Outcome;
use crate::bench::{Bench, Settings};
use crate::catalogue::{CHAINS, Chain, is_wanted, rows};
use crate::figures::{Figure, Result, Sample};
use crate::systems;
use crate::table::Table;

/// Measures syncd beside other programs, and prints one table
#[derive(Debug, Parser)]
pub struct Options {
    /// The programs: syncd, rsync, syncthing, cp
    #[arg(long, value_delimiter = ',', default_value = "syncd,rsync,syncthing,cp")]
    pub systems: Vec<String>,
    /// The rows of the table: W1 to W11 (W10 is W10-1 to W10-8), W4@10GiB, WAN (WAN-lossy, WAN-long), D
    /// (D-quarter to D-restart, one directory), M (M-scan to M-restart, a million); all of them if none is named
    #[arg(long, value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// How often everything is done; the table has the medians
    #[arg(long, default_value_t = 3)]
    pub runs: u32,
    /// How many times the files, or the bytes of a single one, that the titles say
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Append each result to this file, as a line of JSON
    #[arg(long)]
    pub results: Option<PathBuf>,
    /// Where trees and homes are put, some 35 GB at most; emptied at the end [default:
    /// $TMPDIR/syncd-bench]
    #[arg(long)]
    pub work: Option<PathBuf>,
    /// Our program
    #[arg(long, default_value = "target/release/syncd")]
    pub syncd: PathBuf,
    /// Seconds for which idling is watched
    #[arg(long, default_value_t = 60)]
    pub idle: u64,
    /// How many saves are timed
    #[arg(long, default_value_t = 20)]
    pub saves: usize,
    /// Seconds after which a step has failed
    #[arg(long, default_value_t = 1800)]
    pub timeout: u64,
    /// Leave homes, logs and trees of what was measured last
    #[arg(long)]
    pub keep: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Comparison {
    /// The table, in Markdown.
    pub table: String,
    /// Whether every step was done, and all trees were the same after it.
    pub is_sound: bool,
}

/// Measures; `say` is called with a line now and then.
///
/// # Errors
/// When nothing can be measured at all. What fails for one program is in the table.
pub fn compare(options: &Options, say: &dyn Fn(&str)) -> Outcome<Comparison> {
    check(options)?;
    let work = options.work.clone().unwrap_or_else(|| std::env::temp_dir().join("syncd-bench"));
    let mut comparer = Comparer::new(options, say, work)?;
    for run in 1..=options.runs {
        for (number, chain) in CHAINS.iter().enumerate() {
            comparer.measure_all(run, number, chain)?;
        }
    }
    Ok(comparer.finish())
}

fn check(options: &Options) -> Outcome<()> {
    for name in &options.systems {
        if !systems::NAMES.contains(&name.as_str()) {
            return Err(format!("{name} is none of {}", systems::NAMES.join(", ")).into());
        }
    }
    for name in &options.workloads {
        if !rows().iter().any(|row| is_wanted(row, std::slice::from_ref(name))) {
            return Err(format!("{name} is none of {}", rows().join(", ")).into());
        }
    }
    if options.scale > 0.0 { Ok(()) } else { Err("the scale must be above 0".into()) }
}

struct Comparer<'a> {
    options: &'a Options,
    say: &'a dyn Fn(&str),
    work: PathBuf,
    /// Absolute, since machines do not run where we do.
    syncd: PathBuf,
    settings: Settings,
    table: Table,
    is_sound: bool,
    _lock: File,
}

impl<'a> Comparer<'a> {
    fn new(options: &'a Options, say: &'a dyn Fn(&str), work: PathBuf) -> Outcome<Self> {
        let work = std::path::absolute(work)?;
        fs::create_dir_all(&work)?;
        let lock = File::create(std::env::temp_dir().join("syncd-bench.lock"))?;
        lock.try_lock().map_err(|_| "another measurement runs; two at a time would measure each other")?;
        let settings = Settings {
            scale: options.scale,
            timeout: Duration::from_secs(options.timeout),
            idle: Duration::from_secs(options.idle),
            saves: options.saves,
        };
        let table = Table::new(options.scale, options.runs);
        let syncd = std::path::absolute(&options.syncd)?;
        let mut new = Self { options, say, work, syncd, settings, table, is_sound: true, _lock: lock };
        new.clean()?;
        for name in &options.systems {
            match systems::version(name, &new.syncd) {
                Ok(version) => new.table.has(name, &version),
                Err(why) => new.table.skip(&format!("{name}: {why}")),
            }
        }
        Ok(new)
    }

    fn clean(&self) -> Outcome<()> {
        for name in ["nodes", "original"] {
            let directory = self.work.join(name);
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
        }
        Ok(())
    }

    /// Does one chain by all programs.
    fn measure_all(&mut self, run: u32, number: usize, chain: &Chain) -> Outcome<()> {
        let wanted = |row: &str| is_wanted(row, &self.options.workloads);
        if !chain.rows().any(wanted) {
            return Ok(());
        }
        let (need, free) = (chain.disk_bytes(self.options.scale), free_bytes(&self.work)?);
        if free < need {
            let rows: Vec<_> = chain.rows().collect();
            let (need, free) = (need >> 30, free >> 30);
            self.table.skip(&format!("{}: needs {need} GiB of disk, {free} are free", rows.join(", ")));
            return Ok(());
        }
        let original = self.work.join("original").join(number.to_string());
        for system in self.in_turn(run, chain) {
            if !self.table.is_there(system) {
                continue;
            }
            if let Err(why) = self.measure(run, chain, system, &original) {
                let row = chain.rows().find(|row| wanted(row)).unwrap_or_default();
                self.add(Sample { row, system, run, result: Result::Failed(why.to_string()) })?;
            }
            if !self.options.keep {
                self.remove_nodes()?;
            }
        }
        if original.exists() {
            fs::remove_dir_all(original)?;
        }
        Ok(())
    }

    /// Who takes part in a chain; another one begins in each run, since it matters what was before.
    fn in_turn(&self, run: u32, chain: &Chain) -> Vec<&'static str> {
        let is_asked = |name: &str| self.options.systems.iter().any(|asked| asked == name);
        let takes_part = |name: &&str| chain.systems.contains(name) && is_asked(name);
        let mut all: Vec<_> = systems::NAMES.into_iter().filter(takes_part).collect();
        let first = run.saturating_sub(1) as usize % all.len().max(1);
        all.rotate_left(first);
        all
    }

    /// Does one chain by one program, up to the last step that is wanted.
    fn measure(&mut self, run: u32, chain: &Chain, system: &'static str, original: &Path) -> Outcome<()> {
        self.remove_nodes()?;
        let nodes = self.work.join("nodes");
        let mut bench =
            Bench::new(&nodes, original, chain, systems::load(system, &self.syncd)?, self.settings)?;
        let is_wanted = |row: &str| !row.is_empty() && is_wanted(row, &self.options.workloads);
        let end = chain.steps.iter().rposition(|(_, row)| is_wanted(row)).map_or(0, |last| last + 1);
        for (number, (step, row)) in chain.steps[..end].iter().enumerate() {
            let is_wanted = is_wanted(row);
            if !is_wanted && number > 0 {
                continue;
            }
            let result = match bench.run(*step) {
                Ok(Some(figures)) => Result::Measured(figures),
                Ok(None) => continue,
                Err(why) => Result::Failed(why.to_string()),
            };
            for difference in bench.differences().iter().take(3) {
                (self.say)(&format!("  {difference}"));
            }
            let has_failed = matches!(result, Result::Failed(_));
            if is_wanted || has_failed {
                let shown = if row.is_empty() { chain.rows().next().unwrap_or_default() } else { row };
                self.add(Sample { row: shown, system, run, result })?;
            }
            if has_failed {
                break;
            }
        }
        Ok(())
    }

    fn add(&mut self, sample: Sample) -> Outcome<()> {
        let what = match (&sample.result, sample.figures()) {
            (_, Some(figures)) => {
                let (wall, processor) = (figures.wall_seconds, figures.value(Figure::Processor));
                format!("{wall:.2} s, {processor:.2} CPU s")
            }
            (Result::Measured(figures), None) => format!("the trees differ in {} paths", figures.differences),
            (Result::Failed(why), _) => format!("failed: {why}"),
        };
        self.is_sound &= sample.figures().is_some();
        (self.say)(&format!("run {}, {}, {}: {what}", sample.run, sample.row, sample.system));
        if let Some(path) = &self.options.results {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(file, "{}", sample.to_json(self.options.scale))?;
        }
        self.table.add(sample);
        Ok(())
    }

    fn remove_nodes(&self) -> Outcome<()> {
        let nodes = self.work.join("nodes");
        if nodes.exists() {
            fs::remove_dir_all(nodes)?;
        }
        Ok(())
    }

    fn finish(self) -> Comparison {
        if !self.options.keep {
            let _ = self.clean();
            let _ = fs::remove_dir(&self.work); // unless there was something in it before
        }
        Comparison { table: self.table.to_string(), is_sound: self.is_sound }
    }
}

fn free_bytes(directory: &Path) -> Outcome<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail * found.f_frsize)
}
