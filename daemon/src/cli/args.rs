//! The command line as data; help, man page and completions come from here.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::tracker::rendezvous::TOTAL_BYTES_PER_SECOND;

const EXAMPLES: &str = "\
Examples:
  syncd up ~/photos                     share a directory and see how others join
  syncd add --key 'syncd://A…' ~/photos join a folder with a link or a key
  syncd get 'syncd://B…' ~/photos       fetch a folder once
  syncd status                          see what every folder is doing
  syncd doctor                          see why peers are missing
  syncd wait photos --timeout 60        return when `photos` is in sync

FOLDER is a folder's name, its path, its id, or the beginning of its id.
The daemon keeps its files in a home directory: $XDG_DATA_HOME/syncd,
unless --home or SYNCD_HOME says otherwise.

Exit codes: 0 done, 1 failed, 2 usage, 3 no daemon runs, 4 `wait` or `get` timed out,
5 the folder is held or paused.";

/// Keeps folders identical on many machines, straight from one to the other.
#[derive(Debug, Parser)]
#[command(name = "syncd", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// The daemon's home directory [default: $XDG_DATA_HOME/syncd]
    #[arg(long, global = true, value_name = "DIR", display_order = 100)]
    pub home: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long, global = true, display_order = 101)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the daemon, or find it; with DIR also share it and show how others join
    #[command(after_help = "\
Examples:
  syncd up              start the daemon in the background
  syncd up ~/photos     the same, and share ~/photos

It can be repeated: a running daemon and a shared directory are found again.
On a terminal it follows until everything is in sync; Ctrl-C leaves the daemon running.")]
    Up {
        /// The directory to share
        dir: Option<PathBuf>,
    },
    /// Stop the daemon
    Down,
    /// Run the daemon in the foreground
    Daemon(DaemonArgs),
    /// Run a tracker: it tells devices of each other that have a folder in common
    #[command(after_help = "\
Examples:
  syncd tracker --state /var/lib/tracker/state
  syncd tracker --listen 203.0.113.7:6969 --listen '[2001:db8::7]:6969'

Folders use it once their devices know it: on each of them,
  syncd config set discovery.trackers '[\"udp://tracker.example.org:6969\"]'
