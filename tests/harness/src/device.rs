//! One daemon with a home and a directory for its folders, on its own wire.

mod wire;

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::rc::Rc;

use serde_json::Value;

use crate::folder::Folder;
use crate::space::Space;
use crate::wait::eventually;

/// How much of a log is shown when a story fails.
const LAST_LINES: usize = 60;

/// A device. It is killed, and its log is shown if the story has failed, when it is dropped.
#[derive(Debug)]
pub struct Device {
    name: String,
    program: PathBuf,
    home: PathBuf,
    data: PathBuf,
    space: Option<Rc<Space>>,
    /// As whom it runs, if not as whoever runs the test.
    user: Cell<Option<u32>>,
    /// What it logs, if not the usual.
    log: Option<&'static str>,
    /// Whether it may look for others wherever its wires lead.
    is_online: bool,
    daemon: RefCell<Option<Child>>,
    folders: Cell<u32>,
}

/// How a command has failed: the exit code and the document that `--json` prints.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: i32,
    /// A name for programs.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// What it is about.
    pub path: Option<String>,
    /// What to do.
    pub next: Option<String>,
}

impl Device {
    pub(crate) fn new(
        program: &Path,
        below: &Path,
        name: &str,
        space: Option<Rc<Space>>,
        log: Option<&'static str>,
        is_online: bool,
    ) -> Self {
        let (home, data) = (below.join(name).join("home"), below.join(name).join("data"));
        fs::create_dir_all(&home).expect("a home");
        fs::create_dir_all(&data).expect("a place for folders");
        let lan = if space.is_some() { "true" } else { "\"loopback\"" };
        let settings = format!("name = \"{name}\"\n\n[discovery]\nlan = {lan}\ndht = false\n");
        fs::write(home.join("config.toml"), settings).expect("settings");
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            home,
            data,
            space,
            user: Cell::new(None),
            log,
            is_online,
            daemon: RefCell::new(None),
            folders: Cell::new(0),
        }
    }

    /// Starts the daemon and returns when it answers.
    pub fn start(&self) {
        let mut child = self.spawn(&[]);
        eventually(&format!("{} answers", self.name), || {
            let ended = child.try_wait().expect("the daemon can be asked after");
            assert!(ended.is_none(), "{} ended at once: {ended:?}\n{}", self.name, self.log());
            self.cli(&["status", "--json"]).status.success().then_some(())
        });
        *self.daemon.borrow_mut() = Some(child);
    }

    /// Spawns `syncd daemon` with more arguments, on the device's wire, and waits for nothing. It
    /// ends with the thread that has started it: no daemon outlives its story.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if self.hosts_path().exists() {
            let own = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
            command.args(["unshare", "--mount", "sh", "-c", own]).arg(self.hosts_path());
        }
        if let Some(space) = &self.space {
            let enter = space.enter();
            command.arg(enter.get_program()).args(enter.get_args());
        }
        if let Some(user) = self.user.get().map(|user| user.to_string()) {
            // Again, since who becomes another user is no longer bound to the end of the thread.
            command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
            command.args(["--pdeathsig", "KILL", "--"]);
        }
        command.arg(&self.program).arg("--home").arg(&self.home).arg("daemon");
        if let Some(filter) = self.log {
            command.env("SYNCD_LOG", filter);
        }
        if self.space.is_none() {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        // Wires of its own lead to the other devices of the story and nowhere else.
        let is_fenced = self.is_online && self.space.is_some();
        command.args(arguments).env("SYNCD_OFFLINE", if is_fenced { "0" } else { "1" });
        command.env("RUST_BACKTRACE", "1");
        let again: File = log.try_clone().expect("the log twice");
        command.stdin(Stdio::null()).stdout(again).stderr(log);
        command.spawn().expect("the daemon can be started")
    }

    /// Stops the daemon in order.
    pub fn stop(&self) {
        self.json(&["down"]);
        let ended = self.end().expect("the daemon runs");
        assert!(ended.success(), "{} ended with {ended}", self.name);
    }

    /// Kills the daemon as a power cut would, except that the system lives on.
    pub fn kill9(&self) {
        if let Some(child) = self.daemon.borrow_mut().as_mut() {
            child.kill().expect("it can be killed");
        }
        self.end();
    }

    /// Stops and starts it.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    fn end(&self) -> Option<ExitStatus> {
        let child = self.daemon.borrow_mut().take();
        child.map(|mut child| child.wait().expect("its end can be seen"))
    }

    /// Stops the process in the middle of whatever it does: it sees nothing until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.signal("-STOP");
        let stat = format!("/proc/{}/stat", self.pid());
        eventually("it stands still", || {
            let stat = fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit(')').next()?.trim_start().starts_with('T').then_some(())
        });
    }

    /// Whether the daemon has that file open just now.
    pub fn has_open(&self, path: &Path) -> bool {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).into_iter().flatten().flatten();
        open.into_iter().any(|found| fs::read_link(found.path()).is_ok_and(|file| file == path))
    }

    /// Gives all that is the daemon's to another user, as whom it runs from its next start on: what
    /// the system counts for each user is its own then. Needs root.
    pub fn run_as(&self, user: u32) {
        let below = self.home.parent().expect("a home lies below something");
        let all = [below, &self.home, &self.data, &self.home.join("config.toml")];
        for path in all.into_iter().chain(below.ancestors().skip(1).take(1)) {
            let mode = fs::metadata(path).expect("it is there").permissions().mode();
            fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o011)).expect("a way in");
        }
        for path in all {
            chown(path, Some(user), Some(user)).expect("root may give things away");
        }
        self.user.set(Some(user));
    }

    /// Lets a frozen daemon go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(sent.expect("kill").success(), "the daemon runs");
    }

    pub(crate) fn shared_space(&self) -> Option<Rc<Space>> {
        self.space.clone()
    }

    fn space(&self) -> &Space {
        self.space.as_deref().expect("the story has asked whether there are wires")
    }

    /// Runs `syncd` with these arguments, in the directory of its folders.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("syncd can be run")
    }

    /// Runs it with something on standard input.
    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("syncd can be run");
        let mut pipe = child.stdin.take().expect("was asked for");
        let _ = pipe.write_all(input.as_bytes());
        drop(pipe);
        child.wait_with_output().expect("its end can be seen")
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(&self.home).args(arguments).current_dir(&self.data).stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed, and returns its document.
    ///
    /// # Panics
    /// When it fails, or says anything on standard error.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).arg("--json").output().expect("syncd can be run");
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{}: syncd {arguments:?}: {said}{complained}", self.name);
        assert_eq!(complained, "", "{}: syncd {arguments:?}", self.name);
        serde_json::from_str(&said).unwrap_or_else(|wrong| panic!("syncd {arguments:?}: {wrong}: {said}"))
    }

    /// Runs a command that must fail, and returns how. A failure says something, has a code, and
    /// leaves standard error empty.
    ///
    /// # Panics
    /// When it succeeds, or fails otherwise than the contract says.
    pub fn failure(&self, arguments: &[&str]) -> Failure {
        let output = self.command(arguments).arg("--json").output().expect("syncd can be run");
        let said = text(&output.stdout);
        assert!(!output.status.success(), "{}: syncd {arguments:?} succeeded: {said}", self.name);
        assert_eq!(text(&output.stderr), "", "{}: syncd {arguments:?}", self.name);
        let document: Value = serde_json::from_str(&said).expect("a document");
        let field = |name: &str| document["error"][name].as_str().map(str::to_owned);
        Failure {
            exit: output.status.code().expect("it ended by itself"),
            code: field("code").expect("a code"),
            message: field("message").expect("a message"),
            path: field("path"),
            next: field("next"),
        }
    }

    /// Shares a directory of that name, which is made if it is not there.
    pub fn share(self: &Rc<Self>, name: &str) -> Folder {
        let root = self.data.join(name);
        fs::create_dir_all(&root).expect("a directory");
        let keys = self.json(&["add", path_text(&root)]);
        Folder::new(Rc::clone(self), root, &keys)
    }

    /// Joins a folder, in a new directory.
    pub fn join(self: &Rc<Self>, key: &str) -> Folder {
        self.folders.set(self.folders.get() + 1);
        self.join_in(&format!("joined-{}", self.folders.get()), key)
    }

    /// Joins a folder, in the directory of that name.
    pub fn join_in(self: &Rc<Self>, name: &str, key: &str) -> Folder {
        let root = self.data.join(name);
        let keys = self.json(&["add", path_text(&root), "--key", key]);
        Folder::new(Rc::clone(self), root, &keys)
    }

    /// What conflict copies call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The daemon's home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The directory in which its folders lie.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.daemon.borrow().as_ref().expect("the daemon runs").id()
    }

    /// Memory that the daemon occupies now.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("memory is counted") * 1024
    }

    /// Processor time that the daemon has used, in clock ticks (100 a second).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
    }

    /// All that the daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Says which names it knows, as `/etc/hosts` does: those and no others, from its next start on;
    /// later changes it sees at once. Needs root.
    pub fn write_hosts(&self, lines: &str) {
        fs::write(self.hosts_path(), lines).expect("names");
    }

    fn hosts_path(&self) -> PathBuf {
        self.home.with_file_name("hosts")
    }

    fn log_path(&self) -> PathBuf {
        self.home.with_file_name("log")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            let _ = writeln!(std::io::stderr().lock(), "--- the log of {}\n{last}", self.name);
        }
    }
}

pub(crate) fn path_text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
