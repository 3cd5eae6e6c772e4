//! A serde deserializer over the bytes of a document.
//!
//! It shows a type the same serde values as the `bson` crate does: types that serde has no word
//! for appear as the maps of Extended JSON ([`pieces`]), and the crate's own types ask for other
//! forms by the names of newtypes. It does not build errors: [`Fail`] only says that there is one,
//! and the caller lets the `bson` crate read the same bytes to learn which. This makes
//! attempts that fail on purpose (untagged enums) cheap, and allows to give up on rare inputs.
//!
//! Invariants:
//!
//! 1. Whatever is read here is read as the `bson` crate would.
//! 2. Every text is checked to be UTF-8, and every length against the bytes there are.
//! 3. It descends at most as many levels as it was given.

mod fields;
mod pieces;

use std::borrow::Cow;

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, IgnoredAny, VariantAccess, Visitor,
        value::CowStrDeserializer,
    },
    forward_to_deserialize_any,
};

use self::{
    fields::{Fields, StructFields},
    pieces::{Piece, Pieces},
};
use super::{
    Fail, cast,
    document::{self, Way, string},
    names,
    walk::{Element, Elements, kind, text},
};

/// Reads a whole document that is nested at most `levels` deep.
pub(super) fn from_slice<'de, T: Deserialize<'de>>(
    document: &'de [u8],
    levels: u16,
) -> Result<T, Fail> {
    Elements::new(document)?;
    T::deserialize(Value {
        kind: kind::DOCUMENT,
        form: Form::default(),
        levels,
        bytes: document,
    })
}

/// What outer newtypes ask of the values inside.
#[derive(Clone, Copy, Default)]
struct Form {
    human_readable: bool,
    /// Text that is not UTF-8 is repaired.
    lossy: bool,
    /// The visitor behind `Bson` sees every value, instead of being passed by.
    visited: bool,
}

/// How types that serde has no word for are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    /// As Extended JSON.
    None,
    /// As bytes and numbers where these do.
    Raw,
    /// Only binary data of the subtype for UUIDs is wanted.
    Uuid,
}

/// A value: its type and bytes.
#[derive(Clone, Copy)]
struct Value<'de> {
    kind: u8,
    form: Form,
    /// How many levels of documents may be entered.
    levels: u16,
    bytes: &'de [u8],
}

fn number<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fail> {
    bytes.first_chunk().copied().ok_or(Fail)
}

fn utf8(bytes: &[u8]) -> Result<&str, Fail> {
    std::str::from_utf8(bytes).map_err(|_| Fail)
}

