//! Durations in settings: whole seconds, or text such as `"1h30m"`.

use std::time::Duration;

use toml_edit::Value;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// Ten years: longer is a typing error, and sums of durations cannot overflow.
const MOST_SECONDS: u64 = 10 * 365 * 86_400;

/// Reads a duration; the error is the end of a sentence.
pub fn parse_duration(value: &Value) -> Result<Duration, String> {
    let seconds = match value {
        Value::Integer(number) => u64::try_from(*number.value()).ok(),
        Value::String(text) => parse_text(text.value()),
        _ => None,
    };
    seconds
        .filter(|seconds| *seconds <= MOST_SECONDS)
        .map(Duration::from_secs)
        .ok_or_else(|| "must be seconds, or text such as \"90s\", \"15m\", \"1h30m\" or \"1d\"".to_owned())
}

fn parse_text(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    if rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest.parse().ok();
    }
    let mut unit_before = u64::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..end)?.parse().ok()?;
        let letter = rest.get(end..)?.chars().next()?;
        let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == letter)?;
        if unit >= unit_before {
            return None; // "1m1h", "1m1m"
        }
        unit_before = unit;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = rest.get(end + 1..)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_text_are_read_and_nonsense_is_refused() {
        let read = |toml: &str| parse_duration(&toml.parse().unwrap()).ok().map(|d| d.as_secs());
        assert_eq!(read("60"), Some(60));
        assert_eq!(read("\"60\""), Some(60));
        assert_eq!(read("\"60s\""), Some(60));
        assert_eq!(read("\"1h30m\""), Some(5_400));
        assert_eq!(read("\"2d\""), Some(172_800));
        for wrong in
            ["\"\"", "\"h\"", "\"1x\"", "\"1m1h\"", "-1", "1.5", "\"99999999999999999999s\"", "\"1hé\""]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
