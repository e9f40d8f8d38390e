//! A daemon that holds no folders: stands in at the seam until the folder loop does.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::api::control::Control;
use crate::api::error::{ApiError, Class};
use crate::api::types::*;
use crate::config::LiveConfig;

/// Knows the settings, and nothing else.
pub(super) struct NoFolders {
    config: Arc<LiveConfig>,
}

impl NoFolders {
    pub(super) fn new(context: Context) -> Self {
        Self { config: context.config }
    }
}

fn not_yet<T>() -> Result<T, ApiError> {
    Err(ApiError::new(Class::Failed, "NOT_YET", "this daemon cannot hold folders yet"))
}

impl Control for NoFolders {
    async fn status(&self, _: Option<&str>) -> Result<Status, ApiError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Status { folders: Vec::new(), device_id: String::new(), listen: Vec::new(), version })
    }

    async fn list(&self) -> Result<Vec<FolderListRow>, ApiError> {
        Ok(Vec::new())
    }

    async fn add(&self, _: AddRequest) -> Result<FolderKeys, ApiError> {
        not_yet()
    }

    async fn keys(&self, _: &str) -> Result<FolderKeys, ApiError> {
        not_yet()
    }

    async fn peers(&self, _: &str) -> Result<Vec<PeerRow>, ApiError> {
        not_yet()
    }

    async fn peer_add(&self, _: &str, _: &str) -> Result<(), ApiError> {
        not_yet()
    }

    async fn peer_remove(&self, _: &str, _: &str) -> Result<(), ApiError> {
        not_yet()
    }

    async fn problems(&self, _: &str) -> Result<Vec<Problem>, ApiError> {
        not_yet()
    }

    async fn pause(&self, _: &str) -> Result<(), ApiError> {
        not_yet()
    }

    async fn resume(&self, _: &str) -> Result<(), ApiError> {
        not_yet()
    }

    async fn remove(&self, _: &str) -> Result<(), ApiError> {
        not_yet()
    }

    async fn rescan(&self, _: &str) -> Result<(), ApiError> {
        not_yet()
    }

    async fn approve(&self, _: &str) -> Result<(), ApiError> {
        not_yet()
    }

    async fn revert(&self, _: &str, _: Option<&str>) -> Result<(), ApiError> {
        not_yet()
    }

    async fn archive_list(&self, _: &str, _: Option<&str>) -> Result<Vec<ArchiveRow>, ApiError> {
        not_yet()
    }

    async fn archive_restore(&self, _: &str, _: Option<&str>) -> Result<Restored, ApiError> {
        not_yet()
    }

    async fn wait(&self, _: &str, _: Option<Duration>, _: u64) -> Result<Status, ApiError> {
        not_yet()
    }

    fn config(&self) -> &LiveConfig {
        &self.config
    }

    async fn shutdown(&self) {}
}
