//! What was measured of one step of one program in one run, and where it goes.

use serde_json::{Value, json};

use crate::tree::Totals;

/// What one machine has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    /// Processor time of all its processes.
    pub(crate) processor_seconds: f64,
    /// Most resident memory of all its processes together.
    pub(crate) peak_bytes: u64,
    /// Bytes on its wire, headers and all.
    pub(crate) sent_bytes: u64,
    /// Bytes that its processes have read and written; sockets do not count.
    pub(crate) moved_bytes: u64,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// How long it took.
    pub(crate) wall_seconds: f64,
    /// How much of that the change itself took, before anybody else could show it; where there is one.
    pub(crate) deed_seconds: Option<f64>,
    /// What each machine has used, whoever has the data first.
    pub(crate) nodes: Vec<Used>,
    /// How much there was to sync.
    pub(crate) tree: Totals,
    /// Seconds from a save until it was there, ascending; where that was measured.
    pub(crate) latencies: Vec<f64>,
    /// In how many paths the trees differed afterwards.
    pub(crate) differences: usize,
}

/// One of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Seconds.
    Wall,
    /// Processor seconds of all machines.
    Processor,
    /// The same for each 10⁹ bytes of the tree.
    ProcessorPerGigabyte,
    /// Processor seconds in a minute, of the machine that takes most.
    ProcessorPerMinute,
    /// Most memory of a machine.
    Peak,
    /// Bytes sent by all machines.
    Wire,
    /// Bytes that the first machine has sent, as a part of the tree's.
    SeederShare,
    /// Bytes that programs have read and written, as a part of the tree's.
    MovedShare,
    /// Bytes that all machines have sent, as a part of the tree's.
    WireShare,
    /// Files a second.
    Rate,
    /// Half of the latencies are below.
    P50,
    /// Nineteen of twenty latencies are below.
    P95,
}

impl Figures {
    /// The value of a figure in seconds, bytes, or what its name says.
    pub(crate) fn value(&self, figure: Figure) -> f64 {
        let sent: u64 = self.nodes.iter().map(|used| used.sent_bytes).sum();
        let processor: f64 = self.nodes.iter().map(|used| used.processor_seconds).sum();
        let tree_bytes = self.tree.bytes as f64;
        match figure {
            Figure::Wall => self.wall_seconds,
            Figure::Processor => processor,
            Figure::ProcessorPerGigabyte => processor / (tree_bytes / 1e9),
            Figure::ProcessorPerMinute => {
                let most = self.nodes.iter().map(|used| used.processor_seconds).fold(0.0, f64::max);
                most / (self.wall_seconds / 60.0)
            }
            Figure::Peak => self.nodes.iter().map(|used| used.peak_bytes).max().unwrap_or_default() as f64,
            Figure::Wire => sent as f64,
            Figure::WireShare => sent as f64 / tree_bytes,
            Figure::SeederShare => self.nodes.first().map_or(0.0, |used| used.sent_bytes as f64) / tree_bytes,
            Figure::MovedShare => {
                self.nodes.iter().map(|used| used.moved_bytes).sum::<u64>() as f64 / tree_bytes
            }
            Figure::Rate => self.tree.files as f64 / self.wall_seconds,
            Figure::P50 => self.latency(50),
            Figure::P95 => self.latency(95),
        }
    }

    fn latency(&self, percent: usize) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((self.latencies.len() * percent / 100).min(last)).copied().unwrap_or(f64::NAN)
    }

    fn to_json(&self) -> Value {
        let of_nodes = |value: fn(&Used) -> Value| self.nodes.iter().map(value).collect::<Vec<_>>();
        json!({
            "wall_s": self.wall_seconds,
            "deed_s": self.deed_seconds,
            "cpu_s": self.value(Figure::Processor),
            "cpu_s_nodes": of_nodes(|used| used.processor_seconds.into()),
            "rss_peak_nodes": of_nodes(|used| used.peak_bytes.into()),
            "wire_nodes": of_nodes(|used| used.sent_bytes.into()),
            "moved_nodes": of_nodes(|used| used.moved_bytes.into()),
            "files": self.tree.files,
            "bytes": self.tree.bytes,
            "latencies_s": self.latencies,
            "differences": self.differences,
        })
    }
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Result {
    /// It was done.
    Measured(Figures),
    /// It was not, and why.
    Failed(String),
}

/// One step of one program in one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The row of the table.
    pub(crate) row: &'static str,
    /// The program.
    pub(crate) system: &'static str,
    /// Which run, from 1.
    pub(crate) run: u32,
    /// What came of it.
    pub(crate) result: Result,
}

impl Sample {
    /// What was measured, if it counts: not if the trees differed.
    pub(crate) fn figures(&self) -> Option<&Figures> {
        match &self.result {
            Result::Measured(figures) if figures.differences == 0 => Some(figures),
            _ => None,
        }
    }

    /// One line of the file of results.
    pub(crate) fn to_json(&self, scale: f64) -> Value {
        let mut value = match &self.result {
            Result::Measured(figures) => figures.to_json(),
            Result::Failed(why) => json!({ "failed": why }),
        };
        value["workload"] = self.row.into();
        value["system"] = self.system.into();
        value["run"] = self.run.into();
        value["scale"] = scale.into();
        value
    }
}

/// The middle one of some values, or the mean of the two there; `None` of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    if values.len() % 2 == 1 { Some(*upper) } else { Some((values[middle - 1] + upper) / 2.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0, 4.0]), Some(3.0));
        assert_eq!(median([f64::NAN, 2.0]), Some(2.0));
    }

    #[test]
    fn latencies_are_taken_from_where_their_share_lies() {
        let latencies: Vec<f64> = (1..=20).map(f64::from).collect();
        let figures = Figures { latencies, ..Figures::default() };
        assert_eq!((figures.value(Figure::P50), figures.value(Figure::P95)), (11.0, 20.0));
        assert!(Figures::default().value(Figure::P50).is_nan());
    }

    #[test]
    fn a_sample_whose_trees_differ_does_not_count() {
        let figures = Figures { differences: 1, ..Figures::default() };
        let sample = Sample { row: "W1", system: "cp", run: 1, result: Result::Measured(figures) };
        assert_eq!(sample.figures(), None);
        assert_eq!(sample.to_json(0.5)["differences"], 1);
    }
}
