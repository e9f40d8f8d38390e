//! What a command has to say, for a person and for a program, and how it is printed.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::escape::printable;
use crate::api::error::{ApiError, Class};

/// A success, in both forms.
#[derive(Debug)]
pub(super) struct Reply {
    text: String,
    document: Value,
}

impl Reply {
    pub(super) fn new<T: Serialize + ?Sized>(text: String, document: &T) -> Result<Self, ApiError> {
        let document = serde_json::to_value(document)
            .map_err(|cause| ApiError::new(Class::Failed, "BROKEN_ANSWER", cause.to_string()))?;
        Ok(Self { text, document })
    }

    /// Prints it on standard output.
    pub(super) fn print(&self, json: bool) {
        if json { print(&format!("{}\n", self.document)) } else { print(&self.text) }
    }
}

/// Prints on standard output. A reader that has gone (`| head`) is no failure.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a failure: a document on standard output, or sentences on standard error.
pub(super) fn print_failure(error: &ApiError, json: bool) {
    if json {
        let document = serde_json::to_string(&error.document()).unwrap_or_default();
        return print(&format!("{document}\n"));
    }
    let mut text = format!("error: {}\n", printable(&error.message));
    if let Some(path) = error.path.as_deref().filter(|path| !error.message.contains(*path)) {
        text.push_str(&format!("  path: {}\n", printable(path)));
    }
    if let Some(next) = &error.next {
        text.push_str(&format!("  next: {}\n", printable(next)));
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
