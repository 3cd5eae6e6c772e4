//! A serde serializer that appends documents to bytes.
//!
//! Lengths and types are written when they are known, over places that were left for them. It
//! gives the same bytes as the `bson` crate's; the crate's own types tell what they are by the
//! names of structs ([`special`]). It does not build errors: [`Fail`] only says that there is one
//! (or a rare type), and the caller lets the `bson` crate write the same value.

mod key;
mod special;

use serde::{
    Serialize, Serializer,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use self::{key::Key, special::Special};
use super::{
    Fail,
    document::{append_binary, append_index, append_key, append_string, begin, end},
    names,
    walk::kind,
};

/// Appends a value, which must be a document.
///
/// On an error, what was appended is of no use.
pub(super) fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Fail> {
    value.serialize(Value {
        out,
        kind_at: None,
        human_readable: false,
        bytes_are: Bytes::Binary(names::SUBTYPE_GENERIC),
    })
}

/// Appends an element: type, name and value.
pub(super) fn append_element<T: Serialize + ?Sized>(
    key: &str,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Fail> {
    let kind_at = out.len();
    out.push(0);
    append_key(key, out)?;
    value.serialize(Value::inner(out, kind_at, false))
}

/// What `serialize_bytes` means.
#[derive(Clone, Copy)]
enum Bytes {
    Array,
    Binary(u8),
    Document,
}

/// Appends one value.
struct Value<'a> {
    out: &'a mut Vec<u8>,
    /// Where the type belongs; a whole document has none.
    kind_at: Option<usize>,
    human_readable: bool,
    bytes_are: Bytes,
}

impl<'a> Value<'a> {
    /// The value of an element whose type belongs at `kind_at`.
    #[inline]
    fn inner(out: &'a mut Vec<u8>, kind_at: usize, human_readable: bool) -> Self {
        Self {
            out,
            kind_at: Some(kind_at),
            human_readable,
            bytes_are: Bytes::Binary(names::SUBTYPE_GENERIC),
        }
    }

    #[inline]
    fn put_kind(&mut self, kind: u8) -> Result<(), Fail> {
        let Some(at) = self.kind_at else {
            // Nothing but a document may stand for itself.
            return if kind == kind::DOCUMENT {
                Ok(())
            } else {
                Err(Fail)
            };
        };
        *self.out.get_mut(at).ok_or(Fail)? = kind;
        Ok(())
    }

    #[inline]
    fn put(mut self, kind: u8, bytes: &[u8]) -> Result<(), Fail> {
        self.put_kind(kind)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn begin(mut self, kind: u8) -> Result<Inner<'a>, Fail> {
        self.put_kind(kind)?;
        let start = begin(self.out);
        Ok(Inner {
            out: self.out,
            start,
            outer: None,
            kind_at: 0,
            count: 0,
            human_readable: self.human_readable,
        })
    }

    /// Begins the document of a variant: its name is the name of the only element.
    fn begin_variant(mut self, variant: &str, kind: u8) -> Result<Inner<'a>, Fail> {
        self.put_kind(kind::DOCUMENT)?;
        let outer = begin(self.out);
        self.out.push(kind);
        append_key(variant, self.out)?;
        let start = begin(self.out);
        Ok(Inner {
            out: self.out,
            start,
            outer: Some(outer),
            kind_at: 0,
            count: 0,
            human_readable: self.human_readable,
        })
    }
}