It is an ordinary BitTorrent tracker too (udp://HOST:PORT and http://HOST:PORT/announce).
A browser sees a page with numbers at http://HOST:PORT/, Prometheus at /metrics.

A tracker needs a machine that others can reach, UDP and TCP on that port, and no daemon.
It learns which addresses ask for which folder id, and neither keys nor names nor files.
SIGTERM or Ctrl-C stops it; --json prints where it answers.")]
    Tracker(TrackerArgs),
    /// Share a directory, or join a folder with a key or link
    #[command(after_help = "\
Examples:
  syncd add ~/photos                        share a directory as a new folder
  syncd add ~/photos --key A…               join with a key
  syncd add --key 'syncd://A…?n=photos'     join with a link, into ./photos
  pass show photos | syncd add ~/p --key -  the key from standard input

A key on the command line can be seen by other users of this machine while the command runs.")]
    Add(AddArgs),
    /// List all folders
    List,
    /// Show what folders are doing
    Status {
        /// The folder [default: all]
        folder: Option<String>,
        /// Go on showing it
        #[arg(long)]
        watch: bool,
    },
    /// Wait until a folder is in sync
    #[command(after_help = "\
Every change on disk from before the call has then been seen, and nothing is missing here.
Example:
  syncd wait photos --peers 1 --timeout 600 && poweroff")]
    Wait {
        /// The folder
        folder: String,
        /// Give up after this many seconds (exit code 4)
        #[arg(long, value_name = "S", value_parser = seconds)]
        timeout: Option<f64>,
        /// Also wait until N peers have everything
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        peers: u64,
    },
    /// Fetch a folder once, then exit; no daemon is needed
    #[command(after_help = "\
Examples:
  syncd get 'syncd://B…?n=photos' ~/photos     fetch it, show how far it is, exit when all is here
  syncd get --seed 'syncd://B…' ~/photos       the same, then pass it on to others until Ctrl-C
  pass show photos | syncd get - ~/photos      the key from standard input

Nothing is ever sent to the folder from here, also with a key that may write. Interrupted, the same
command goes on where it was; until then DIR holds .syncd, which goes when all is here.
Files that are in DIR already are left alone: equal ones need not be fetched.")]
    Get(GetArgs),
    /// Show a folder's keys
    #[command(after_help = "\
Examples:
  syncd keys photos                        keys, link and fingerprint
  syncd keys photos --link --read-only     a link for those who shall only read
  syncd keys photos --qr                   the link as a picture for a phone's camera

The link carries a key, the folder's name and size, addresses of this device, and the folder's
trackers. Without --read-only it carries the strongest key that this device has.")]
    Keys(KeysArgs),
    /// Show who else has a folder
    Peers {
        /// The folder
        folder: String,
    },
    /// Pin the address of a peer, or forget it
    #[command(subcommand)]
    Peer(PeerCommand),
    /// Explain why peers are missing, and what to do
    #[command(after_help = "\
It looks at this machine, the daemon, and each way in which peers are looked for. Run it on both
sides when two devices do not find each other.")]
    Doctor {
        /// The folder [default: all]
        folder: Option<String>,
    },
    /// Stop syncing a folder, until `resume`
    Pause(OneFolder),
    /// Go on with a paused folder
    Resume(OneFolder),
    /// Forget a folder; its files stay
    Remove(OneFolder),
    /// Look at every file of a folder now
    Rescan(OneFolder),
    /// End a hold: what was held back happens
    Approve(OneFolder),
    /// Undo local changes of a read-only folder, or a mass deletion that is held
    #[command(after_help = "What it undoes goes to the archive: see `syncd archive list`.")]
    Revert(FolderPath),
    /// List or bring back replaced and removed files
    #[command(subcommand)]
    Archive(ArchiveCommand),
    /// Show or change settings
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// `syncd daemon`.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// UDP address for peers.
    #[arg(long, value_name = "IP:PORT")]
    #[arg(help = "UDP address for peers; repeatable [default: [::]:4455, or a free port if taken]")]
    pub listen: Vec<SocketAddr>,
    /// Serve the API on this loopback address too; the token is in HOME/api-token
    #[arg(long, value_name = "IP:PORT")]
    pub api: Option<SocketAddr>,
    /// Leave the terminal; what `syncd up` says
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// `syncd tracker`.
#[derive(Debug, Args)]
pub struct TrackerArgs {
    /// Address for UDP and TCP.
    #[arg(long, value_name = "IP:PORT")]
    #[arg(help = "Address for UDP and TCP; repeatable [default: [::]:6969, IPv4 and IPv6]")]
    pub listen: Vec<SocketAddr>,
    /// Keep who is known in this file, over restarts [default: keep nothing]
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Save the state every so many seconds
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub save_every: u32,
    /// Ask devices to announce themselves every so many minutes
    #[arg(long, value_name = "MIN", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1_440))]
    pub interval: u16,
    /// Remember at most this many peers, of some 60 bytes each
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1..=500_000_000))]
    pub max_peers: u32,
    /// Remember at most this many of one IPv4 address or IPv6 /64
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_peers_per_address: u32,
    /// Answer so many requests a second of one address or /64, ten times that at once; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_requests_per_address: u32,
    /// Pass no packets between devices that cannot reach each other directly
    #[arg(long)]
    pub no_relay: bool,
    /// UDP ports for passing packets, one for each two devices [default: any that are free]
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_ports)]
    pub relay_ports: Option<RangeInclusive<u16>>,
    /// Pass at most so many bytes a second for each two devices
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = clap::value_parser!(u64).range(1_024..))]
    pub relay_rate: u64,
    /// Pass at most so many bytes a second for all together
    #[arg(long, value_name = "BYTES", default_value_t = TOTAL_BYTES_PER_SECOND, value_parser = clap::value_parser!(u64).range(1_024..))]
    pub relay_total_rate: u64,
    /// Pass packets for at most so many pairs of devices at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_relays: u16,
    /// Threads that answer UDP [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let ports = text.split_once('-').and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
    let is_range = |ports: &RangeInclusive<u16>| *ports.start() > 0 && !ports.is_empty();
    ports.filter(is_range).ok_or_else(|| "give two port numbers, as in 50000-50099".to_owned())
}

