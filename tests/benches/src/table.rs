//! The table: medians, ratios within runs, and whether goals are met.

use std::fmt;

use crate::catalogue::{rows, title};
use crate::figures::{Figure, Figures, Result, Sample, median};
use crate::goals::{self, Bound, Goal};
use crate::systems::NAMES;

/// Whose goals they are.
const OURS: &str = "syncd";
/// Beside whom ratios are shown.
const BESIDE: [&str; 2] = ["rsync", "syncthing"];
/// More machines than that are shown as the first one and the mean of the others.
const SHOWN_MACHINES: usize = 3;
/// The part of the whole from which on the time that a change itself takes is shown.
const LONG_DEED: f64 = 0.1;

/// All that was measured, to be shown.
#[derive(Debug, Default)]
pub(crate) struct Table {
    scale: f64,
    runs: u32,
    samples: Vec<Sample>,
    versions: Vec<(String, String)>,
    skipped: Vec<String>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(scale: f64, runs: u32) -> Self {
        Self { scale, runs, ..Self::default() }
    }

    /// A program takes part.
    pub(crate) fn has(&mut self, system: &str, version: &str) {
        self.versions.push((system.to_owned(), version.to_owned()));
    }

    /// Whether it does.
    pub(crate) fn is_there(&self, system: &str) -> bool {
        self.versions.iter().any(|(name, _)| name == system)
    }

    /// Something is left out, and why.
    pub(crate) fn skip(&mut self, what: &str) {
        if !self.skipped.iter().any(|known| known == what) {
            self.skipped.push(what.to_owned());
        }
    }

    /// Something was measured, or has failed.
    pub(crate) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    fn of<'a>(&'a self, row: &'a str, system: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.row == row && sample.system == system)
    }

    /// The median of something over the runs.
    fn middle(&self, row: &str, system: &str, value: impl Fn(&Figures) -> f64) -> Option<f64> {
        median(self.of(row, system).filter_map(Sample::figures).map(value))
    }

    /// How many times what another program has in the same run; the median over the runs.
    fn ratio(&self, row: &str, system: &str, figure: Figure, other: &str) -> Option<f64> {
        self.ratio_of([(row, system), (row, other)], figure)
    }

    /// How many times what another program, or another row, has in the same run.
    fn ratio_of(&self, [one, other]: [(&str, &str); 2], figure: Figure) -> Option<f64> {
        let ratios = self.of(one.0, one.1).filter_map(|sample| {
            let theirs = self.of(other.0, other.1).find(|theirs| theirs.run == sample.run)?;
            Some(sample.figures()?.value(figure) / theirs.figures()?.value(figure))
        });
        median(ratios.filter(|ratio| ratio.is_finite()))
    }

    /// `✓ wall 0.5 × rsync (≤ 0.7)`; a dot in place of the mark where it is not the real thing.
    fn judge(&self, goal: &Goal) -> Option<String> {
        let Goal { row, figure, bound } = *goal;
        let (value, is_met, text) = match bound {
            Bound::AtMost(limit) => {
                let value = self.middle(row, OURS, |figures| figures.value(figure))?;
                (show(figure, value), value <= limit, format!("≤ {}", show(figure, limit)))
            }
            Bound::AtLeast(limit) => {
                let value = self.middle(row, OURS, |figures| figures.value(figure))?;
                (show(figure, value), value >= limit, format!("≥ {}", show(figure, limit)))
            }
            Bound::Times(limit, other) => {
                let ratio = self.ratio(row, OURS, figure, other)?;
                (format!("{ratio:.2} × {other}"), ratio <= limit, format!("≤ {limit:.2}"))
            }
            Bound::TimesRow(limit, other) => {
                let ratio = self.ratio_of([(row, OURS), (other, OURS)], figure)?;
                (format!("{ratio:.2} × {other}"), ratio <= limit, format!("≤ {limit:.2}"))
            }
        };
        let mark = match (self.scale == 1.0, is_met) {
            (false, _) => "·",
            (true, true) => "✓",
            (true, false) => "✗",
        };
        Some(format!("{mark} {} {value} ({text})", name(figure)))
    }

    fn line(&self, row: &'static str, system: &str) -> Option<String> {
        self.of(row, system).next()?;
        let failed = self.of(row, system).filter_map(|sample| match &sample.result {
            Result::Failed(why) => Some(format!("failed: {}", why.replace(['\n', '|'], " "))),
            Result::Measured(figures) if figures.differences > 0 => {
                Some(format!("**the trees differ in {} paths**", figures.differences))
            }
            Result::Measured(_) => None,
        });
        let mut remarks: Vec<String> = failed.collect();
        if system == OURS {
            remarks.extend(goals::of_row(row).filter_map(|goal| self.judge(goal)));
        }
        remarks.extend(self.long_deed(row, system));
        let runs = self.of(row, system).filter_map(Sample::figures).count();
        let figure = leading(row);
        let mut cells = vec![system.to_owned(), runs.to_string()];
        if runs == 0 {
            cells.extend(["", "", "", "", "", ""].map(str::to_owned));
        } else {
            cells.push(self.wall(row, system));
            cells.push(self.of_machines(row, system, Figure::Processor));
            cells.push(self.of_machines(row, system, Figure::Peak));
            cells.push(self.of_machines(row, system, Figure::Wire));
            for other in BESIDE {
                let ratio = (other != system).then(|| self.ratio(row, system, figure, other)).flatten();
                cells.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
            }
        }
        cells.push(remarks.join("<br>"));
        Some(cells.join(" | "))
    }

    /// A disk may need longer to delete than any program to tell of it.
    fn long_deed(&self, row: &str, system: &str) -> Option<String> {
        let deed = self.middle(row, system, |figures| figures.deed_seconds.unwrap_or(f64::NAN))?;
        let wall = self.middle(row, system, |figures| figures.value(Figure::Wall))?;
        (deed > wall * LONG_DEED).then(|| format!("the change itself took {}", show(Figure::Wall, deed)))
    }

    /// How long it took; in a row of latencies, these.
    fn wall(&self, row: &str, system: &str) -> String {
        let middle = |figure| self.middle(row, system, |figures| figures.value(figure));
        match (middle(Figure::P50), middle(Figure::P95), middle(Figure::Wall)) {
            (Some(half), Some(most), _) => {
                format!("p50 {}, p95 {}", show(Figure::P50, half), show(Figure::P95, most))
            }
            (_, _, wall) => show(Figure::Wall, wall.unwrap_or_default()),
        }
    }

    /// A figure machine by machine.
    fn of_machines(&self, row: &str, system: &str, figure: Figure) -> String {
        let value = |figures: &Figures, machine: usize| {
            let one = Figures { nodes: figures.nodes[machine..=machine].to_vec(), ..Figures::default() };
            one.value(figure)
        };
        let machines =
            self.of(row, system).find_map(Sample::figures).map_or(0, |figures| figures.nodes.len());
        let middle =
            |machine| self.middle(row, system, |figures| value(figures, machine)).unwrap_or_default();
        let values: Vec<f64> = (0..machines).map(middle).collect();
        if machines <= SHOWN_MACHINES {
            return values.iter().map(|value| show(figure, *value)).collect::<Vec<_>>().join(" + ");
        }
        let others = &values[1..];
        let mean = others.iter().sum::<f64>() / others.len() as f64;
        format!("{} + {} × {}", show(figure, values[0]), others.len(), show(figure, mean))
    }
}