impl<'a> Serializer for Value<'a> {
    type Ok = ();
    type Error = Fail;
    type SerializeSeq = Inner<'a>;
    type SerializeTuple = Inner<'a>;
    type SerializeTupleStruct = Inner<'a>;
    type SerializeTupleVariant = Inner<'a>;
    type SerializeMap = Inner<'a>;
    type SerializeStruct = Struct<'a>;
    type SerializeStructVariant = Inner<'a>;

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.human_readable
    }

    #[inline]
    fn serialize_bool(self, v: bool) -> Result<(), Fail> {
        self.put(kind::BOOLEAN, &[u8::from(v)])
    }

    #[inline]
    fn serialize_i8(self, v: i8) -> Result<(), Fail> {
        self.serialize_i32(v.into())
    }

    #[inline]
    fn serialize_i16(self, v: i16) -> Result<(), Fail> {
        self.serialize_i32(v.into())
    }

    #[inline]
    fn serialize_i32(self, v: i32) -> Result<(), Fail> {
        self.put(kind::INT32, &v.to_le_bytes())
    }

    #[inline]
    fn serialize_i64(self, v: i64) -> Result<(), Fail> {
        self.put(kind::INT64, &v.to_le_bytes())
    }

    #[inline]
    fn serialize_u8(self, v: u8) -> Result<(), Fail> {
        self.serialize_i32(v.into())
    }

    #[inline]
    fn serialize_u16(self, v: u16) -> Result<(), Fail> {
        self.serialize_i32(v.into())
    }

    #[inline]
    fn serialize_u32(self, v: u32) -> Result<(), Fail> {
        self.serialize_i64(v.into())
    }

    #[inline]
    fn serialize_u64(self, v: u64) -> Result<(), Fail> {
        self.serialize_i64(i64::try_from(v).map_err(|_| Fail)?)
    }

    #[inline]
    fn serialize_f32(self, v: f32) -> Result<(), Fail> {
        self.serialize_f64(v.into())
    }

    #[inline]
    fn serialize_f64(self, v: f64) -> Result<(), Fail> {
        self.put(kind::DOUBLE, &v.to_le_bytes())
    }

    fn serialize_char(self, v: char) -> Result<(), Fail> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(mut self, v: &str) -> Result<(), Fail> {
        self.put_kind(kind::STRING)?;
        append_string(v, self.out)
    }

    fn serialize_bytes(mut self, v: &[u8]) -> Result<(), Fail> {
        match self.bytes_are {
            Bytes::Array => self.put(kind::ARRAY, v),
            Bytes::Document => self.put(kind::DOCUMENT, v),
            Bytes::Binary(subtype) => {
                self.put_kind(kind::BINARY)?;
                append_binary(subtype, v, self.out)
            }
        }
    }

    #[inline]
    fn serialize_none(mut self) -> Result<(), Fail> {
        self.put_kind(kind::NULL)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fail> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fail> {
        self.serialize_none()
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fail> {
        self.serialize_none()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _variant_index: u32,
        variant: &'static str,
    ) -> Result<(), Fail> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fail> {
        match name {
            names::UUID => self.bytes_are = Bytes::Binary(names::SUBTYPE_UUID),
            names::RAW_DOCUMENT => self.bytes_are = Bytes::Document,
            names::RAW_ARRAY => self.bytes_are = Bytes::Array,
            names::HUMAN_READABLE => self.human_readable = true,
            _ => {}
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _variant_index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fail> {
        let mut inner = self.begin(kind::DOCUMENT)?;
        inner.field(variant, value)?;
        inner.finish()
    }

    #[inline]
    fn serialize_seq(self, _len: Option<usize>) -> Result<Inner<'a>, Fail> {
        self.begin(kind::ARRAY)
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Inner<'a>, Fail> {
        self.begin(kind::ARRAY)
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Inner<'a>, Fail> {
        self.begin(kind::ARRAY)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _variant_index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Inner<'a>, Fail> {
        self.begin_variant(variant, kind::ARRAY)
    }

    #[inline]
    fn serialize_map(self, _len: Option<usize>) -> Result<Inner<'a>, Fail> {
        self.begin(kind::DOCUMENT)
    }

    #[inline]
    fn serialize_struct(mut self, name: &'static str, _len: usize) -> Result<Struct<'a>, Fail> {
        if !name.starts_with('$') {
            return self.begin(kind::DOCUMENT).map(Struct::Document);
        }
        let Some((kind, step)) = special::start(name)? else {
            return self.begin(kind::DOCUMENT).map(Struct::Document);
        };
        self.put_kind(kind)?;
        Ok(Struct::Special(Special::new(self.out, step)))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _variant_index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Inner<'a>, Fail> {
        self.begin_variant(variant, kind::DOCUMENT)
    }
}

/// Appends the elements of a document or an array.
struct Inner<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Where the document around that of a variant began.
    outer: Option<usize>,
    /// Where the type of the element belongs whose name was written last.
    kind_at: usize,
    count: usize,
    human_readable: bool,
}

impl Inner<'_> {
    /// Leaves a place for the type of an element.
    #[inline]
    fn leave_kind(&mut self) {
        self.kind_at = self.out.len();
        self.out.push(0);
    }

    #[inline]
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fail> {
        value.serialize(Value::inner(self.out, self.kind_at, self.human_readable))
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Fail> {
        self.leave_kind();
        append_key(key, self.out)?;
        self.value(value)
    }

    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fail> {
        self.leave_kind();
        append_index(self.count, self.out);
        self.count += 1;
        self.value(value)
    }

    #[inline]
    fn finish(self) -> Result<(), Fail> {
        end(self.start, self.out)?;
        match self.outer {
            Some(outer) => end(outer, self.out),
            None => Ok(()),
        }
    }
}

/// The traits whose elements have no names.
macro_rules! items {
    ($($interface:ident::$method:ident),*) => {$(
        impl $interface for Inner<'_> {
            type Ok = ();
            type Error = Fail;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fail> {
                self.item(value)
            }

            #[inline]
            fn end(self) -> Result<(), Fail> {
                self.finish()
            }
        }
    )*};
}

items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

impl SerializeStructVariant for Inner<'_> {
    type Ok = ();
    type Error = Fail;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Fail> {
        self.field(key, value)
    }

    fn end(self) -> Result<(), Fail> {
        self.finish()
    }
}

impl SerializeMap for Inner<'_> {
    type Ok = ();
    type Error = Fail;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fail> {
        self.leave_kind();
        key.serialize(Key { out: self.out })
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fail> {
        self.value(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fail> {
        self.finish()
    }
}

/// A struct: a document, or one of the types that serde has no word for.
enum Struct<'a> {
    Document(Inner<'a>),
    Special(Special<'a>),
}

impl SerializeStruct for Struct<'_> {
    type Ok = ();
    type Error = Fail;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Fail> {
        match self {
            Self::Document(inner) => inner.field(key, value),
            Self::Special(special) => special.field(key, value),
        }
    }

    #[inline]
    fn end(self) -> Result<(), Fail> {
        match self {
            Self::Document(inner) => inner.finish(),
            Self::Special(special) => special.finish(),
        }
    }
}