/// `syncd add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The directory; it must exist, unless you join
    #[arg(required_unless_present_any = ["key", "key_file"])]
    pub dir: Option<PathBuf>,
    /// Join with this key or link; `-` reads it from standard input
    #[arg(long, value_name = "KEY|LINK|-", conflicts_with = "key_file")]
    pub key: Option<String>,
    /// Join with the key or link in this file
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// What to call the folder [default: the link's name, or the directory's]
    #[arg(long, value_name = "N")]
    pub name: Option<String>,
}

/// `syncd get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The key or link; `-` reads it from standard input
    #[arg(value_name = "KEY|LINK|-")]
    pub key: String,
    /// Where the files shall be; made if it is not there [default: the link's name]
    pub dir: Option<PathBuf>,
    /// Go on serving others when all is here, until Ctrl-C
    #[arg(long)]
    pub seed: bool,
    /// Give up after this many seconds (exit code 4); what has arrived stays
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub timeout: Option<f64>,
    /// UDP address for peers; repeatable [default: a free port]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Vec<SocketAddr>,
    /// Also look for peers at this address; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: Vec<String>,
}

/// `syncd keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// The folder
    pub folder: String,
    /// Print only the link
    #[arg(long)]
    pub link: bool,
    /// Draw the link as a QR code
    #[arg(long)]
    pub qr: bool,
    /// Print the link with the key that only reads
    #[arg(long)]
    pub read_only: bool,
}

/// A command about one folder.
#[derive(Debug, Args)]
pub struct OneFolder {
    /// The folder
    pub folder: String,
}

/// A command about one folder or one path in it.
#[derive(Debug, Args)]
pub struct FolderPath {
    /// The folder
    pub folder: String,
    /// A path, relative to the folder [default: all]
    pub path: Option<String>,
}

/// `syncd peer`.
#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// Pin an address: it is dialled as it is
    Add(PeerArgs),
    /// Forget a pinned address
    Remove(PeerArgs),
}

/// A peer of a folder.
#[derive(Debug, Args)]
pub struct PeerArgs {
    /// The folder
    pub folder: String,
    /// Where the peer listens
    #[arg(value_name = "HOST:PORT")]
    pub address: String,
}

/// `syncd archive`.
#[derive(Debug, Subcommand)]
pub enum ArchiveCommand {
    /// List what is in the archive
    List(FolderPath),
    /// Bring back the newest archived version
    Restore(FolderPath),
}

/// `syncd config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show one setting, or all
    Get {
        /// The setting, such as `limits.down` [default: all]
        key: Option<String>,
        /// What holds for this folder
        #[arg(long)]
        folder: Option<String>,
    },
    /// Change a setting; it takes effect at once
    #[command(after_help = "\
Examples:
  syncd config set limits.up 2M
  syncd config set discovery.lan false
  syncd config set --folder photos hold.deletions 50")]
    Set {
        /// The setting, such as `limits.down`
        key: String,
        /// A TOML value; text needs no quotation marks
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Only for this folder
        #[arg(long)]
        folder: Option<String>,
    },
}

/// Seconds to wait. `inf` and `nan` are numbers too, but no JSON.
fn seconds(text: &str) -> Result<f64, String> {
    let parsed = text.parse::<f64>().ok();
    parsed.filter(|seconds| seconds.is_finite()).ok_or_else(|| "it must be a number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
