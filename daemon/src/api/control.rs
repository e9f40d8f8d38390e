//! What the API asks of whoever runs the folders.

use std::future::Future;
use std::time::Duration;

use super::error::ApiError;
use super::types::{
    AddRequest, ArchiveRow, Diagnosis, FolderKeys, FolderListRow, PeerRow, Problem, Restored, Status,
};
use crate::config::LiveConfig;

/// The daemon as its faces see it. Folders are named by their full id; the API resolves shorter names.
///
/// Each call is on its own: an implementation may be asked many things at once, and a future may be
/// dropped at any await when the one who asked has gone.
pub trait Control: Send + Sync + 'static {
    /// The state of all folders, or of one.
    fn status(&self, folder: Option<&str>) -> impl Future<Output = Result<Status, ApiError>> + Send;

    /// All folders, in the order in which they were added.
    fn list(&self) -> impl Future<Output = Result<Vec<FolderListRow>, ApiError>> + Send;

    /// Shares a directory or joins a folder; returns when it is recorded, before it is scanned.
    fn add(&self, request: AddRequest) -> impl Future<Output = Result<FolderKeys, ApiError>> + Send;

    /// The keys of a folder.
    fn keys(&self, folder: &str) -> impl Future<Output = Result<FolderKeys, ApiError>> + Send;

    /// The peers of a folder.
    fn peers(&self, folder: &str) -> impl Future<Output = Result<Vec<PeerRow>, ApiError>> + Send;

    /// Pins an address, `host:port`.
    fn peer_add(&self, folder: &str, address: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Forgets a pinned address.
    fn peer_remove(&self, folder: &str, address: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// The paths of a folder that cannot be synced now, and those that a reader has changed.
    fn problems(&self, folder: &str) -> impl Future<Output = Result<Vec<Problem>, ApiError>> + Send;

    /// Why peers are missing, in plain words: of the machine, the daemon, and all folders or one.
    fn doctor(&self, folder: Option<&str>) -> impl Future<Output = Result<Diagnosis, ApiError>> + Send;

    /// Stops a folder until `resume`, also over restarts.
    fn pause(&self, folder: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Lets a paused folder go on.
    fn resume(&self, folder: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Forgets key and records, deletes the marker, leaves files and archive.
    fn remove(&self, folder: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Starts a scan, and returns.
    fn rescan(&self, folder: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Ends a hold: what the folder held back happens.
    fn approve(&self, folder: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// On a reader: local changes (all, or of one path) go to the archive and the state is shown. On a
    /// writer: only in a hold for mass deletion, and the files come back.
    fn revert(&self, folder: &str, path: Option<&str>) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// What is in the archive, newest first, at or below a path.
    fn archive_list(
        &self,
        folder: &str,
        path: Option<&str>,
    ) -> impl Future<Output = Result<Vec<ArchiveRow>, ApiError>> + Send;

    /// Brings back the newest archived files at or below a path.
    fn archive_restore(
        &self,
        folder: &str,
        path: Option<&str>,
    ) -> impl Future<Output = Result<Restored, ApiError>> + Send;

    /// Returns when the folder is in sync and `peers` peers are complete at its head.
    ///
    /// # Errors
    /// [`Class::TimedOut`](super::Class::TimedOut) after `timeout`, and at once
    /// [`Class::Held`](super::Class::Held) when the folder is held or paused.
    fn wait(
        &self,
        folder: &str,
        timeout: Option<Duration>,
        peers: u64,
    ) -> impl Future<Output = Result<Status, ApiError>> + Send;

    /// The settings; reading and changing them is the same for every implementation.
    fn config(&self) -> &LiveConfig;

    /// Stops all folders in order; when it returns, nothing is being written any more.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}
