//! Which folder a person means.

use super::error::{ApiError, Class};
use super::types::FolderListRow;

/// Finds the one folder that `text` names: its id, its name, its path, or a unique prefix of its id.
///
/// `path` is the same text as an absolute path, where it can be one. The first of these ways that fits
/// any folder decides; two folders that fit in the same way are an error that names both.
///
/// # Errors
/// `FOLDER_NOT_FOUND` and `FOLDER_AMBIGUOUS`.
pub fn resolve<'a>(
    rows: &'a [FolderListRow],
    text: &str,
    path: Option<&str>,
) -> Result<&'a FolderListRow, ApiError> {
    let lower = text.to_ascii_lowercase();
    let ways: [&dyn Fn(&FolderListRow) -> bool; 4] = [
        &|row| row.folder_id == lower,
        &|row| row.name == text,
        &|row| row.path == text || path.is_some_and(|path| row.path == path),
        &|row| !text.is_empty() && row.folder_id.starts_with(&lower),
    ];
    for way in ways {
        let mut fitting = rows.iter().filter(|row| way(row));
        match (fitting.next(), fitting.next()) {
            (None, _) => {}
            (Some(row), None) => return Ok(row),
            (Some(first), Some(second)) => return Err(ambiguous(text, first, second)),
        }
    }
    let message = format!("there is no folder `{text}` here");
    let next = match rows {
        [] => "share one with `syncd add DIR`, or join one with `syncd add DIR --key KEY`",
        _ => "`syncd list` shows all folders",
    };
    Err(ApiError::new(Class::NotFound, "FOLDER_NOT_FOUND", message).next(next))
}

fn ambiguous(text: &str, first: &FolderListRow, second: &FolderListRow) -> ApiError {
    let message = format!("`{text}` can mean {} and {}", first.path, second.path);
    let next = format!("name it by its path or its id, such as {}", first.folder_id);
    ApiError::new(Class::Usage, "FOLDER_AMBIGUOUS", message).next(next)
}

#[cfg(test)]
mod tests {
    use super::super::types::{Capability, FolderState};
    use super::*;

    fn row(id: &str, name: &str, path: &str) -> FolderListRow {
        let (folder_id, name, path) = (id.to_owned(), name.to_owned(), path.to_owned());
        FolderListRow { folder_id, name, path, capability: Capability::Write, state: FolderState::Idle }
    }

    #[test]
    fn a_folder_is_found_by_id_name_path_and_unique_prefix() {
        let rows = [
            row("abcd", "photos", "/p"),
            row("abxy", "abcd", "/q"),
            row("zz", "twin", "/r"),
            row("yy", "twin", "/s"),
        ];
        let find = |text: &str, path| resolve(&rows, text, path).map(|row| row.path.as_str());
        assert_eq!(find("photos", None), Ok("/p"));
        assert_eq!(find("/q", None), Ok("/q"));
        assert_eq!(find(".", Some("/r")), Ok("/r"));
        assert_eq!(find("abx", None), Ok("/q"));
        assert_eq!(find("ABX", None), Ok("/q"));
        assert_eq!(find("abcd", None), Ok("/p"), "an id goes before a name");
        assert_eq!(find("ab", None).unwrap_err().code, "FOLDER_AMBIGUOUS");
        assert_eq!(find("twin", None).unwrap_err().code, "FOLDER_AMBIGUOUS");
        assert_eq!(find("", None).unwrap_err().code, "FOLDER_NOT_FOUND");
        assert_eq!(find("nope", Some("/nope")).unwrap_err().code, "FOLDER_NOT_FOUND");
    }
}
