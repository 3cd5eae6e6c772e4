//! Appends the types that serde has no word for: they come as structs with special names, whose
//! fields hold text, bytes or a struct of these.
//!
//! Each type is a sequence of steps; whatever comes out of turn ends in [`Fail`].

use bson::oid::ObjectId;
use serde::{
    Serialize, Serializer,
    ser::{Impossible, SerializeStruct},
};

use super::{
    Fail,
    key::{refuse, refuse_parts},
    kind, names,
};

/// What must come next.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Binary,
    BinaryData,
    /// The subtype of the data that starts here belongs in front of it; it comes as text or byte.
    BinarySubtype(usize, bool),
    Date,
    DateMillis,
    Decimal,
    Done,
    MaxKey,
    MinKey,
    ObjectId,
    Timestamp,
    TimestampIncrement(u32),
    TimestampTime,
    Undefined,
}

/// The type and the first step of a struct with a special name; `None` for other names.
///
/// # Errors
///
/// Types that are rare.
pub(super) fn start(name: &str) -> Result<Option<(u8, Step)>, Fail> {
    Ok(Some(match name {
        "$oid" => (kind::OBJECT_ID, Step::ObjectId),
        "$date" => (kind::DATE_TIME, Step::Date),
        "$binary" => (kind::BINARY, Step::Binary),
        "$timestamp" => (kind::TIMESTAMP, Step::Timestamp),
        "$numberDecimal" => (kind::DECIMAL128, Step::Decimal),
        "$minKey" => (kind::MIN_KEY, Step::MinKey),
        "$maxKey" => (kind::MAX_KEY, Step::MaxKey),
        "$undefined" => (kind::UNDEFINED, Step::Undefined),
        "$code" | "$codeWithScope" | "$symbol" | "$regularExpression" | "$dbPointer" => {
            return Err(Fail);
        }
        _ => return Ok(None),
    }))
}

/// Appends one value of a special type.
pub(super) struct Special<'a> {
    out: &'a mut Vec<u8>,
    step: Step,
}

impl<'a> Special<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, step: Step) -> Self {
        Self { out, step }
    }

    pub(super) fn field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Fail> {
        match (self.step, key) {
            (Step::ObjectId, "$oid") => {}
            (Step::Date, "$date") => self.step = Step::DateMillis,
            (Step::DateMillis, "$numberLong") => {}
            (Step::Binary, "$binary") => self.step = Step::BinaryData,
            (Step::BinaryData, "base64" | "bytes") => {}
            (Step::BinarySubtype(..), "subType") => {}
            (Step::Timestamp, "$timestamp") => self.step = Step::TimestampTime,
            (Step::TimestampTime, "t") | (Step::TimestampIncrement(_), "i") => {}
            (Step::Decimal, "$numberDecimalBytes") => {}
            (Step::MinKey, "$minKey")
            | (Step::MaxKey, "$maxKey")
            | (Step::Undefined, "$undefined") => {
                self.step = Step::Done;
                return Ok(());
            }
            _ => return Err(Fail),
        }
        value.serialize(self)
    }

    pub(super) fn finish(self) -> Result<(), Fail> {
        match self.step {
            Step::Done => Ok(()),
            _ => Err(Fail),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Fail> {
        self.step = match self.step {
            Step::ObjectId => {
                let id = ObjectId::parse_str(text).map_err(|_| Fail)?;
                self.out.extend_from_slice(&id.bytes());
                Step::Done
            }
            Step::DateMillis => {
                let millis: i64 = text.parse().map_err(|_| Fail)?;
                self.out.extend_from_slice(&millis.to_le_bytes());
                Step::Done
            }
            Step::BinaryData => {
                use base64::Engine as _;
                let at = self.begin_binary();
                base64::engine::general_purpose::STANDARD
                    .decode_vec(text, self.out)
                    .map_err(|_| Fail)?;
                Step::BinarySubtype(at, true)
            }
            Step::BinarySubtype(at, true) if text.len() == 2 && !text.starts_with('+') => {
                self.end_binary(at, u8::from_str_radix(text, 16).map_err(|_| Fail)?)?
            }
            _ => return Err(Fail),
        };
        Ok(())
    }

    /// Leaves a place for length and subtype.
    fn begin_binary(&mut self) -> usize {
        self.out.extend_from_slice(&[0; 5]);
        self.out.len()
    }

    fn end_binary(&mut self, at: usize, subtype: u8) -> Result<Step, Fail> {
        // The old subtype has a second length inside.
        if subtype == names::SUBTYPE_OLD {
            return Err(Fail);
        }
        let len = self.out.len().checked_sub(at).ok_or(Fail)?;
        let len = i32::try_from(len).map_err(|_| Fail)?;
        let start = at.checked_sub(5).ok_or(Fail)?;
        let head: &mut [u8] = self.out.get_mut(start..at).ok_or(Fail)?;
        if let [len_at @ .., subtype_at] = head {
            len_at.copy_from_slice(&len.to_le_bytes());
            *subtype_at = subtype;
        }
        Ok(Step::Done)
    }
}

impl Serializer for &mut Special<'_> {
    type Ok = ();
    type Error = Fail;
    type SerializeSeq = Impossible<(), Fail>;
    type SerializeTuple = Impossible<(), Fail>;
    type SerializeTupleStruct = Impossible<(), Fail>;
    type SerializeTupleVariant = Impossible<(), Fail>;
    type SerializeMap = Impossible<(), Fail>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Fail>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_str(self, v: &str) -> Result<(), Fail> {
        self.text(v)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Fail> {
        self.step = match self.step {
            Step::Decimal if v.len() == 16 => {
                self.out.extend_from_slice(v);
                Step::Done
            }
            Step::BinaryData => {
                let at = self.begin_binary();
                self.out.extend_from_slice(v);
                Step::BinarySubtype(at, false)
            }
            _ => return Err(Fail),
        };
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Result<(), Fail> {
        match self.step {
            Step::BinarySubtype(at, false) => self.step = self.end_binary(at, v)?,
            _ => return Err(Fail),
        }
        Ok(())
    }

    fn serialize_i64(self, v: i64) -> Result<(), Fail> {
        let v = u32::try_from(v).map_err(|_| Fail)?;
        self.step = match self.step {
            Step::TimestampTime => Step::TimestampIncrement(v),
            Step::TimestampIncrement(time) => {
                self.out.extend_from_slice(&v.to_le_bytes());
                self.out.extend_from_slice(&time.to_le_bytes());
                Step::Done
            }
            _ => return Err(Fail),
        };
        Ok(())
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, Fail> {
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _value: &T) -> Result<(), Fail> {
        Err(Fail)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _value: &T,
    ) -> Result<(), Fail> {
        Err(Fail)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _variant_index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Fail> {
        Err(Fail)
    }

    refuse! {
        serialize_bool(bool); serialize_char(char);
        serialize_i8(i8); serialize_i16(i16); serialize_i32(i32);
        serialize_u16(u16); serialize_u32(u32); serialize_u64(u64);
        serialize_f32(f32); serialize_f64(f64);
        serialize_none(); serialize_unit(); serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    refuse_parts! {
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant;
        serialize_map(Option<usize>) -> SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant;
    }
}

impl SerializeStruct for &mut Special<'_> {
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
        Ok(())
    }
}
