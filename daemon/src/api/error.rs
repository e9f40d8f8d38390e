//! Failures as a person and a program read them: a code, a sentence, a next step, an exit code.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::home::HomeError;

/// What kind of failure it is; decides the exit code and the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It did not work.
    Failed,
    /// The request makes no sense.
    Usage,
    /// What is named does not exist.
    NotFound,
    /// It does not fit what is there already.
    Conflict,
    /// No daemon runs.
    NoDaemon,
    /// `wait` has waited long enough.
    TimedOut,
    /// The folder is held or paused.
    Held,
    /// Who asks has not shown the token.
    Unauthorized,
    /// The request comes from where none may come from.
    Forbidden,
    /// The request is larger than any honest one.
    TooLarge,
}

impl Class {
    /// The exit code of a command that failed so.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::NoDaemon => 3,
            Self::TimedOut => 4,
            Self::Held => 5,
            _ => 1,
        }
    }

    /// The HTTP status of an answer that says so.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Usage => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::NoDaemon => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Held => StatusCode::LOCKED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// The class that a client reads from a status.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::Usage,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::SERVICE_UNAVAILABLE => Self::NoDaemon,
            StatusCode::REQUEST_TIMEOUT => Self::TimedOut,
            StatusCode::LOCKED => Self::Held,
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::Failed,
        }
    }
}

/// A failure: what happened to what, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// A name for programs, such as `FOLDER_NOT_FOUND`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// The file or directory that it is about.
    pub path: Option<String>,
    /// What the person can do.
    pub next: Option<String>,
    /// What kind of failure it is.
    pub class: Class,
}

impl ApiError {
    /// A failure without path and next step.
    pub fn new(class: Class, code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), path: None, next: None, class }
    }

    /// The same, about this path.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The same, with what to do.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The failure document.
    pub fn document(&self) -> ErrorDocument {
        ErrorDocument {
            error: ErrorBody {
                code: self.code.clone(),
                message: self.message.clone(),
                path: self.path.clone(),
                next: self.next.clone(),
            },
        }
    }
}

/// `{"error": {"code", "message", "path", "next"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// The failure.
    pub error: ErrorBody,
}

/// The fields of a failure document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A name for programs.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// What it is about.
    pub path: Option<String>,
    /// What to do.
    pub next: Option<String>,
}

impl ErrorBody {
    /// The failure again, from an answer with that status.
    pub fn into_error(self, status: StatusCode) -> ApiError {
        let Self { code, message, path, next } = self;
        ApiError { code, message, path, next, class: Class::of_status(status) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.class.status(), Json(self.document())).into_response()
    }
}

impl From<HomeError> for ApiError {
    fn from(error: HomeError) -> Self {
        let message = error.to_string();
        match error {
            HomeError::Taken { path, .. } => Self::new(Class::Conflict, "HOME_TAKEN", message)
                .at(path.display().to_string())
                .next("use that daemon, stop it with `syncd down`, or give another --home"),
            HomeError::Loose { path, .. } => {
                let path = path.display().to_string();
                Self::new(Class::Failed, "LOOSE_PERMISSIONS", message)
                    .next(format!("if nobody else can have read it: chmod 600 '{path}'"))
                    .at(path)
            }
            HomeError::NotOurs { path, .. } => Self::new(Class::Failed, "HOME_NOT_OURS", message)
                .at(path.display().to_string())
                .next("give a directory of your own with --home"),
            HomeError::Unusable { path, .. } => Self::new(Class::Failed, "HOME_UNUSABLE", message)
                .at(path.display().to_string())
                .next("give another directory with --home"),
            HomeError::File { path, .. } => {
                Self::new(Class::Failed, "HOME_FILE", message).at(path.display().to_string())
            }
        }
    }
}

impl From<ConfigError> for ApiError {
    fn from(error: ConfigError) -> Self {
        let message = error.to_string();
        match error {
            ConfigError::Home(error) => error.into(),
            ConfigError::Unknown(_) => Self::new(Class::Usage, "UNKNOWN_SETTING", message)
                .next("`syncd config get` lists all settings"),
            ConfigError::NotPerFolder(_) => Self::new(Class::Usage, "NOT_PER_FOLDER", message),
            ConfigError::Value { .. } => Self::new(Class::Usage, "WRONG_VALUE", message),
            ConfigError::Syntax(_) | ConfigError::TooLong => {
                Self::new(Class::Failed, "BROKEN_SETTINGS", message)
            }
        }
    }
}
