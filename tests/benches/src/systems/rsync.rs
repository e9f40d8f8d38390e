//! rsync's own daemon, without encryption: the others fetch from the first machine, all at once.

use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Once;
use crate::Outcome;
use crate::catalogue::Step;
use crate::node::Node;

const PORT: u16 = 8730;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Rsync;

impl Once for Rsync {
    fn prepare(&self, nodes: &[Node]) -> Outcome<()> {
        let Some(first) = nodes.first() else { return Ok(()) };
        let settings = first.home.join("rsyncd.conf");
        let (log, data) = (first.home.join("rsyncd.log"), first.data.display());
        let text = format!(
            "use chroot = no\nuid = root\ngid = root\nlog file = {}\n[tree]\npath = {data}\nread only = yes\n",
            log.display()
        );
        fs::write(&settings, text)?;
        let mut daemon = first.command("rsync");
        daemon.args(["--daemon", "--no-detach"]).arg(format!("--port={PORT}"));
        daemon.arg(format!("--config={}", settings.display())).arg(format!("--address={}", first.address));
        first.spawn(&mut daemon, "rsync.out")?;
        let (begun, address) = (Instant::now(), first.address);
        while first.inside(|| TcpStream::connect((address, PORT))).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err("the rsync daemon does not listen".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn bring(&self, nodes: &[Node], _: Step) -> Outcome<()> {
        let [from, others @ ..] = nodes else { return Ok(()) };
        let from = format!("rsync://{}:{PORT}/tree/", from.address);
        // Each is waited for on a thread of its own, which starts it too: programs end with the
        // thread that has started them.
        thread::scope(|scope| {
            let commands = others.iter().map(|node| {
                let mut command = node.command("rsync");
                command.args(["-a", "--delete", &from]).arg(node.data.join(""));
                command
            });
            let running: Vec<_> =
                commands.map(|mut command| scope.spawn(move || (command.output(), command))).collect();
            for thread in running {
                let (output, command) = thread.join().map_err(|_| "a thread has panicked")?;
                let output = output?;
                if !output.status.success() {
                    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                    return Err(format!("{command:?} {}: {why}", output.status).into());
                }
            }
            Ok(())
        })
    }
}
