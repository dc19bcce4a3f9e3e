//! A small reader of JSON for settings: serde's `Deserialize` over text.
//!
//! `serde_json` would do the same and weigh as much as the rest of a small
//! policy twice over, for error texts with formatted numbers; the smaller
//! libraries cannot read escapes or tagged enums. The host has parsed and
//! checked the settings before they arrive here, so what matters is that every
//! valid text is read and that an error says where it is.
//!
//! Numbers with at most 15 digits and exponents up to 22 are read exactly;
//! others may be off by a few units in the last place, as in `serde_json`.

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt;

/// Deepest nesting; settings are a handful of levels deep, and the stack of a
/// component is small.
const DEPTH_MAX: u32 = 32;
/// Powers of ten that a double holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Integers up to here have a double of their own.
const EXACT_MAX: u64 = 1 << 53;
/// Exponents beyond this give 0 or infinity whatever the digits (a text of
/// this many digits is longer than the host takes).
const EXPONENT_MAX: i32 = 100_000;

/// Reads one value, with nothing but space after it.
///
/// # Errors
/// A JSON pointer to the place, and what is wrong there.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, (String, String)> {
    let mut reader = Reader {
        text: text.as_bytes(),
        at: 0,
        depth: 0,
        path: Vec::new(),
    };
    let value = T::deserialize(&mut reader).and_then(|value| {
        if reader.peek() == 0 {
            Ok(value)
        } else {
            Err(Mistake::new("unexpected text after the value"))
        }
    });
    value.map_err(|mistake| (pointer(&reader.path), mistake.0))
}

/// What is wrong; the place is the reader's path.
#[derive(Debug)]
struct Mistake(String);

impl Mistake {
    fn new(message: &str) -> Self {
        Self(message.to_owned())
    }

    /// Joins without formatting.
    fn naming(what: &str, name: &str) -> Self {
        let mut text = String::from(what);
        text.push('`');
        text.push_str(name);
        text.push('`');
        Self(text)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

/// Every message without formatting a value: that machinery is what makes
/// error texts heavy.
impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::new(match unexpected {
            Unexpected::Bool(_) => "must not be a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "must not be a whole number",
            Unexpected::Float(_) => "must not be a number with a fraction",
            Unexpected::Str(_) => "must not be a string",
            Unexpected::Unit => "must not be null",
            Unexpected::Seq => "must not be a list",
            Unexpected::Map => "must not be an object",
            _ => "has the wrong type",
        })
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::new("is out of range")
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::new("has the wrong length")
    }

    fn unknown_variant(variant: &str, _: &'static [&'static str]) -> Self {
        Self::naming("must not be ", variant)
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::naming("has no place for ", field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::naming("needs ", field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::naming("has twice ", field)
    }
}

type Read<T> = Result<T, Mistake>;

struct Reader<'de> {
    text: &'de [u8],
    at: usize,
    depth: u32,
    /// Where the reader is; left alone once something is wrong.
    path: Vec<Segment>,
}

enum Segment {
    Key(String),
    Index(u32),
}

enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl<'de> Reader<'de> {
    /// The next byte that is no space; 0 at the end.
    fn peek(&mut self) -> u8 {
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

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        if found {
            self.at += 1;
        }
        found
    }

    fn need(&mut self, byte: u8) -> Read<()> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(Mistake::new("is not valid JSON"))
        }
    }

    fn word(&mut self, word: &[u8]) -> Read<()> {
        for &byte in word {
            if self.next() != byte {
                return Err(Mistake::new("is not valid JSON"));
            }
        }
        Ok(())
    }

    fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Mistake::new("is nested too deeply"));
        }
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self, end: u8) -> Read<()> {
        self.depth -= 1;
        self.need(end)
    }

    /// Reads a string and its quotes.
    fn string(&mut self) -> Read<String> {
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

    fn number(&mut self) -> Read<Number> {
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

    fn visit_number<V: Visitor<'de>>(&mut self, visitor: V, integer: bool) -> Read<V::Value> {
        match self.number()? {
            Number::Unsigned(value) => visitor.visit_u64(value),
            Number::Signed(value) => visitor.visit_i64(value),
            // JSON Schema calls 2.0 an integer too.
            Number::Float(value)
                if integer
                    && value.abs() < EXACT_MAX as f64
                    && value.trunc().total_cmp(&value).is_eq() =>
            {
                visitor.visit_i64(value as i64)
            }
            Number::Float(value) => visitor.visit_f64(value),
        }
    }

    fn is_number(&mut self) -> bool {
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
fn pointer(path: &[Segment]) -> String {
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

macro_rules! integers {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
            if self.is_number() {
                self.visit_number(visitor, true)
            } else {
                self.deserialize_any(visitor)
            }
        }
    )+};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match self.peek() {
            b'n' => {
                self.word(b"null")?;
                visitor.visit_unit()
            }
            b't' => {
                self.word(b"true")?;
                visitor.visit_bool(true)
            }
            b'f' => {
                self.word(b"false")?;
                visitor.visit_bool(false)
            }
            b'"' => visitor.visit_string(self.string()?),
            b'[' => {
                self.enter()?;
                let value = visitor.visit_seq(Items {
                    reader: self,
                    count: 0,
                })?;
                self.leave(b']')?;
                Ok(value)
            }
            b'{' => {
                self.enter()?;
                let value = visitor.visit_map(Items {
                    reader: self,
                    count: 0,
                })?;
                self.leave(b'}')?;
                Ok(value)
            }
            _ => self.visit_number(visitor, false),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        if self.peek() == b'n' {
            self.word(b"null")?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Read<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        if self.peek() != b'{' {
            return visitor.visit_enum(de::value::StringDeserializer::new(self.string()?));
        }
        self.enter()?;
        let value = visitor.visit_enum(Choice(self))?;
        self.leave(b'}')?;
        Ok(value)
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

/// The inside of a list or an object.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    count: u32,
}

impl<'de> Items<'_, 'de> {
    /// True when another item follows; its separator has been read.
    fn more(&mut self, end: u8) -> Read<bool> {
        if self.reader.peek() == end {
            return Ok(false);
        }
        if self.count > 0 {
            self.reader.need(b',')?;
        }
        self.count += 1;
        Ok(true)
    }

    fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Read<S::Value> {
        let value = seed.deserialize(&mut *self.reader)?;
        self.reader.path.pop();
        Ok(value)
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Mistake;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Read<Option<S::Value>> {
        if !self.more(b']')? {
            return Ok(None);
        }
        self.reader.path.push(Segment::Index(self.count - 1));
        self.value(seed).map(Some)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Mistake;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Read<Option<S::Value>> {
        if !self.more(b'}')? {
            return Ok(None);
        }
        let key = self.reader.string()?;
        let read = seed.deserialize(Key(&key))?;
        self.reader.need(b':')?;
        self.reader.path.push(Segment::Key(key));
        Ok(Some(read))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Read<S::Value> {
        self.value(seed)
    }
}

/// A key; maps may have integers as keys.
struct Key<'a>(&'a str);

macro_rules! integer_keys {
    ($($method:ident $visit:ident;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
            match self.0.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => visitor.visit_str(self.0),
            }
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Key<'_> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Read<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        visitor.visit_enum(de::value::StrDeserializer::new(self.0))
    }

    integer_keys! {
        deserialize_i8 visit_i64; deserialize_i16 visit_i64; deserialize_i32 visit_i64;
        deserialize_i64 visit_i64; deserialize_u8 visit_u64; deserialize_u16 visit_u64;
        deserialize_u32 visit_u64; deserialize_u64 visit_u64;
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// An enum written as an object with one key.
struct Choice<'a, 'de>(&'a mut Reader<'de>);

impl<'de> EnumAccess<'de> for Choice<'_, 'de> {
    type Error = Mistake;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Read<(S::Value, Self)> {
        let name = self.0.string()?;
        let variant = seed.deserialize(Key(&name))?;
        self.0.need(b':')?;
        self.0.path.push(Segment::Key(name));
        Ok((variant, self))
    }
}

impl<'de> Choice<'_, 'de> {
    fn content<T>(self, read: impl FnOnce(&mut Reader<'de>) -> Read<T>) -> Read<T> {
        let value = read(self.0)?;
        self.0.path.pop();
        Ok(value)
    }
}

impl<'de> VariantAccess<'de> for Choice<'_, 'de> {
    type Error = Mistake;

    fn unit_variant(self) -> Read<()> {
        self.content(|reader| de::Deserialize::deserialize(reader))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Read<S::Value> {
        self.content(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Read<V::Value> {
        self.content(|reader| de::Deserializer::deserialize_any(reader, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        self.content(|reader| de::Deserializer::deserialize_any(reader, visitor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        share: Option<f64>,
        #[serde(default)]
        counts: Vec<u8>,
        #[serde(default)]
        by_label: BTreeMap<String, Kind>,
        #[serde(default)]
        by_code: BTreeMap<u16, bool>,
        #[serde(default)]
        tagged: Option<Tagged>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Plain,
        New(i64),
        Pair(u8, u8),
        Full { deep: bool },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Tagged {
        One { count: u32 },
        None,
    }

    #[test]
    fn reads_what_serde_json_reads() {
        for text in [
            r#"{"name":""}"#,
            " { \"name\" : \"a\" , \"share\" : null }\n",
            r#"{"name":"\u00e9\ud83d\ude00\n\"\\\/é","share":-0.5e-2,"counts":[]}"#,
            r#"{"name":"x","share":1,"counts":[0,255]}"#,
            r#"{"name":"x","by_label":{"a":"plain","b/~":{"new":-7},"c":{"full":{"deep":true}},"d":{"pair":[1,2]}}}"#,
            r#"{"name":"x","by_code":{"404":true,"500":false}}"#,
            r#"{"tagged":{"count":3,"kind":"one"},"name":"x"}"#,
            r#"{"tagged":{"kind":"none"},"name":"x"}"#,
        ] {
            let ours: Sample = from_str(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            let theirs: Sample = serde_json::from_str(text).unwrap();
            assert_eq!(ours, theirs, "{text}");
        }
    }

    #[test]
    fn numbers_are_exact_as_far_as_promised() {
        for text in [
            "0",
            "-0.0",
            "0.05",
            "0.1",
            "1e22",
            "1.5e-7",
            "123456789.012345",
            "9007199254740993",
            "18446744073709551615",
            "-9223372036854775808",
            "1E+3",
            "2.0",
        ] {
            let ours: f64 = from_str(text).unwrap();
            let theirs: f64 = text.parse().unwrap();
            assert_eq!(ours.to_bits(), theirs.to_bits(), "{text}");
        }
        for text in [
            "3.141592653589793238462643383279",
            "1e-300",
            "1.7976931348623157e308",
        ] {
            let ours: f64 = from_str(text).unwrap();
            let theirs: f64 = text.parse().unwrap();
            assert!((ours / theirs - 1.0).abs() < 1e-14, "{text}: {ours}");
        }
        assert!(from_str::<f64>("1e400").unwrap().is_infinite());
        assert_eq!(from_str::<f64>("1e-99999999999").unwrap().to_bits(), 0);
        assert_eq!(from_str::<u8>("2.0").unwrap(), 2);
        assert_eq!(from_str::<u64>("18446744073709551615").unwrap(), u64::MAX);
        assert!(from_str::<u8>("2.5").is_err());
        assert!(from_str::<u8>("256").is_err());
        assert!(from_str::<u8>("-1").is_err());
    }

    #[test]
    fn mistakes_say_where_they_are() {
        for (text, path, message) in [
            (r#"{}"#, "", "needs `name`"),
            (r#"{"nam":1}"#, "", "has no place for `nam`"),
            (r#"{"name":"a","name":"b"}"#, "/name", "has twice `name`"),
            (r#"{"name":7}"#, "/name", "must not be a whole number"),
            (
                r#"{"name":"a","share":"b"}"#,
                "/share",
                "must not be a string",
            ),
            (
                r#"{"name":"a","counts":[1,2,300]}"#,
                "/counts/2",
                "is out of range",
            ),
            (
                r#"{"name":"a","by_label":{"b/~":"odd"}}"#,
                "/by_label/b~1~0",
                "must not be `odd`",
            ),
            (r#"{"name":"a"} 7"#, "", "unexpected text after the value"),
        ] {
            let error = from_str::<Sample>(text).unwrap_err();
            assert_eq!(
                (error.0.as_str(), error.1.as_str()),
                (path, message),
                "{text}"
            );
        }
    }

    #[test]
    fn broken_text_is_an_error_and_never_a_panic() {
        let whole = r#"{"name":"\u00e9\ud83d\ude00","share":-1.5e-3,"counts":[1,2],"by_label":{"a":{"full":{"deep":true}}}}"#;
        for end in 0..whole.len() {
            let part = String::from_utf8_lossy(&whole.as_bytes()[..end]).into_owned();
            assert!(from_str::<Sample>(&part).is_err(), "{part}");
        }
        for text in [
            "nul",
            "tru",
            "-",
            "1e",
            "1e+",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{a:1}",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\u{1}\"",
            "\u{feff}{}",
            "[[",
            "]",
        ] {
            assert!(from_str::<de::IgnoredAny>(text).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(
            from_str::<de::IgnoredAny>(&deep).unwrap_err().1,
            "is nested too deeply"
        );
    }
}
