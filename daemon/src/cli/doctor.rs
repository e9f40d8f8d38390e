//! `syncd doctor`: findings as text.

use std::fmt::Write;

use super::client::Client;
use super::escape::printable;
use super::reply::{Reply, print};
use crate::api::error::{ApiError, Class};
use crate::api::types::{Diagnosis, Finding, Severity};
use crate::daemon::findings_without_daemon;

/// Asks the daemon; where none runs, says what can be said without it.
pub(super) async fn doctor(client: &Client, folder: Option<&str>, json: bool) -> Result<(), ApiError> {
    match ask(client, folder).await {
        Err(error) if error.class == Class::NoDaemon && !json => {
            let found = findings_without_daemon();
            if !found.is_empty() {
                print(&format!("{}\n", findings(&found)));
            }
            Err(error)
        }
        answer => {
            let diagnosis = answer?;
            Reply::new(findings(&diagnosis.findings), &diagnosis)?.print(json);
            Ok(())
        }
    }
}

async fn ask(client: &Client, folder: Option<&str>) -> Result<Diagnosis, ApiError> {
    match folder {
        None => client.read("/v1/doctor").await,
        Some(text) => {
            let row = client.folder(text).await?;
            client.read(&format!("/v1/folders/{}/doctor", row.folder_id)).await
        }
    }
}

/// Each finding with its next step, under the name of its folder.
fn findings(all: &[Finding]) -> String {
    let mut text = String::new();
    let mut folder_before = None;
    for finding in all {
        if finding.folder != folder_before {
            let name = finding.folder.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{}{}", if text.is_empty() { "" } else { "\n" }, printable(name));
            folder_before.clone_from(&finding.folder);
        }
        let mark = match finding.severity {
            Severity::Good => "ok",
            Severity::Note => "note",
            Severity::Problem => "PROBLEM",
        };
        let indent = if finding.folder.is_some() { "  " } else { "" };
        let _ = writeln!(text, "{indent}{mark}: {}", printable(&finding.message));
        if let Some(next) = &finding.next {
            let _ = writeln!(text, "{indent}  next: {}", printable(next));
        }
    }
    if all.iter().all(|finding| finding.severity != Severity::Problem) {
        text.push_str("\nNothing keeps peers away.\n");
    }
    text
}
