//! Settings as documents.

use toml_edit::Value;

use super::error::ApiError;
use super::types::ConfigRow;
use crate::config::setting::SETTINGS;
use crate::config::{Config, KeyPath};

/// The setting `key`, or all settings of the daemon.
///
/// # Errors
/// When there is no such setting.
pub fn rows(config: &Config, key: Option<&str>) -> Result<Vec<ConfigRow>, ApiError> {
    let keys = match key {
        Some(key) => vec![KeyPath::parse(key)?],
        None => SETTINGS.iter().map(|setting| KeyPath { folder: None, setting }).collect(),
    };
    let row = |key: KeyPath| {
        let (value, set) = config.value(key.folder.as_deref(), key.setting);
        ConfigRow { key: key.text(), value: json(&value), set }
    };
    Ok(keys.into_iter().map(row).collect())
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => (*number.value()).into(),
        Value::Boolean(switch) => (*switch.value()).into(),
        Value::Array(list) => list.iter().map(json).collect(),
        other => other.to_string().trim().into(),
    }
}