impl<'de> Value<'de> {
    #[inline]
    fn plain_str(&self) -> Result<&'de str, Fail> {
        utf8(text(self.bytes).ok_or(Fail)?)
    }

    /// Text at `bytes`, repaired where that is wanted.
    fn text(&self, bytes: &'de [u8]) -> Result<Cow<'de, str>, Fail> {
        if self.form.lossy {
            return Ok(Cow::Owned(String::from_utf8_lossy(bytes).into_owned()));
        }
        utf8(bytes).map(Cow::Borrowed)
    }

    #[inline]
    fn boolean(&self) -> Result<bool, Fail> {
        match self.bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fail),
        }
    }

    /// The elements of this document or array.
    #[inline]
    fn fields(&self) -> Result<Fields<'de>, Fail> {
        let levels = self.levels.checked_sub(1).ok_or(Fail)?;
        Fields::new(self.bytes, self.form, levels)
    }

    /// Shows the value as what it is.
    fn visit<V: Visitor<'de>>(self, visitor: V, hint: Hint) -> Result<V::Value, Fail> {
        match self.kind {
            kind::STRING if self.form.lossy => {
                let text = self.text(text(self.bytes).ok_or(Fail)?)?;
                visitor.visit_string(text.into_owned())
            }
            // The visitor behind `Bson` copies text anyway.
            kind::STRING if names::is_bson_visitor::<V>() => {
                visitor.visit_string(string(text(self.bytes).ok_or(Fail)?)?)
            }
            kind::STRING => visitor.visit_borrowed_str(self.plain_str()?),
            kind::INT32 => visitor.visit_i32(i32::from_le_bytes(number(self.bytes)?)),
            kind::INT64 => visitor.visit_i64(i64::from_le_bytes(number(self.bytes)?)),
            kind::DOUBLE => visitor.visit_f64(f64::from_le_bytes(number(self.bytes)?)),
            kind::BOOLEAN => visitor.visit_bool(self.boolean()?),
            kind::NULL => visitor.visit_unit(),
            kind::DOCUMENT if hint == Hint::Raw => {
                visitor.visit_map(Pieces::raw(names::RAW_DOCUMENT, self.bytes))
            }
            kind::DOCUMENT => self.visit_document(visitor),
            kind::ARRAY if hint == Hint::Raw => {
                visitor.visit_map(Pieces::raw(names::RAW_ARRAY, self.bytes))
            }
            kind::ARRAY => self.visit_array(visitor),
            _ => self.visit_special(visitor, hint),
        }
    }

    #[inline]
    fn visit_document<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fail> {
        match self.tree::<V>() {
            Some(tree) => Ok(tree),
            None => visitor.visit_map(self.fields()?),
        }
    }

    #[inline]
    fn visit_array<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fail> {
        match self.tree::<V>() {
            Some(tree) => Ok(tree),
            None => visitor.visit_seq(self.fields()?),
        }
    }

    /// What the visitor behind `Bson` would build, if it can be built without asking it. It is
    /// tried once: where it fails, nothing below this value is tried again.
    #[inline]
    fn tree<V: Visitor<'de>>(&mut self) -> Option<V::Value> {
        if self.form.visited || !names::is_bson_visitor::<V>() || !cast::is_bson::<V::Value>() {
            return None;
        }
        self.form.visited = true;
        let element = Element {
            kind: self.kind,
            key: &[],
            value: self.bytes,
        };
        let way = Way {
            levels: self.levels,
            plain: true,
        };
        cast::bson_as(document::value(element, way).ok()?)
    }

    /// Shows a value of a type that serde has no word for.
    fn visit_special<V: Visitor<'de>>(self, visitor: V, hint: Hint) -> Result<V::Value, Fail> {
        // The visitor behind `Bson`, `DateTime` and others understands the short forms, too.
        let short = hint == Hint::Raw || names::is_bson_visitor::<V>();
        let pieces = match self.kind {
            kind::BINARY => {
                let (subtype, bytes) = self.binary()?;
                if hint == Hint::Uuid && subtype != names::SUBTYPE_UUID {
                    return Err(Fail);
                }
                if subtype == names::SUBTYPE_GENERIC {
                    return visitor.visit_borrowed_bytes(bytes);
                }
                let raw = hint == Hint::Raw;
                Pieces::one("$binary", Piece::Binary(subtype, bytes, raw))
            }
            kind::OBJECT_ID => Pieces::object_id(number(self.bytes)?, short),
            kind::DATE_TIME => {
                let millis = i64::from_le_bytes(number(self.bytes)?);
                let piece = if short { Piece::Int64 } else { Piece::Millis };
                Pieces::one("$date", piece(millis))
            }
            kind::TIMESTAMP => {
                let value = u64::from_le_bytes(number(self.bytes)?);
                Pieces::one("$timestamp", Piece::Timestamp(value))
            }
            kind::DECIMAL128 => {
                Pieces::one("$numberDecimalBytes", Piece::Decimal(number(self.bytes)?))
            }
            kind::UNDEFINED => Pieces::one("$undefined", Piece::True),
            kind::MAX_KEY => Pieces::one("$maxKey", Piece::One),
            kind::MIN_KEY => Pieces::one("$minKey", Piece::One),
            kind::CODE => Pieces::one("$code", Piece::Text(self.whole_text()?)),
            kind::SYMBOL => Pieces::one("$symbol", Piece::Text(self.whole_text()?)),
            kind::REGEX => {
                let mut parts = self.bytes.split(|byte| *byte == 0);
                let mut part = || self.text(parts.next().ok_or(Fail)?);
                Pieces::one("$regularExpression", Piece::Regex(part()?, part()?))
            }
            kind::DB_POINTER => {
                let (name, id) = self.bytes.split_last_chunk().ok_or(Fail)?;
                let name = self.text(text(name).ok_or(Fail)?)?;
                Pieces::one("$dbPointer", Piece::DbPointer(name, *id, hint == Hint::Raw))
            }
            kind::CODE_WITH_SCOPE => self.code_with_scope(hint)?,
            _ => return Err(Fail),
        };
        visitor.visit_map(pieces)
    }

    fn whole_text(&self) -> Result<Cow<'de, str>, Fail> {
        self.text(text(self.bytes).ok_or(Fail)?)
    }

    /// Subtype and data; the old subtype has a second length in front of them.
    fn binary(&self) -> Result<(u8, &'de [u8]), Fail> {
        let (subtype, bytes) = self
            .bytes
            .get(4..)
            .and_then(<[_]>::split_first)
            .ok_or(Fail)?;
        if *subtype != names::SUBTYPE_OLD {
            return Ok((*subtype, bytes));
        }
        let (len, bytes) = bytes.split_first_chunk().ok_or(Fail)?;
        let len = usize::try_from(i32::from_le_bytes(*len)).map_err(|_| Fail)?;
        if len == bytes.len() {
            Ok((*subtype, bytes))
        } else {
            Err(Fail)
        }
    }

    fn code_with_scope(&self, hint: Hint) -> Result<Pieces<'de>, Fail> {
        let inner = self.bytes.get(4..).ok_or(Fail)?;
        let len = usize::try_from(i32::from_le_bytes(number(inner)?)).map_err(|_| Fail)?;
        let end = len.checked_add(4).ok_or(Fail)?;
        let (code, scope) = inner.split_at_checked(end).ok_or(Fail)?;
        if len == 0 || code.last() != Some(&0) {
            return Err(Fail);
        }
        Elements::new(scope)?;
        let scope = Value {
            kind: kind::DOCUMENT,
            bytes: scope,
            ..*self
        };
        let code = self.text(text(code).ok_or(Fail)?)?;
        Ok(Pieces::one("$code", Piece::Text(code)).and("$scope", Piece::Scope(scope, hint)))
    }

    /// Checks everything that [`Self::visit`] would read.
    fn check(&self) -> Result<(), Fail> {
        match self.kind {
            kind::STRING if !self.form.lossy => self.plain_str().map(drop),
            kind::BOOLEAN => self.boolean().map(drop),
            kind::DOCUMENT | kind::ARRAY => {
                let mut fields = self.fields()?;
                while let Some(value) = fields.advance()? {
                    value.check()?;
                }
                Ok(())
            }
            kind::INT32
            | kind::INT64
            | kind::DOUBLE
            | kind::NULL
            | kind::OBJECT_ID
            | kind::DATE_TIME
            | kind::TIMESTAMP
            | kind::DECIMAL128 => Ok(()),
            kind::BINARY => self.binary().map(drop),
            _ => self.visit_special(IgnoredAny, Hint::None).map(drop),
        }
    }
}

