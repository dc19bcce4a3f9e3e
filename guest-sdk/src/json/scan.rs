//! Takes a text apart: words, strings with their escapes, numbers; and keeps
//! the path to where it is.

use super::Read;
use super::mistake::Mistake;

/// Deepest nesting; settings are a handful of levels deep, and the stack of a
/// component is small.
const DEPTH_MAX: u32 = 32;
/// Powers of ten that a double holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Exponents beyond this give 0 or infinity whatever the digits (a text of
/// this many digits is longer than the host takes).
const EXPONENT_MAX: i32 = 100_000;

pub(super) struct Reader<'de> {
    text: &'de [u8],
    at: usize,
    depth: u32,
    /// Where the reader is; left alone once something is wrong.
    pub(super) path: Vec<Segment>,
}

pub(super) enum Segment {
    Key(String),
    Index(u32),
}

pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl<'de> Reader<'de> {
    /// At the beginning of `text`.
    pub(super) fn new(text: &'de str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            depth: 0,
            path: Vec::new(),
        }
    }

    /// The next byte that is no space; 0 at the end.
    pub(super) fn peek(&mut self) -> u8 {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// The next byte as it is; 0 at the end.
    fn next(&mut self) -> u8 {
        let byte = self.text.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn need(&mut self, byte: u8) -> Read<()> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(Mistake::new("is not valid JSON"))
        }
    }

    pub(super) fn word(&mut self, word: &[u8]) -> Read<()> {
        for &byte in word {
            if self.next() != byte {
                return Err(Mistake::new("is not valid JSON"));
            }
        }
        Ok(())
    }

    pub(super) fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Mistake::new("is nested too deeply"));
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self, end: u8) -> Read<()> {
        self.depth -= 1;
        self.need(end)
    }

    /// Reads a string and its quotes.
    pub(super) fn string(&mut self) -> Read<String> {
        self.need(b'"')?;
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                b'"' => break,
                b'\\' => self.escape(&mut bytes)?,
                0..0x20 => return Err(Mistake::new("has a string that does not end")),
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).map_err(|_| Mistake::new("is not UTF-8"))
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Read<()> {
        let byte = match self.next() {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.unicode_escape()?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Mistake::new("has an unknown escape")),
        };
        bytes.push(byte);
        Ok(())
    }

    fn unicode_escape(&mut self) -> Read<char> {
        let mut code = self.hex()?;
        // The first half of a pair; the second must follow.
        if let 0xd800..0xdc00 = code {
            self.word(b"\\u")?;
            code = match self.hex()? {
                low @ 0xdc00..0xe000 => 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                _ => code,
            };
        }
        char::from_u32(code).ok_or_else(|| Mistake::new("has half a surrogate pair"))
    }

    fn hex(&mut self) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()).to_digit(16);
            code = code * 16 + digit.ok_or_else(|| Mistake::new("has an unknown escape"))?;
        }
        Ok(code)
    }

    pub(super) fn number(&mut self) -> Read<Number> {
        let negative = self.take(b'-');
        let (mut digits, mut exponent, mut seen) = (0_u64, 0_i32, false);
        let (mut fraction, mut whole) = (false, true);
        loop {
            let byte = self.text.get(self.at).copied().unwrap_or(0);
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    let digit = u64::from(byte - b'0');
                    match digits
                        .checked_mul(10)
                        .and_then(|tens| tens.checked_add(digit))
                    {
                        Some(more) => {
                            digits = more;
                            exponent -= i32::from(fraction);
                        }
                        // Digits that a double has no room for.
                        None => {
                            exponent += i32::from(!fraction);
                            whole = false;
                        }
                    }
                }
                b'.' if seen && !fraction => {
                    fraction = true;
                    whole = false;
                }
                _ => break,
            }
            self.at += 1;
        }
        if !seen {
            return Err(Mistake::new("is not valid JSON"));
        }
        if let b'e' | b'E' = self.text.get(self.at).copied().unwrap_or(0) {
            self.at += 1;
            whole = false;
            exponent = exponent.saturating_add(self.exponent()?);
        }
        Ok(match (whole, negative) {
            (true, false) => Number::Unsigned(digits),
            (true, true) if digits <= i64::MAX as u64 => Number::Signed(-(digits as i64)),
            _ => {
                let value = scale(digits, exponent);
                Number::Float(if negative { -value } else { value })
            }
        })
    }

    fn exponent(&mut self) -> Read<i32> {
        let negative = match self.text.get(self.at) {
            Some(b'-') => true,
            Some(b'+') => false,
            _ => {
                self.at = self.at.wrapping_sub(1);
                false
            }
        };
        self.at += 1;
        let (mut exponent, mut seen) = (0_i32, false);
        while let Some(byte @ b'0'..=b'9') = self.text.get(self.at).copied() {
            seen = true;
            exponent = (exponent * 10 + i32::from(byte - b'0')).min(EXPONENT_MAX);
            self.at += 1;
        }
        if !seen {
            return Err(Mistake::new("is not valid JSON"));
        }
        Ok(if negative { -exponent } else { exponent })
    }

    pub(super) fn is_number(&mut self) -> bool {
        matches!(self.peek(), b'-' | b'0'..=b'9')
    }
}

/// `digits` times ten to the `exponent`.
fn scale(digits: u64, exponent: i32) -> f64 {
    let mut value = digits as f64;
    let mut left = exponent.unsigned_abs();
    while left > 0 && value != 0.0 && value.is_finite() {
        let power = left.min(22);
        let factor = POWERS_OF_TEN[power as usize];
        value = if exponent < 0 {
            value / factor
        } else {
            value * factor
        };
        left -= power;
    }
    value
}

/// A JSON pointer (RFC 6901).
pub(super) fn pointer(path: &[Segment]) -> String {
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Key(key) => {
                for character in key.chars() {
                    match character {
                        '~' => pointer.push_str("~0"),
                        '/' => pointer.push_str("~1"),
                        character => pointer.push(character),
                    }
                }
            }
            Segment::Index(index) => push_number(*index, &mut pointer),
        }
    }
    pointer
}

/// Writes without the formatting machinery.
fn push_number(number: u32, text: &mut String) {
    if number >= 10 {
        push_number(number / 10, text);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}
