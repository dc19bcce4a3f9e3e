//! Hands what is read to serde: the reader, the inside of lists and objects,
//! keys, and enums as serde writes them.

use super::Read;
use super::mistake::Mistake;
use super::scan::{Number, Reader, Segment};
use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Integers up to here have a double of their own.
const EXACT_MAX: u64 = 1 << 53;

impl<'de> Reader<'de> {
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
