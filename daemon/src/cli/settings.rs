//! `syncd config`: through the daemon if one runs, else in the file.

use std::sync::Arc;

use hyper::Method;

use super::args::ConfigCommand;
use super::client::{Client, encode};
use super::reply::Reply;
use super::show;
use crate::api::error::ApiError;
use crate::api::settings::rows;
use crate::api::types::{ConfigRequest, ConfigRow};
use crate::config::setting::SETTINGS;
use crate::config::{KeyPath, LiveConfig, Surroundings};
use crate::home::Home;

pub(super) async fn config(client: &Client, home: &Home, command: ConfigCommand) -> Result<Reply, ApiError> {
    match command {
        ConfigCommand::Get { key, folder } => {
            let prefix = folder_prefix(client, folder.as_deref()).await?;
            let rows = match (key, prefix) {
                (Some(key), prefix) => get(client, home, Some(&format!("{prefix}{key}"))).await?,
                (None, prefix) if prefix.is_empty() => get(client, home, None).await?,
                (None, prefix) => {
                    let mut all = Vec::new();
                    for setting in SETTINGS.iter().filter(|setting| setting.per_folder) {
                        all.extend(get(client, home, Some(&format!("{prefix}{}", setting.key))).await?);
                    }
                    return reply_all(&all);
                }
            };
            if rows.len() == 1 { reply_one(&rows) } else { reply_all(&rows) }
        }
        ConfigCommand::Set { key, value, folder } => {
            let key = format!("{}{key}", folder_prefix(client, folder.as_deref()).await?);
            reply_one(&set(client, home, ConfigRequest { key, value }).await?)
        }
    }
}

fn reply_one(rows: &[ConfigRow]) -> Result<Reply, ApiError> {
    Reply::new(show::settings(rows), &rows.first())
}

fn reply_all(rows: &[ConfigRow]) -> Result<Reply, ApiError> {
    Reply::new(show::settings(rows), rows)
}

async fn folder_prefix(client: &Client, folder: Option<&str>) -> Result<String, ApiError> {
    match folder {
        None => Ok(String::new()),
        Some(text) => Ok(format!("folder.{}.", client.folder(text).await?.folder_id)),
    }
}

async fn get(client: &Client, home: &Home, key: Option<&str>) -> Result<Vec<ConfigRow>, ApiError> {
    let query = key.map(|key| format!("?key={}", encode(key))).unwrap_or_default();
    match client.read(&format!("/v1/config{query}")).await {
        Err(error) if error.code == "NO_DAEMON" => rows(&file(home)?.current(), key),
        answer => answer,
    }
}

async fn set(client: &Client, home: &Home, request: ConfigRequest) -> Result<Vec<ConfigRow>, ApiError> {
    match client.call::<Vec<ConfigRow>>(Method::PUT, "/v1/config", &request).await {
        Err(error) if error.code == "NO_DAEMON" => {
            let config = file(home)?;
            config.set(&KeyPath::parse(&request.key)?, &request.value)?;
            rows(&config.current(), Some(&request.key))
        }
        answer => answer,
    }
}

/// The settings of a home where no daemon runs.
fn file(home: &Home) -> Result<Arc<LiveConfig>, ApiError> {
    let home = Home::open(home.directory().to_owned())?;
    Ok(Arc::new(LiveConfig::open(&home, Surroundings::of_this_machine())?))
}