/// A method that has a short way for values of the type that it most likely meets.
macro_rules! likely {
    ($($method:ident: $kind:ident => $visit:ident($read:expr);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
            if self.kind == kind::$kind && !self.form.lossy {
                let read: fn(&Self) -> Result<_, Fail> = $read;
                return visitor.$visit(read(&self)?);
            }
            self.visit(visitor, Hint::None)
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Fail;

    likely! {
        deserialize_str: STRING => visit_borrowed_str(|v| v.plain_str());
        deserialize_string: STRING => visit_string(|v| string(text(v.bytes).ok_or(Fail)?));
        deserialize_bool: BOOLEAN => visit_bool(|v| v.boolean());
        deserialize_i32: INT32 => visit_i32(|v| number(v.bytes).map(i32::from_le_bytes));
        deserialize_i64: INT64 => visit_i64(|v| number(v.bytes).map(i64::from_le_bytes));
        deserialize_u32: INT64 => visit_i64(|v| number(v.bytes).map(i64::from_le_bytes));
        deserialize_u64: INT64 => visit_i64(|v| number(v.bytes).map(i64::from_le_bytes));
        deserialize_f64: DOUBLE => visit_f64(|v| number(v.bytes).map(f64::from_le_bytes));
        deserialize_seq: ARRAY => visit_seq(|v| v.fields());
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        match self.kind {
            kind::DOCUMENT => self.visit_document(visitor),
            _ => self.visit(visitor, Hint::None),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        match self.kind {
            kind::DOCUMENT => visitor.visit_map(StructFields::new(self.fields()?, fields)),
            _ => self.visit(visitor, Hint::None),
        }
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.visit(visitor, Hint::None)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        match self.kind {
            kind::NULL => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        match self.kind {
            kind::STRING => visitor.visit_enum(CowStrDeserializer::new(self.whole_text()?)),
            kind::DOCUMENT => visitor.visit_enum(self.fields()?),
            _ => Err(Fail),
        }
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        match self.kind {
            kind::OBJECT_ID => visitor.visit_borrowed_bytes(self.bytes),
            _ => self.visit(visitor, Hint::None),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fail> {
        match name {
            names::UUID => return self.visit(visitor, Hint::Uuid),
            names::RAW_BSON => return self.visit(visitor, Hint::Raw),
            names::RAW_DOCUMENT if self.kind == kind::DOCUMENT => {
                return self.visit(visitor, Hint::Raw);
            }
            names::RAW_ARRAY if self.kind == kind::ARRAY => return self.visit(visitor, Hint::Raw),
            names::RAW_DOCUMENT | names::RAW_ARRAY => return Err(Fail),
            names::HUMAN_READABLE => self.form.human_readable = true,
            names::UTF8_LOSSY => {
                self.form.lossy = true;
                self.form.visited = true;
            }
            _ => {}
        }
        visitor.visit_newtype_struct(self)
    }

    /// Nobody looks at the value, so that it is only checked.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.check()?;
        visitor.visit_unit()
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.form.human_readable
    }

    forward_to_deserialize_any! {
        char byte_buf unit unit_struct identifier tuple tuple_struct
        i8 i16 u8 u16 f32
    }
}

impl<'de> VariantAccess<'de> for Value<'de> {
    type Error = Fail;

    fn unit_variant(self) -> Result<(), Fail> {
        Err(Fail)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fail> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fail> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        self.deserialize_map(visitor)
    }
}
