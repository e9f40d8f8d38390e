//! A DHT that nobody here has written: nodes of libtorrent, run by `tests/libtorrent_dht.py`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::skipped;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../libtorrent_dht.py");
const NODES: u8 = 20;

/// Twenty nodes on one host; they end when it is dropped.
pub struct Libtorrent {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Libtorrent {
    /// Where devices enter this DHT.
    pub const ENTRANCE: &str = "10.101.0.1:6881";

    /// Whether Python has libtorrent. If not, says that the story is skipped.
    pub fn is_installed() -> bool {
        let found = Command::new("python3").args(["-c", "import libtorrent"]).output();
        let is_installed = found.is_ok_and(|output| output.status.success());
        if !is_installed {
            skipped("it needs libtorrent for Python: pip install libtorrent");
        }
        is_installed
    }

    /// Starts the nodes by `python`, a command that runs `python3` on their host; `add_address` gives
    /// the host one more address. Each node is in a network of its own, since libtorrent takes one of
    /// a neighbourhood; the addresses are private, for which it asks for no particular node ids.
    pub fn start(mut python: Command, add_address: impl Fn(&str)) -> Self {
        python.arg(SCRIPT);
        for n in 1..=NODES {
            add_address(&format!("10.1{n:02}.0.1/8"));
            python.arg(format!("10.1{n:02}.0.1"));
        }
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python runs");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut nodes = Self { child, input, output };
        assert_eq!(nodes.hears(), "ready");
        nodes
    }

    /// What the nodes find under a discovery id: addresses with blanks between them.
    pub fn peers(&mut self, discovery: &str) -> String {
        writeln!(self.input, "get_peers {discovery}").expect("the nodes are there");
        self.hears()
    }

    /// The second node announces this port under a discovery id.
    pub fn announce(&mut self, discovery: &str, port: u16) {
        writeln!(self.input, "announce {discovery} {port}").expect("the nodes are there");
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the nodes are there");
        line.trim_end().to_owned()
    }
}

impl Drop for Libtorrent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
