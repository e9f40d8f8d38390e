//! Rates in settings: bytes a second, or text with K, M or G (of 1,024).

use toml_edit::Value;

/// Reads a rate in bytes a second, `None` for without limit; the error is the end of a sentence.
pub fn parse_rate(value: &Value) -> Result<Option<u64>, String> {
    let bytes = match value {
        Value::Integer(number) => u64::try_from(*number.value()).ok(),
        Value::String(text) => parse_text(text.value().trim()),
        _ => None,
    };
    match bytes {
        Some(0) => Ok(None),
        Some(bytes) => Ok(Some(bytes)),
        None => Err("must be bytes a second, or text such as \"500K\" or \"2M\"".to_owned()),
    }
}

fn parse_text(text: &str) -> Option<u64> {
    let (digits, factor) = match text.chars().last()? {
        'K' | 'k' => (text.get(..text.len() - 1)?, 1 << 10),
        'M' | 'm' => (text.get(..text.len() - 1)?, 1 << 20),
        'G' | 'g' => (text.get(..text.len() - 1)?, 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_nonsense_is_refused() {
        let read = |toml: &str| parse_rate(&toml.parse().unwrap());
        assert_eq!(read("0"), Ok(None));
        assert_eq!(read("1000"), Ok(Some(1_000)));
        assert_eq!(read("\"2M\""), Ok(Some(2 << 20)));
        for wrong in ["-1", "\"\"", "\"M\"", "\"fast\"", "true", "\"99999999999G\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
