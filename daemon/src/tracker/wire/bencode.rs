//! Bencoding, as a stream of tokens: a reader that borrows, and functions that write.
//!
//! There is no tree of values, so nothing is allocated and nothing recurses: whoever reads knows
//! what it wants, and [`Reader::skip`]s the rest.

/// Deeper nesting than this is an attack.
const MAX_DEPTH: usize = 32;
/// Digits of the longest number: those of `i64::MIN`.
const MAX_DIGITS: usize = 20;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BencodeError {
    /// It ends in the middle.
    #[error("it ends too early")]
    Truncated,
    /// Something is where it may not be.
    #[error("it is not bencoded")]
    Unexpected,
    /// Lists in lists in lists.
    #[error("it is nested too deeply")]
    TooDeep,
}

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A number.
    Number(i64),
    /// A string of bytes.
    Bytes(&'a [u8]),
    /// A list begins.
    List,
    /// A dictionary begins.
    Dictionary,
    /// The innermost list or dictionary ends.
    End,
}

/// Reads tokens from the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next token.
    ///
    /// # Errors
    /// When there is none, or none that can be read.
    pub fn token(&mut self) -> Result<Token<'a>, BencodeError> {
        let (&first, rest) = self.rest.split_first().ok_or(BencodeError::Truncated)?;
        if first.is_ascii_digit() {
            return self.string().map(Token::Bytes);
        }
        self.rest = rest;
        match first {
            b'i' => self.number_until(b'e').map(Token::Number),
            b'l' => Ok(Token::List),
            b'd' => Ok(Token::Dictionary),
            b'e' => Ok(Token::End),
            _ => Err(BencodeError::Unexpected),
        }
    }

    /// Enters a dictionary; its keys follow.
    ///
    /// # Errors
    /// When something else is here.
    pub fn dictionary(&mut self) -> Result<(), BencodeError> {
        (self.token()? == Token::Dictionary).then_some(()).ok_or(BencodeError::Unexpected)
    }

    /// The next key of the dictionary, whose value is to be read or skipped then; `None`: it has ended.
    ///
    /// # Errors
    /// When something else is here.
    pub fn key(&mut self) -> Result<Option<&'a [u8]>, BencodeError> {
        match self.token()? {
            Token::Bytes(key) => Ok(Some(key)),
            Token::End => Ok(None),
            _ => Err(BencodeError::Unexpected),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// When something else is here.
    pub fn number(&mut self) -> Result<i64, BencodeError> {
        match self.token()? {
            Token::Number(number) => Ok(number),
            _ => Err(BencodeError::Unexpected),
        }
    }

    /// A string of bytes.
    ///
    /// # Errors
    /// When something else is here.
    pub fn bytes(&mut self) -> Result<&'a [u8], BencodeError> {
        match self.token()? {
            Token::Bytes(bytes) => Ok(bytes),
            _ => Err(BencodeError::Unexpected),
        }
    }

    /// Passes over one value, whatever it is.
    ///
    /// # Errors
    /// When none is here, or one that is nested too deeply.
    pub fn skip(&mut self) -> Result<(), BencodeError> {
        let mut depth = 0;
        loop {
            match self.token()? {
                Token::List | Token::Dictionary if depth == MAX_DEPTH => return Err(BencodeError::TooDeep),
                Token::List | Token::Dictionary => depth += 1,
                Token::End if depth == 0 => return Err(BencodeError::Unexpected),
                Token::End => depth -= 1,
                Token::Number(_) | Token::Bytes(_) => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn string(&mut self) -> Result<&'a [u8], BencodeError> {
        let len = usize::try_from(self.number_until(b':')?).map_err(|_| BencodeError::Unexpected)?;
        let (string, rest) = self.rest.split_at_checked(len).ok_or(BencodeError::Truncated)?;
        self.rest = rest;
        Ok(string)
    }

    fn number_until(&mut self, end: u8) -> Result<i64, BencodeError> {
        let window = &self.rest[..self.rest.len().min(MAX_DIGITS + 1)];
        let digits = match window.iter().position(|&byte| byte == end) {
            Some(at) => &window[..at],
            None if window.len() <= MAX_DIGITS => return Err(BencodeError::Truncated),
            None => return Err(BencodeError::Unexpected),
        };
        self.rest = &self.rest[digits.len() + 1..];
        let text = std::str::from_utf8(digits).map_err(|_| BencodeError::Unexpected)?;
        if text.starts_with('+') {
            return Err(BencodeError::Unexpected);
        }
        text.parse().map_err(|_| BencodeError::Unexpected)
    }
}

/// Writes a number.
pub fn put_number(out: &mut Vec<u8>, number: i64) {
    out.push(b'i');
    put_digits(out, number.unsigned_abs(), number < 0);
    out.push(b'e');
}

/// Writes a string of bytes; also a key, which must come in the order of the keys' bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_digits(out, bytes.len() as u64, false);
    out.push(b':');
    out.extend_from_slice(bytes);
}

fn put_digits(out: &mut Vec<u8>, mut number: u64, is_negative: bool) {
    let mut digits = [0; MAX_DIGITS];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if is_negative {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_come_one_after_the_other() {
        let mut reader = Reader::new(b"d1:ai-3e1:bl0:ee");
        reader.dictionary().unwrap();
        assert_eq!(reader.key(), Ok(Some(&b"a"[..])));
        assert_eq!(reader.number(), Ok(-3));
        assert_eq!(reader.key(), Ok(Some(&b"b"[..])));
        assert_eq!(reader.skip(), Ok(()));
        assert_eq!(reader.key(), Ok(None));
        assert_eq!(reader.token(), Err(BencodeError::Truncated));
    }

    #[test]
    fn what_is_not_bencoded_is_refused() {
        let too_long = "i99999999999999999999e";
        for wrong in ["ie", "i+1e", "i1", too_long, "5:abc", "1", "x", "-1:a", "+1:a"] {
            assert!(Reader::new(wrong.as_bytes()).skip().is_err(), "{wrong}");
        }
        assert_eq!(Reader::new(b"e").skip(), Err(BencodeError::Unexpected));
        assert_eq!(Reader::new(b"99999999999999999:").skip(), Err(BencodeError::Truncated));
    }

    #[test]
    fn deep_nesting_is_refused_at_its_limit() {
        let nested = |depth: usize| [vec![b'l'; depth], vec![b'e'; depth]].concat();
        assert_eq!(Reader::new(&nested(MAX_DEPTH)).skip(), Ok(()));
        assert_eq!(Reader::new(&nested(MAX_DEPTH + 1)).skip(), Err(BencodeError::TooDeep));
        assert_eq!(Reader::new(&vec![b'd'; 1 << 20]).skip(), Err(BencodeError::TooDeep));
    }

    fn plausible_byte() -> impl Strategy<Value = u8> {
        prop_oneof![any::<u8>(), prop::sample::select(&b"0123456789dlie:-"[..])]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in vec(plausible_byte(), 0..100)) {
            let mut reader = Reader::new(&bytes);
            while reader.token().is_ok() {}
            let _ = Reader::new(&bytes).skip();
        }

        #[test]
        fn what_is_written_is_read_back(number: i64, bytes in vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            put_bytes(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.bytes(), Ok(&bytes[..]));
            prop_assert_eq!(reader.token(), Err(BencodeError::Truncated));
        }
    }
}