/// What ratios in a row are of.
fn leading(row: &str) -> Figure {
    match row {
        "W7" | "D-save" | "M-save" => Figure::P50,
        "W8" | "M-idle" => Figure::Processor,
        _ => Figure::Wall,
    }
}

fn name(figure: Figure) -> &'static str {
    match figure {
        Figure::Wall => "wall",
        Figure::Processor => "CPU",
        Figure::ProcessorPerGigabyte => "CPU a GB",
        Figure::ProcessorPerMinute => "CPU a minute",
        Figure::Peak => "RSS",
        Figure::Wire => "wire",
        Figure::SeederShare => "sent by the seeder, of the size",
        Figure::MovedShare => "read and written, of the size",
        Figure::WireShare => "wire, of the size",
        Figure::Rate => "files/s",
        Figure::P50 => "p50",
        Figure::P95 => "p95",
    }
}

fn show(figure: Figure, value: f64) -> String {
    match figure {
        Figure::Wall | Figure::Processor | Figure::ProcessorPerGigabyte | Figure::ProcessorPerMinute => {
            format!("{value:.2} s")
        }
        Figure::P50 | Figure::P95 => format!("{:.0} ms", value * 1e3),
        Figure::Peak | Figure::Wire => bytes(value),
        Figure::SeederShare | Figure::MovedShare | Figure::WireShare => format!("{value:.2}"),
        Figure::Rate => format!("{value:.0}"),
    }
}

