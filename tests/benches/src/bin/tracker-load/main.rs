//! Loads `syncd tracker` and `opentracker` with the same announces on this machine, and prints a table.
//!
//! The tracker runs on the first core with one thread, the load comes from the last one. First
//! every peer announces itself once; then peers drawn at random announce again as fast as
//! the tracker answers; then a fixed number a second, for the latency. Processor time and memory are
//! the tracker's own, as the system counts them.
//!
//! ```sh
//! cargo build --release --bin syncd && cargo run --release -p benches --bin tracker-load
//! ```

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod client;
mod contestant;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity};

use client::{Load, Outcome};
use contestant::Contestant;

/// Measures trackers under the same load.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure
    #[arg(long, default_value = "target/release/syncd")]
    syncd: PathBuf,
    /// The program to compare it with; left out where it is not installed
    #[arg(long, default_value = "opentracker")]
    opentracker: PathBuf,
    /// Peers that the trackers remember
    #[arg(long, default_value_t = 1_000_000)]
    peers: u32,
    /// Swarms over which they are spread
    #[arg(long, default_value_t = 100_000)]
    swarms: u32,
    /// How long peers announce again
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Announces a second for the latency
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Let them listen on all addresses, not on one alone
    #[arg(long)]
    everywhere: bool,
    /// Only this one: `syncd` or `opentracker`
    #[arg(long)]
    only: Option<String>,
}

/// What was measured of one tracker.
struct Figures {
    name: &'static str,
    fill: Outcome,
    empty_bytes: u64,
    full_bytes: u64,
    steady: Outcome,
    processor: Duration,
    p50: Duration,
    p99: Duration,
    late: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut last = CpuSet::new();
    last.set(cores - 1);
    sched_setaffinity(None, &last)?;
    let is_wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let mut all = Vec::new();
    if is_wanted("opentracker") {
        match Contestant::opentracker(&options.opentracker, options.everywhere, options.swarms) {
            Ok(tracker) => all.push(measure(&options, tracker)?),
            Err(cause) => println!("opentracker is left out: {cause}"),
        }
    }
    if is_wanted("syncd") {
        all.push(measure(&options, Contestant::syncd(&options.syncd, options.everywhere)?)?);
    }
    print(&options, &all);
    Ok(())
}

fn measure(options: &Options, tracker: Contestant) -> Result<Figures, Box<dyn std::error::Error>> {
    let mut load = Load::connect(tracker.address, options.swarms)?;
    load.wait_until_served()?;
    let empty_bytes = tracker.resident_bytes()?;
    let mut next = 0;
    let fill = load.run(None, || {
        next += 1;
        (next <= options.peers).then(|| next - 1)
    })?;
    let full_bytes = tracker.resident_bytes()?;
    let (begun, until) = (tracker.processor_time()?, Instant::now() + Duration::from_secs(options.seconds));
    let mut drawn = 0_u64;
    let mut draw = || {
        drawn += 1;
        let peer = client::mix(drawn) % u64::from(options.peers);
        u32::try_from(peer).unwrap_or(0)
    };
    let steady = load.run(Some(until), || Some(draw()))?;
    let processor = tracker.processor_time()?.saturating_sub(begun);
    let (mut times, late) = load.paced(options.rate, Duration::from_secs(5), draw)?;
    times.sort_unstable();
    let part = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    let (p50, p99) = (part(50), part(99));
    let name = tracker.name;
    Ok(Figures { name, fill, empty_bytes, full_bytes, steady, processor, p50, p99, late })
}

fn print(options: &Options, all: &[Figures]) {
    println!("\n{} peers in {} swarms, one thread, on loopback\n", options.peers, options.swarms);
    row("", all, |figures| figures.name.to_owned());
    row("---", all, |_| "---:".to_owned());
    row("first announces, per second", all, |figures| per_second(&figures.fill));
    row("announces again, per second", all, |figures| per_second(&figures.steady));
    row("the same, per second of processor time", all, |figures| {
        format!("{:.0}", figures.steady.answered as f64 / figures.processor.as_secs_f64())
    });
    row("lost, in a thousand", all, |figures| {
        let Outcome { answered, lost, .. } = figures.steady;
        format!("{:.2}", lost as f64 * 1_000.0 / (answered + lost).max(1) as f64)
    });
    row("addresses in an answer", all, |figures| {
        format!("{:.1}", figures.steady.named as f64 / figures.steady.answered.max(1) as f64)
    });
    row("memory, MiB", all, |figures| mebibytes(figures.full_bytes));
    row("memory when empty, MiB", all, |figures| mebibytes(figures.empty_bytes));
    row("bytes a peer, all in", all, |figures| {
        format!("{:.0}", figures.full_bytes as f64 / f64::from(options.peers))
    });
    row(&format!("latency at {} a second, p50", options.rate), all, |figures| micros(figures.p50));
    row("p99", all, |figures| micros(figures.p99));
    row("unanswered at that rate", all, |figures| figures.late.to_string());
}

fn row(title: &str, all: &[Figures], cell: impl Fn(&Figures) -> String) {
    let cells: Vec<String> = all.iter().map(cell).collect();
    println!("| {title} | {} |", cells.join(" | "));
}

fn per_second(outcome: &Outcome) -> String {
    format!("{:.0}", outcome.answered as f64 / outcome.time.as_secs_f64())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}

/// Where a tracker may listen: a port that was free a moment ago.
fn free_address() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
