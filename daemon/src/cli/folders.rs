//! The commands about folders: ask the daemon, and make a reply of what it says.

use std::io::Read;
use std::path::{Path, PathBuf};

use hyper::Method;
use keystore::link::clean_name;
use keystore::{Link, parse_key_or_link};
use serde_json::Value;

use super::args::{AddArgs, ArchiveCommand, FolderPath, KeysArgs, PeerArgs, PeerCommand};
use super::client::{Client, encode};
use super::escape::printable;
use super::reply::Reply;
use super::{qr, show, ways};
use crate::api::error::{ApiError, Class};
use crate::api::types::*;

/// The longest key or link that is read.
const MAX_KEY_BYTES: u64 = 64 << 10;

pub(super) async fn add(client: &Client, args: AddArgs) -> Result<Reply, ApiError> {
    let key = match (&args.key, &args.key_file) {
        (Some(text), _) => Some(given_key(text)?),
        (None, Some(path)) => {
            let name = path.display().to_string();
            let file = std::fs::File::open(path).map_err(|cause| key_file(&name, &cause))?;
            Some(read_key(file, &name)?)
        }
        (None, None) => None,
    };
    let link = key.as_deref().map(parse_key).transpose()?;
    let dir = match (args.dir, link) {
        (Some(dir), _) => dir,
        (None, link) => link.and_then(|link| link.name).and_then(directory_name).ok_or_else(no_name)?,
    };
    let request = AddRequest { dir: absolute(&dir)?, key, name: args.name };
    let joined = request.key.is_some();
    let keys: FolderKeys = client.call(Method::POST, "/v1/folders", &request).await?;
    let (name, path) = (printable(&keys.name), printable(&keys.path));
    let text = match joined {
        true => format!("Joined `{name}` in {path}. `syncd status {name}` shows how it goes.\n"),
        false => show::how_to_join(&keys),
    };
    Reply::new(text, &keys)
}

/// The key or link that an argument gives; `-` is standard input.
pub(super) fn given_key(text: &str) -> Result<String, ApiError> {
    if text == "-" { read_key(std::io::stdin().lock(), "standard input") } else { Ok(text.to_owned()) }
}

/// Reads a key or link here, so that a mistyped one is named before anything else happens.
pub(super) fn parse_key(text: &str) -> Result<Link, ApiError> {
    parse_key_or_link(text).map_err(|wrong| {
        ApiError::new(Class::Usage, "BAD_KEY", wrong.to_string())
            .next("compare it with what `syncd keys FOLDER` shows where it comes from")
    })
}

/// A name made by someone else names one new, visible directory here, and nothing else.
pub(super) fn directory_name(name: String) -> Option<PathBuf> {
    clean_name(&name).filter(|name| !name.starts_with('.')).map(PathBuf::from)
}

pub(super) fn no_name() -> ApiError {
    ApiError::new(Class::Usage, "NO_DIRECTORY", "a bare key does not say what the folder is called")
        .next("name the directory too")
}

fn read_key(source: impl Read, name: &str) -> Result<String, ApiError> {
    let mut text = String::new();
    source.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(|cause| key_file(name, &cause))?;
    match text.trim() {
        "" => Err(ApiError::new(Class::Usage, "NO_KEY", format!("there is no key in {name}"))),
        key => Ok(key.to_owned()),
    }
}

fn key_file(name: &str, cause: &std::io::Error) -> ApiError {
    ApiError::new(Class::Failed, "KEY_FILE", format!("the key cannot be read from {name}: {cause}")).at(name)
}

/// The path as the daemon, which is somewhere else, understands it.
pub(super) fn absolute(path: &Path) -> Result<String, ApiError> {
    let absolute = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    let text = absolute.ok().and_then(|path| path.to_str().map(str::to_owned));
    text.ok_or_else(|| {
        let message = format!("the path {} cannot be used: it is not UTF-8", path.display());
        ApiError::new(Class::Usage, "BAD_PATH", message).at(path.display().to_string())
    })
}

pub(super) async fn list(client: &Client) -> Result<Reply, ApiError> {
    let rows: Vec<FolderListRow> = client.read("/v1/folders").await?;
    Reply::new(show::list(&rows), &rows)
}

/// The state of one folder or of all.
pub(super) async fn fetch_status(client: &Client, folder: Option<&str>) -> Result<Status, ApiError> {
    match folder {
        None => client.read("/v1/status").await,
        Some(text) => {
            let row = client.folder(text).await?;
            client.read(&format!("/v1/folders/{}", row.folder_id)).await
        }
    }
}

pub(super) async fn status(client: &Client, folder: Option<&str>) -> Result<Reply, ApiError> {
    let status = fetch_status(client, folder).await?;
    let mut text = show::status(&status);
    if folder.is_some() {
        text.push_str(&status.folders.first().map(|row| ways::ways(row, ways::now())).unwrap_or_default());
        text.push_str(&problems_of(client, &status).await?);
    }
    Reply::new(text, &status)
}

async fn problems_of(client: &Client, status: &Status) -> Result<String, ApiError> {
    let mut text = String::new();
    for row in status.folders.iter().filter(|row| row.problems + row.local_changes > 0) {
        let problems: Vec<Problem> = client.read(&format!("/v1/folders/{}/problems", row.folder_id)).await?;
        text.push_str(&show::problems(&problems));
    }
    Ok(text)
}

