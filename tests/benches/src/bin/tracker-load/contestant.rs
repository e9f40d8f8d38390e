//! A tracker as a process on the first core.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::info_hash;
use crate::free_address;

/// Ticks of processor time in a second, which the kernel has promised to all programs.
const TICKS: u64 = 100;
/// How long a tracker may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running tracker; it ends when it is dropped.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    process: Child,
    _directory: TempDir,
}

impl Contestant {
    /// Our tracker, with a state file, and without the limits that one machine would run into.
    pub(crate) fn syncd(program: &Path, everywhere: bool) -> io::Result<Self> {
        let (directory, address) = (tempfile::tempdir()?, free_address()?);
        let listen = if everywhere { format!("[::]:{}", address.port()) } else { address.to_string() };
        let mut command = on_first_core(program);
        command.args(["tracker", "--threads", "1", "--max-peers", "4000000"]);
        command.args(["--max-peers-per-address", "4000000", "--max-requests-per-address", "0"]);
        command.arg("--listen").arg(listen).arg("--state").arg(directory.path().join("state"));
        Self::start("syncd tracker", address, directory, command.env("SYNCD_LOG", "warn"))
    }

    /// Debian's opentracker, with the swarms on its white list. It works as `nobody`.
    pub(crate) fn opentracker(program: &Path, everywhere: bool, swarms: u32) -> io::Result<Self> {
        let (directory, address) = (tempfile::tempdir()?, free_address()?);
        let listen = if everywhere { format!("0.0.0.0:{}", address.port()) } else { address.to_string() };
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        // Paths in the configuration are below the root that it changes to.
        let mut out = io::BufWriter::new(fs::File::create(directory.path().join("white"))?);
        for swarm in 0..swarms {
            let hex: String = info_hash(swarm).iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "{hex}")?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let config = directory.path().join("config");
        let root = directory.path().display();
        let text = format!("listen.tcp_udp {listen}\ntracker.rootdir {root}\naccess.whitelist /white\n");
        fs::write(&config, text)?;
        let mut command = on_first_core(program);
        command.arg("-f").arg(&config).current_dir(directory.path());
        Self::start("opentracker", address, directory, &mut command)
    }

    fn start(
        name: &'static str,
        address: SocketAddr,
        directory: TempDir,
        command: &mut Command,
    ) -> io::Result<Self> {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut contestant = Self { name, address, process, _directory: directory };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let has_ended = contestant.process.try_wait()?.is_some();
            if has_ended || begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{name} does not answer")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(contestant)
    }

    /// Memory that it occupies.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("no memory is counted"))
    }

    /// Processor time that it has used.
    pub(crate) fn processor_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 1_000 / TICKS))
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn on_first_core(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program);
    command
}
