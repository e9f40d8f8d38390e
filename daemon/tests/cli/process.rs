//! A real daemon: started, found, refused and stopped.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A home, and a daemon in it that is stopped at the end however the test ends.
struct Daemon {
    _place: TempDir,
    home: PathBuf,
}

impl Daemon {
    fn home() -> Self {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().join("home");
        Self { _place: place, home }
    }

    fn syncd(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncd"));
        command.args(arguments).env_clear().env("SYNCD_HOME", &self.home).env("SYNCD_OFFLINE", "1");
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.syncd(&["down"]);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn up_starts_a_daemon_once_and_down_stops_it() {
    let daemon = Daemon::home();
    let (code, out, error) = daemon.syncd(&["up"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.starts_with("Started the daemon"), "{out}");
    assert!(daemon.syncd(&["up"]).1.starts_with("The daemon runs."));
    assert_eq!((mode(&daemon.home), mode(&daemon.home.join("api.sock"))), (0o700, 0o600));
    assert_eq!(mode(&daemon.home.join("log")), 0o600);
    let (code, _, error) = daemon.syncd(&["daemon"]);
    assert_eq!(code, 1);
    assert!(error.contains("a daemon already runs in") && error.contains("(process "), "{error}");
    assert_eq!(daemon.syncd(&["down"]).0, 0);
    assert!(!daemon.home.join("api.sock").exists());
    assert_eq!(daemon.syncd(&["down"]).0, 3);
    assert_eq!(daemon.syncd(&["status"]).0, 3);
}

#[test]
fn a_daemon_that_stops_at_once_says_why() {
    let daemon = Daemon::home();
    std::fs::create_dir(&daemon.home).unwrap();
    std::fs::write(daemon.home.join("config.toml"), "archive.dyas = 3\n").unwrap();
    let (code, _, error) = daemon.syncd(&["up"]);
    assert_eq!(code, 1);
    assert!(error.contains("the daemon stopped at once: there is no setting `archive.dyas`"), "{error}");
    assert!(error.contains("config.toml"), "{error}");
}

#[test]
fn a_setting_can_be_changed_while_no_daemon_runs() {
    let daemon = Daemon::home();
    assert_eq!(daemon.syncd(&["config", "set", "archive.days", "3"]).0, 0);
    assert_eq!(daemon.syncd(&["config", "get", "archive.days"]).1, "archive.days = 3\n");
    daemon.syncd(&["up"]);
    assert_eq!(daemon.syncd(&["config", "get", "archive.days"]).1, "archive.days = 3\n");
}

#[test]
fn a_loose_token_is_refused() {
    let daemon = Daemon::home();
    std::fs::create_dir(&daemon.home).unwrap();
    let token = daemon.home.join("api-token");
    std::fs::write(&token, "t".repeat(64)).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, error) = daemon.syncd(&["daemon", "--api", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(error.contains("chmod 600"), "{error}");
}