pub(super) async fn wait(
    client: &Client,
    folder: &str,
    timeout: Option<f64>,
    peers: u64,
) -> Result<Reply, ApiError> {
    let row = client.folder(folder).await?;
    let path = format!("/v1/folders/{}/wait", row.folder_id);
    let status: Status = client.call(Method::POST, &path, &WaitRequest { timeout, peers }).await?;
    let text = show::status(&status) + &problems_of(client, &status).await?;
    Reply::new(text, &status)
}

pub(super) async fn keys(client: &Client, args: KeysArgs) -> Result<Reply, ApiError> {
    let row = client.folder(&args.folder).await?;
    let keys: FolderKeys = client.read(&format!("/v1/folders/{}/keys", row.folder_id)).await?;
    let link = if args.read_only { &keys.link_read_only } else { &keys.link };
    let text = match (args.qr, args.link || args.read_only) {
        (true, _) => format!("{}{}\n", qr::draw(link, qr::canvas())?, printable(link)),
        (false, true) => format!("{}\n", printable(link)),
        (false, false) => show::keys(&keys),
    };
    Reply::new(text, &keys)
}

pub(super) async fn peers(client: &Client, folder: &str) -> Result<Reply, ApiError> {
    let row = client.folder(folder).await?;
    let peers: Vec<PeerRow> = client.read(&format!("/v1/folders/{}/peers", row.folder_id)).await?;
    Reply::new(show::peers(&peers), &peers)
}

pub(super) async fn peer(client: &Client, command: PeerCommand) -> Result<Reply, ApiError> {
    let (PeerArgs { folder, address }, call, done) = match command {
        PeerCommand::Add(args) => (args, "peers", "Pinned"),
        PeerCommand::Remove(args) => (args, "peers/remove", "Forgot"),
    };
    let row = client.folder(&folder).await?;
    let request = PeerRequest { address: address.clone() };
    let () = client.call(Method::POST, &format!("/v1/folders/{}/{call}", row.folder_id), &request).await?;
    Reply::done(&row, format!("{done} {} for `{}`.\n", printable(&address), printable(&row.name)))
}

/// Commands that only say to one folder what to do: the call, and the sentence when it is done.
pub(super) async fn order(client: &Client, folder: &str, call: &str, done: &str) -> Result<Reply, ApiError> {
    let row = client.folder(folder).await?;
    let path = format!("/v1/folders/{}/{call}", row.folder_id);
    let () = client.call(Method::POST, &path, &PathRequest::default()).await?;
    Reply::done(&row, format!("{done} `{}`.\n", printable(&row.name)))
}

pub(super) async fn remove(client: &Client, folder: &str) -> Result<Reply, ApiError> {
    let row = client.folder(folder).await?;
    let () = client.call(Method::DELETE, &format!("/v1/folders/{}", row.folder_id), &()).await?;
    let text = format!(
        "Forgot `{}`. The files in {} and their archive stay.\n",
        printable(&row.name),
        printable(&row.path)
    );
    Reply::done(&row, text)
}

pub(super) async fn revert(client: &Client, args: FolderPath) -> Result<Reply, ApiError> {
    let row = client.folder(&args.folder).await?;
    let path = format!("/v1/folders/{}/revert", row.folder_id);
    let () = client.call(Method::POST, &path, &PathRequest { path: args.path }).await?;
    Reply::done(&row, format!("Reverting `{}`; what it undoes goes to the archive.\n", printable(&row.name)))
}

pub(super) async fn archive(client: &Client, command: ArchiveCommand) -> Result<Reply, ApiError> {
    match command {
        ArchiveCommand::List(FolderPath { folder, path }) => {
            let row = client.folder(&folder).await?;
            let query = path.map(|path| format!("?path={}", encode(&path))).unwrap_or_default();
            let call = format!("/v1/folders/{}/archive{query}", row.folder_id);
            let rows: Vec<ArchiveRow> = client.read(&call).await?;
            Reply::new(show::archive(&rows), &rows)
        }
        ArchiveCommand::Restore(FolderPath { folder, path }) => {
            let row = client.folder(&folder).await?;
            let call = format!("/v1/folders/{}/archive/restore", row.folder_id);
            let restored: Restored = client.call(Method::POST, &call, &PathRequest { path }).await?;
            let lines = restored.restored.iter().map(|path| format!("restored {}\n", printable(path)));
            Reply::new(lines.collect(), &restored)
        }
    }
}

impl Reply {
    /// The reply of a command that has no document: which folder it was about.
    fn done(row: &FolderListRow, text: String) -> Result<Self, ApiError> {
        let document = serde_json::json!({ "folder_id": row.folder_id, "name": row.name, "path": row.path });
        Self::new::<Value>(text, &document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_name_makes_one_visible_directory_here() {
        let directory = |name: &str| directory_name(name.to_owned());
        assert_eq!(directory("my photos"), Some(PathBuf::from("my photos")));
        assert_eq!(directory("../../etc"), None);
        assert_eq!(directory("a/b"), Some(PathBuf::from("a-b")));
        assert_eq!(directory(".ssh"), None);
        assert_eq!(directory(".."), None);
    }
}
