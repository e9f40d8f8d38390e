//! Ours, by its command line, as a user would; only how far it is its socket is asked, as the other's
//! port is, since a program that is started ten times a second takes its part of the cores.
//!
//! Whoever joins pins the address of the first machine, since a slow line carries no beacons; the
//! others are found as anywhere. No route leads out, so nothing else is switched off.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Live;
use super::http::{self, Question};
use crate::Outcome;
use crate::node::Node;
use crate::tree::Totals;

const PORT: u16 = 4455;
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Syncd {
    program: PathBuf,
    /// The key of those who join, and the folder's id.
    folder: Option<(String, String)>,
}

impl Syncd {
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned(), folder: None }
    }

    fn call(&self, node: &Node, arguments: &[&str]) -> Outcome<Value> {
        let mut command = node.command(&self.program.to_string_lossy());
        command.arg("--home").arg(&node.home).args(arguments).arg("--json");
        let text = node.call(&mut command)?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// The folder's row.
    fn status(&self, node: &Node) -> Outcome<Value> {
        let question = Question { method: "GET", path: "/v1/status", headers: "", body: "" };
        let status = http::ask_socket(&node.home.join("api.sock"), &question)?;
        Ok(status["folders"][0].clone())
    }
}

impl Live for Syncd {
    fn start(&self, node: &Node) -> Outcome<()> {
        let mut daemon = node.command(&self.program.to_string_lossy());
        daemon.arg("--home").arg(&node.home).args(["daemon", "--listen"]);
        daemon.arg(format!("{}:{PORT}", node.address));
        node.spawn(&mut daemon, "daemon.log")?;
        let begun = Instant::now();
        while let Err(why) = self.call(node, &["status"]) {
            if node.has_lost_a_program() || begun.elapsed() > PATIENCE {
                return Err(format!("the daemon does not answer: {why}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        // Who deletes everything here means it.
        self.call(node, &["config", "set", "hold.deletions", "0"]).map(drop)
    }

    fn connect(&self, _: &[Node]) -> Outcome<()> {
        Ok(()) // devices meet when they have a folder in common
    }

    fn share(&mut self, nodes: &[Node]) -> Outcome<()> {
        let first = nodes.first().ok_or("nobody has the data")?;
        let added = self.call(first, &["add", &first.data.to_string_lossy()])?;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("`add` has printed no key");
        self.folder = Some((text(&added["keys"]["read_write"])?, text(&added["folder_id"])?));
        Ok(())
    }

    fn join(&mut self, nodes: &[Node]) -> Outcome<()> {
        let [first, others @ ..] = nodes else { return Ok(()) };
        let (key, folder) = self.folder.as_ref().ok_or("the folder is not shared yet")?;
        for node in others {
            self.call(node, &["add", "--key", key, &node.data.to_string_lossy()])?;
            self.call(node, &["peer", "add", folder, &format!("{}:{PORT}", first.address)])?;
        }
        Ok(())
    }

    fn has(&self, node: &Node, want: Totals) -> Outcome<bool> {
        let row = self.status(node)?;
        let is = |field: &str, number: u64| row[field].as_u64() == Some(number);
        let is_done = row["state"] == "idle" && is("need_files", 0) && is("need_bytes", 0);
        Ok(is_done && is("files", want.files) && is("bytes", want.bytes))
    }

    fn is_back(&self, node: &Node) -> Outcome<bool> {
        let row = self.status(node)?;
        Ok(row["state"] == "idle" && row["peers"].as_u64().is_some_and(|peers| peers > 0))
    }
}