fn bytes(value: f64) -> String {
    match value {
        _ if value >= 1e9 => format!("{:.2} GB", value / 1e9),
        _ if value >= 1e7 => format!("{:.0} MB", value / 1e6),
        _ if value >= 1e6 => format!("{:.2} MB", value / 1e6),
        _ if value >= 1e3 => format!("{:.0} kB", value / 1e3),
        _ => format!("{value:.0} B"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        writeln!(f, "Medians of up to {} runs on {cores} cores, scale {}.\n", self.runs, self.scale)?;
        f.write_str("| workload | program | runs | wall | CPU, each machine | most RSS, each | wire, each ")?;
        writeln!(f, "| × rsync | × syncthing | goals |")?;
        writeln!(f, "|---|---|---:|---:|---:|---:|---:|---:|---:|---|")?;
        for row in rows() {
            let mut heading = format!("**{row}** {}", title(row));
            for system in NAMES {
                if let Some(line) = self.line(row, system) {
                    writeln!(f, "| {heading} | {line} |")?;
                    heading.clear();
                }
            }
        }
        writeln!(f)?;
        for (_, version) in &self.versions {
            writeln!(f, "- {version}")?;
        }
        for what in &self.skipped {
            writeln!(f, "- skipped: {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Used;

    fn sample(row: &'static str, system: &'static str, run: u32, wall_seconds: f64) -> Sample {
        let nodes = vec![Used { peak_bytes: 50_000_000, ..Used::default() }; 2];
        Sample {
            row,
            system,
            run,
            result: Result::Measured(Figures { wall_seconds, nodes, ..Figures::default() }),
        }
    }

    /// The second run was three times slower for all.
    fn table(scale: f64) -> Table {
        let mut table = Table::new(scale, 2);
        for (run, slow) in [(1, 1.0), (2, 3.0)] {
            table.add(sample("W2", "syncd", run, 6.0 * slow));
            table.add(sample("W2", "rsync", run, 10.0 * slow));
            table.add(sample("W2", "syncthing", run, 60.0 * slow));
        }
        table
    }

    #[test]
    fn ratios_are_taken_within_a_run_and_goals_judged() {
        let text = table(1.0).to_string();
        let ours = text.lines().find(|line| line.contains("| syncd |")).unwrap_or_default();
        assert!(ours.contains("| 2 | 12.00 s |"), "{text}");
        assert!(ours.contains("| 0.60 | 0.10 |"), "{text}");
        assert!(ours.contains("✓ wall 0.60 × rsync (≤ 0.70)"), "{text}");
        assert!(ours.contains("✗ wall 0.10 × syncthing (≤ 0.08)"), "{text}");
        assert!(ours.contains("✓ RSS 50 MB (≤ 100 MB)"), "{text}");
    }

    #[test]
    fn at_another_scale_nothing_is_judged() {
        let text = table(0.01).to_string();
        assert!(text.contains("· wall 0.60 × rsync (≤ 0.70)"), "{text}");
        assert!(!text.contains('✓') && !text.contains('✗'), "{text}");
    }

    #[test]
    fn what_failed_or_differs_is_shown_and_not_counted() {
        let mut table = table(1.0);
        let figures = Figures { differences: 2, wall_seconds: 0.1, ..Figures::default() };
        let differing = Sample { result: Result::Measured(figures), ..sample("W2", "syncd", 3, 0.1) };
        table.add(differing);
        table.add(Sample { result: Result::Failed("a | b".to_owned()), ..sample("W3", "syncd", 1, 0.0) });
        table.skip("cp: no");
        table.skip("cp: no");
        let text = table.to_string();
        assert!(text.contains("**the trees differ in 2 paths**"), "{text}");
        assert!(text.contains("| 2 | 12.00 s |"), "{text}");
        assert!(text.contains("failed: a   b"), "{text}");
        assert_eq!(text.matches("- skipped: cp: no").count(), 1, "{text}");
    }

    #[test]
    fn a_change_that_takes_long_itself_is_shown() {
        let mut table = Table::new(1.0, 1);
        for (row, deed) in [("W11", 7.0), ("W6", 0.01)] {
            let figures = Figures { wall_seconds: 8.0, deed_seconds: Some(deed), ..Figures::default() };
            table.add(Sample { result: Result::Measured(figures), ..sample(row, "syncd", 1, 0.0) });
        }
        let text = table.to_string();
        assert!(text.contains("<br>the change itself took 7.00 s"), "{text}");
        assert_eq!(text.matches("the change itself").count(), 1, "{text}");
    }

    #[test]
    fn many_machines_are_shown_as_one_and_the_others() {
        let mut table = Table::new(1.0, 1);
        let nodes = (0..5).map(|n| Used { sent_bytes: n * 1000, ..Used::default() }).collect();
        let figures = Figures { nodes, ..Figures::default() };
        table.add(Sample { result: Result::Measured(figures), ..sample("W10-4", "syncd", 1, 0.0) });
        assert!(table.to_string().contains("| 0 B + 4 × 2 kB |"), "{table}");
    }
}
