//! The text of the settings file: the one a new home gets, and changes that keep the user's comments.

use std::fmt::Write;

use toml_edit::{DocumentMut, Item, Table, Value};

use super::setting::SETTINGS;
use super::{ConfigError, KeyPath};

/// The settings file of a new home: every setting with its reason, as a comment.
pub fn default_text() -> String {
    let mut text = String::from(
        "# The settings of syncd. A line without a leading # is in force; what is not set has the\n\
         # value shown. `syncd config set KEY VALUE` changes this file and the running daemon.\n\
         # The same under [folder.ID] holds for one folder; `syncd list` shows the ids.\n",
    );
    let mut table_before = None;
    for setting in SETTINGS {
        let (table, key) = setting.split();
        if table != table_before {
            let _ = write!(text, "\n[{}]\n", table.unwrap_or_default());
            table_before = table;
        } else if table.is_none() {
            text.push('\n');
        }
        for line in setting.about {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# {key} = {}", setting.default);
    }
    text
}

/// The text with one setting changed; all else stays, comments too.
///
/// # Errors
/// When the text is not TOML.
pub fn with_value(text: &str, key: &KeyPath, value: &Value) -> Result<String, ConfigError> {
    let document = parse(text)?;
    if !is_set(&document, key)
        && let Some(changed) = uncomment(text, key, value)
        && parse(&changed).is_ok_and(|document| is_set(&document, key))
    {
        return Ok(changed);
    }
    let mut document = document;
    let mut table: &mut Table = document.as_table_mut();
    let (inner, name) = key.setting.split();
    for step in key.folder.iter().flat_map(|id| ["folder", id.as_str()]).chain(inner) {
        let entry = table.entry(step).or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(step == "folder");
            Item::Table(table)
        });
        if let Some(inline) = entry.as_inline_table() {
            *entry = Item::Table(inline.clone().into_table());
        }
        let wrong = || ConfigError::Unknown(step.to_owned());
        table = entry.as_table_mut().ok_or_else(wrong)?;
    }
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone(); // a comment behind the value
            *old = value.clone();
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(name, Item::Value(value.clone().decorated(" ", "")));
        }
    }
    Ok(document.to_string())
}

/// The text without what it says of one folder; `None` if that is nothing.
///
/// # Errors
/// When the text is not TOML.
pub fn without_folder(text: &str, id: &str) -> Result<Option<String>, ConfigError> {
    let mut document = parse(text)?;
    let Some(folders) = document.get_mut("folder").and_then(Item::as_table_like_mut) else { return Ok(None) };
    if folders.remove(id).is_none() {
        return Ok(None);
    }
    if folders.is_empty() {
        document.remove("folder");
    }
    Ok(Some(document.to_string()))
}

fn parse(text: &str) -> Result<DocumentMut, ConfigError> {
    text.parse().map_err(|error: toml_edit::TomlError| ConfigError::Syntax(error.to_string()))
}

fn is_set(document: &DocumentMut, key: &KeyPath) -> bool {
    let (table, name) = key.setting.split();
    let steps = key.folder.iter().flat_map(|id| ["folder", id.as_str()]).chain(table).chain([name]);
    let mut item = document.as_item();
    for step in steps {
        match item.get(step) {
            Some(inner) => item = inner,
            None => return false,
        }
    }
    true
}

/// Puts the value where the file shows the default as a comment, so that it stands under its reason.
fn uncomment(text: &str, key: &KeyPath, value: &Value) -> Option<String> {
    if key.folder.is_some() {
        return None;
    }
    let (table, name) = key.setting.split();
    let comment = format!("# {name} = ");
    let mut inside = table.is_none();
    let mut lines: Vec<String> = Vec::new();
    let mut found = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = table.is_some_and(|table| line.trim_end() == format!("[{table}]"));
        }
        if inside && !found && line.starts_with(&comment) {
            found = true;
            lines.push(format!("{name} = {}", value.to_string().trim()));
        } else {
            lines.push(line.to_owned());
        }
    }
    found.then(|| lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Surroundings};
    use super::*;

    fn set(text: &str, key: &str, value: &str) -> String {
        let key = KeyPath::parse(key).unwrap();
        let value = key.setting.parse_text(value);
        with_value(text, &key, &value).unwrap()
    }

    #[test]
    fn the_default_file_changes_nothing_and_names_every_setting() {
        let text = default_text();
        let config = Config::parse(&text, Surroundings::default()).unwrap();
        assert_eq!(config.daemon(), Config::parse("", Surroundings::default()).unwrap().daemon());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn every_line_of_the_default_file_is_valid_without_its_mark() {
        for setting in SETTINGS {
            let text = set(&default_text(), setting.key, setting.default);
            Config::parse(&text, Surroundings::default()).unwrap();
            assert_eq!(text.lines().count(), default_text().lines().count(), "{}", setting.key);
        }
    }

    #[test]
    fn a_change_keeps_comments_and_order() {
        let before = "# mine\n[limits] # here\nup = 5 # slow line\n";
        assert_eq!(set(before, "limits.up", "2M"), "# mine\n[limits] # here\nup = \"2M\" # slow line\n");
        let after = set(before, "limits.down", "7");
        assert_eq!(after, "# mine\n[limits] # here\nup = 5 # slow line\ndown = 7\n");
    }

    #[test]
    fn a_folder_gets_a_table_of_its_own() {
        let text = set("", "folder.abcdefghijklmnopqrstuvwxyz.hold.deletions", "0");
        let config = Config::parse(&text, Surroundings::default()).unwrap();
        assert_eq!(config.effective("abcdefghijklmnopqrstuvwxyz").hold_deletions, 0);
        assert_eq!(config.daemon().hold_deletions, 30);
    }
}
