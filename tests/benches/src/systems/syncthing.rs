//! Syncthing 1.x with static addresses, and with everything off that would look for others: discovery,
//! relays, NAT, usage and crash reports, upgrades. Its watcher waits for one second, the least it can.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Live;
use super::http::{self, Question};
use crate::Outcome;
use crate::node::Node;
use crate::tree::Totals;

const PORT: u16 = 22_000;
const GUI: u16 = 8384;
const KEY: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);
/// What it counts for a directory.
const DIRECTORY_BYTES: u64 = 128;

#[derive(Default)]
pub(super) struct Syncthing {
    /// The devices' ids by the machines' numbers.
    ids: RefCell<BTreeMap<u8, String>>,
}

impl Syncthing {
    fn command(node: &Node, arguments: &[&str]) -> Command {
        let mut command = node.command("syncthing");
        command.args(arguments).arg("--home").arg(&node.home);
        command.env("STNOUPGRADE", "1").env("STNODEFAULTFOLDER", "1");
        command
    }

    /// Gives a machine an identity; the first start does it.
    fn generate(&self, node: &Node) -> Outcome<()> {
        node.call(&mut Self::command(node, &["generate", "--no-default-folder"]))?;
        let id = node.call(&mut Self::command(node, &["--device-id"]))?;
        self.ids.borrow_mut().insert(node.number, id.trim().to_owned());
        let text = configuration(&format!("tcp://{}:{PORT}", node.address));
        Ok(fs::write(node.home.join("config.xml"), text)?)
    }

    fn ask(node: &Node, method: &str, path: &str, body: &Value) -> Outcome<Value> {
        let headers = format!("X-API-Key: {KEY}\r\nContent-Type: application/json\r\n");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("/rest/{path}");
        http::ask_port(node, GUI, &Question { method, path: &path, headers: &headers, body: &body })
    }

    fn connections(node: &Node) -> Outcome<usize> {
        let answer = Self::ask(node, "GET", "system/connections", &Value::Null)?;
        let all = answer["connections"].as_object().map(|all| all.values());
        Ok(all.into_iter().flatten().filter(|one| one["connected"] == true).count())
    }

    fn add(&self, node: &Node) -> Outcome<()> {
        let devices: Vec<Value> = self.ids.borrow().values().map(|id| json!({ "deviceID": id })).collect();
        let folder = json!({
            "id": "tree", "label": "tree", "path": node.data, "type": "sendreceive", "devices": devices,
            "rescanIntervalS": 3600, "fsWatcherEnabled": true, "fsWatcherDelayS": 1,
        });
        Self::ask(node, "POST", "config/folders", &folder).map(drop)
    }
}

/// All but devices and folders, which are added when it runs.
fn configuration(listen: &str) -> String {
    let mut text = format!(
        "<configuration version=\"35\"><gui enabled=\"true\" tls=\"false\"><address>127.0.0.1:{GUI}</address>\
         <apikey>{KEY}</apikey></gui><options><listenAddress>{listen}</listenAddress>"
    );
    let off = [
        ("globalAnnounceEnabled", "false"),
        ("localAnnounceEnabled", "false"),
        ("relaysEnabled", "false"),
        ("natEnabled", "false"),
        ("startBrowser", "false"),
        ("crashReportingEnabled", "false"),
        ("urAccepted", "-1"),
        ("autoUpgradeIntervalH", "0"),
        ("reconnectionIntervalS", "5"),
        ("stunServer", ""),
    ];
    for (name, value) in off {
        let _ = write!(text, "<{name}>{value}</{name}>");
    }
    text + "</options></configuration>\n"
}

impl Live for Syncthing {
    fn start(&self, node: &Node) -> Outcome<()> {
        if !self.ids.borrow().contains_key(&node.number) {
            self.generate(node)?;
        }
        let _ = fs::remove_file(node.home.join("daemon.log")); // `is_back` reads the last run's
        node.spawn(&mut Self::command(node, &["serve", "--no-browser", "--no-restart"]), "daemon.log")?;
        let begun = Instant::now();
        while let Err(why) = Self::ask(node, "GET", "system/ping", &Value::Null) {
            if node.has_lost_a_program() || begun.elapsed() > PATIENCE {
                return Err(format!("it does not answer: {why}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Only the later one of two knows the other's address: if both dialled at once, over a wire with
    /// some delay, each would drop the connection that the other keeps, again and again.
    fn connect(&self, nodes: &[Node]) -> Outcome<()> {
        for node in nodes {
            for other in nodes.iter().filter(|other| other.number != node.number) {
                let id = self.ids.borrow().get(&other.number).cloned().unwrap_or_default();
                let dials = other.number < node.number;
                let address =
                    if dials { format!("tcp://{}:{PORT}", other.address) } else { "dynamic".to_owned() };
                let device = json!({ "deviceID": id, "addresses": [address], "compression": "metadata" });
                Self::ask(node, "POST", "config/devices", &device)?;
            }
        }
        let begun = Instant::now();
        for node in nodes {
            while Self::connections(node)? < nodes.len() - 1 {
                if begun.elapsed() > PATIENCE {
                    return Err("the devices do not connect".into());
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    fn share(&mut self, nodes: &[Node]) -> Outcome<()> {
        self.add(nodes.first().ok_or("nobody has the data")?)
    }

    fn join(&mut self, nodes: &[Node]) -> Outcome<()> {
        nodes.iter().skip(1).try_for_each(|node| self.add(node))
    }

    fn has(&self, node: &Node, want: Totals) -> Outcome<bool> {
        let status = Self::ask(node, "GET", "db/status?folder=tree", &Value::Null)?;
        let number = |field: &str| status[field].as_u64().unwrap_or(u64::MAX);
        let bytes =
            number("globalBytes").checked_sub(DIRECTORY_BYTES * number("globalDirectories").min(1 << 40));
        let is_done = status["state"] == "idle" && number("needTotalItems") == 0;
        let has_all = number("globalFiles") == want.files && number("localFiles") == want.files;
        Ok(is_done && has_all && bytes == Some(want.bytes))
    }

    fn is_back(&self, node: &Node) -> Outcome<bool> {
        let log = fs::read_to_string(node.home.join("daemon.log")).unwrap_or_default();
        Ok(log.contains("Completed initial scan") && Self::connections(node)? > 0)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_left_on_that_would_look_for_others() {
        let text = super::configuration("tcp://10.0.0.1:22000");
        for what in ["globalAnnounce", "localAnnounce", "relays", "nat", "crashReporting"] {
            assert!(text.contains(&format!("<{what}Enabled>false</{what}Enabled>")), "{what}");
        }
        assert!(text.contains("<urAccepted>-1</urAccepted>"));
    }
}
