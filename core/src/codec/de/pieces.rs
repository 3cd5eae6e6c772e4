//! The maps that stand for BSON types serde has no word for, as the `bson` crate shows them.
//!
//! Texts are only made when they are asked for: whoever understands bytes and numbers gets these.

use std::borrow::Cow;

use bson::oid::ObjectId;
use serde::{
    de::{DeserializeSeed, Deserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};

use super::{Fail, Hint, Value};

/// A map of one or two entries.
pub(super) struct Pieces<'de> {
    first: Option<(&'static str, Piece<'de>)>,
    second: Option<(&'static str, Piece<'de>)>,
    /// The value of the entry that was last come to.
    current: Option<Piece<'de>>,
}

/// A value in such a map.
pub(super) enum Piece<'de> {
    /// Data as base64 and the subtype in hexadecimal digits, or both as they are.
    Binary(u8, &'de [u8], bool),
    Base64(&'de [u8]),
    Bytes(&'de [u8]),
    DbPointer(Cow<'de, str>, [u8; 12], bool),
    Decimal([u8; 16]),
    Int64(i64),
    Millis(i64),
    Digits(i64),
    ObjectIdBytes([u8; 12]),
    ObjectIdDigits([u8; 12]),
    /// A map again.
    ObjectId([u8; 12], bool),
    One,
    Regex(Cow<'de, str>, Cow<'de, str>),
    Scope(Value<'de>, Hint),
    SubtypeByte(u8),
    SubtypeDigits(u8),
    Text(Cow<'de, str>),
    /// The increment in the lower half, the time in the upper.
    Timestamp(u64),
    True,
    Uint32(u32),
}

impl<'de> Pieces<'de> {
    #[inline]
    pub(super) fn one(key: &'static str, value: Piece<'de>) -> Self {
        Self {
            first: Some((key, value)),
            second: None,
            current: None,
        }
    }

    pub(super) fn and(mut self, key: &'static str, value: Piece<'de>) -> Self {
        self.second = Some((key, value));
        self
    }

    /// The bytes of a whole document or array.
    #[inline]
    pub(super) fn raw(name: &'static str, bytes: &'de [u8]) -> Self {
        Self::one(name, Piece::Bytes(bytes))
    }

    #[inline]
    pub(super) fn object_id(id: [u8; 12], short: bool) -> Self {
        let piece = if short {
            Piece::ObjectIdBytes
        } else {
            Piece::ObjectIdDigits
        };
        Self::one("$oid", piece(id))
    }
}

impl<'de> MapAccess<'de> for Pieces<'de> {
    type Error = Fail;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fail> {
        let Some((key, value)) = self.first.take().or_else(|| self.second.take()) else {
            self.current = None;
            return Ok(None);
        };
        self.current = Some(value);
        seed.deserialize(Key(key)).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fail> {
        seed.deserialize(self.current.take().ok_or(Fail)?)
    }
}

impl<'de> Deserializer<'de> for Piece<'de> {
    type Error = Fail;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        match self {
            Self::Binary(subtype, bytes, true) => visitor.visit_map(
                Pieces::one("subType", Self::SubtypeByte(subtype)).and("bytes", Self::Bytes(bytes)),
            ),
            Self::Binary(subtype, bytes, false) => visitor.visit_map(
                Pieces::one("subType", Self::SubtypeDigits(subtype))
                    .and("base64", Self::Base64(bytes)),
            ),
            Self::Base64(bytes) => {
                use base64::Engine as _;
                visitor.visit_string(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Self::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Self::DbPointer(name, id, short) => visitor.visit_map(
                Pieces::one("$ref", Self::Text(name)).and("$id", Self::ObjectId(id, short)),
            ),
            Self::Decimal(bytes) => visitor.visit_bytes(&bytes),
            Self::Int64(number) => visitor.visit_i64(number),
            Self::Millis(millis) => {
                visitor.visit_map(Pieces::one("$numberLong", Self::Digits(millis)))
            }
            Self::Digits(number) => visitor.visit_string(number.to_string()),
            Self::ObjectIdBytes(id) => visitor.visit_bytes(&id),
            Self::ObjectIdDigits(id) => visitor.visit_string(ObjectId::from_bytes(id).to_hex()),
            Self::ObjectId(id, short) => visitor.visit_map(Pieces::object_id(id, short)),
            Self::One => visitor.visit_i32(1),
            Self::Regex(pattern, options) => visitor.visit_map(
                Pieces::one("pattern", Self::Text(pattern)).and("options", Self::Text(options)),
            ),
            Self::Scope(scope, hint) => scope.visit(visitor, hint),
            Self::SubtypeByte(subtype) => visitor.visit_u8(subtype),
            Self::SubtypeDigits(subtype) => visitor.visit_string(format!("{subtype:02x}")),
            Self::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Self::Text(Cow::Owned(text)) => visitor.visit_str(&text),
            Self::Timestamp(value) => visitor.visit_map(
                Pieces::one("t", Self::Uint32((value >> 32) as u32))
                    .and("i", Self::Uint32((value & 0xffff_ffff) as u32)),
            ),
            Self::True => visitor.visit_bool(true),
            Self::Uint32(number) => visitor.visit_u32(number),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fail> {
        match self {
            Self::Binary(..)
            | Self::Base64(_)
            | Self::Bytes(_)
            | Self::Decimal(_)
            | Self::ObjectIdBytes(_)
            | Self::ObjectIdDigits(_)
            | Self::SubtypeByte(_)
            | Self::SubtypeDigits(_)
            | Self::Timestamp(_)
            | Self::Uint32(_) => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn is_human_readable(&self) -> bool {
        matches!(self, Self::Scope(scope, _) if scope.form.human_readable)
    }

    forward_to_deserialize_any! {
        bool u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 char str string seq bytes byte_buf map struct
        option unit ignored_any unit_struct tuple_struct tuple enum identifier
    }
}

/// The name of an entry.
struct Key(&'static str);

impl<'de> Deserializer<'de> for Key {
    type Error = Fail;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fail> {
        visitor.visit_newtype_struct(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 char str string seq bytes byte_buf map struct
        option unit ignored_any unit_struct tuple_struct tuple enum identifier
    }
}
