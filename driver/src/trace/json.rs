//! Documents as relaxed extended JSON, cut at a length (specification: "Logging").
//!
//! Writing stops where the limit is, so the cost is that of the text and not of the document, and
//! it does not recurse, so that no reply can exhaust the stack. The length is counted in bytes; a
//! character is never split. What is malformed ends the text like the limit does.

use std::fmt::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{DateTime, RawBsonRef, RawDocument, raw::RawIter};
use mongo_client_core::op::DocumentSequence;

/// What stands at the end of a text that was cut.
const ELLIPSIS: &str = "...";

/// A document as text.
pub(super) fn document(document: &RawDocument, len_max: usize) -> String {
    command(document, &[], len_max)
}

/// A command as text; its sequences stand in it as arrays.
pub(super) fn command(
    body: &RawDocument,
    sequences: &[DocumentSequence],
    len_max: usize,
) -> String {
    let mut writer = Writer::new(len_max);
    let written = writer.command(body, sequences);
    writer.finish(written)
}

/// Any other text.
pub(super) fn text(text: impl fmt::Display, len_max: usize) -> String {
    let mut writer = Writer::new(len_max);
    let written = write!(writer, "{text}").map_err(Stop::from);
    writer.finish(written)
}

/// The text is long enough, or the document is malformed.
struct Stop;

impl From<fmt::Error> for Stop {
    fn from(_: fmt::Error) -> Self {
        Self
    }
}

impl From<bson::error::Error> for Stop {
    fn from(_: bson::error::Error) -> Self {
        Self
    }
}

type Written = Result<(), Stop>;

struct Writer {
    out: String,
    len_max: usize,
}

/// A document or array that is being written.
struct Level<'a> {
    elements: RawIter<'a>,
    keys: bool,
    first: bool,
    end: &'static str,
}

impl<'a> Level<'a> {
    fn document(document: &'a RawDocument) -> Self {
        Self {
            elements: document.iter_elements(),
            keys: true,
            first: true,
            end: "}",
        }
    }
}

impl Write for Writer {
    /// Fails where the limit is reached; what had room is written.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.len_max.saturating_sub(self.out.len());
        if text.len() <= room {
            self.out.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at));
        self.out.push_str(&text[..end.unwrap_or(0)]);
        Err(fmt::Error)
    }
}

impl Writer {
    fn new(len_max: usize) -> Self {
        Self {
            out: String::new(),
            len_max,
        }
    }

    fn finish(mut self, written: Written) -> String {
        if written.is_err() {
            self.out.push_str(ELLIPSIS);
        }
        self.out
    }

    fn command(&mut self, body: &RawDocument, sequences: &[DocumentSequence]) -> Written {
        self.write_str("{")?;
        let mut root = Level::document(body);
        root.end = "";
        self.levels(root)?;
        for sequence in sequences {
            self.write_str(if self.out.len() > 1 { "," } else { "" })?;
            self.string(sequence.identifier)?;
            self.write_str(":[")?;
            let mut comma = "";
            for piece in sequence.documents.iter() {
                let mut rest = &piece[..];
                while let Some(len) = rest.first_chunk::<4>() {
                    let len = usize::try_from(i32::from_le_bytes(*len)).map_err(|_| Stop)?;
                    let (document, after) = rest.split_at_checked(len).ok_or(Stop)?;
                    self.write_str(comma)?;
                    self.write_str("{")?;
                    self.levels(Level::document(RawDocument::from_bytes(document)?))?;
                    comma = ",";
                    rest = after;
                }
            }
            self.write_str("]")?;
        }
        Ok(self.write_str("}")?)
    }

    /// Writes the elements of a level, and of all levels in it.
    fn levels(&mut self, root: Level<'_>) -> Written {
        let mut levels = vec![root];
        while let Some(level) = levels.last_mut() {
            let Some(element) = level.elements.next() else {
                self.write_str(level.end)?;
                levels.pop();
                continue;
            };
            let element = element?;
            if !std::mem::replace(&mut level.first, false) {
                self.write_str(",")?;
            }
            if level.keys {
                self.string(element.key().as_str())?;
                self.write_str(":")?;
            }
            levels.extend(self.value(element.value()?)?);
        }
        Ok(())
    }

    /// Writes a value; of a document or array its beginning, and gives its elements back.
    fn value<'a>(&mut self, value: RawBsonRef<'a>) -> Result<Option<Level<'a>>, Stop> {
        match value {
            RawBsonRef::Document(inner) => {
                self.write_str("{")?;
                return Ok(Some(Level::document(inner)));
            }
            RawBsonRef::Array(inner) => {
                self.write_str("[")?;
                return Ok(Some(Level {
                    elements: inner.iter_elements(),
                    keys: false,
                    first: true,
                    end: "]",
                }));
            }
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                self.wrapped("$code", code.code)?;
                // The scope goes on inside of the wrapper.
                self.out.pop();
                self.write_str(",\"$scope\":{")?;
                return Ok(Some(Level {
                    end: "}}",
                    ..Level::document(code.scope)
                }));
            }
            RawBsonRef::Null => self.write_str("null")?,
            RawBsonRef::Boolean(value) => write!(self, "{value}")?,
            RawBsonRef::Int32(value) => write!(self, "{value}")?,
            RawBsonRef::Int64(value) => write!(self, "{value}")?,
            RawBsonRef::Double(value) if value.is_finite() => write!(self, "{value:?}")?,
            RawBsonRef::Double(value) => self.wrapped("$numberDouble", not_finite(value))?,
            RawBsonRef::String(value) => self.string(value)?,
            RawBsonRef::DateTime(value) => self.date(value)?,
            RawBsonRef::ObjectId(id) => self.wrapped("$oid", &id.to_hex())?,
            RawBsonRef::Decimal128(value) => self.wrapped("$numberDecimal", &value.to_string())?,
            RawBsonRef::Symbol(value) => self.wrapped("$symbol", value)?,
            RawBsonRef::JavaScriptCode(value) => self.wrapped("$code", value)?,
            RawBsonRef::Binary(binary) => self.binary(binary.subtype.into(), binary.bytes)?,
            RawBsonRef::Timestamp(at) => {
                let (time, increment) = (at.time, at.increment);
                write!(
                    self,
                    "{{\"$timestamp\":{{\"t\":{time},\"i\":{increment}}}}}"
                )?;
            }
            RawBsonRef::RegularExpression(regex) => {
                self.write_str("{\"$regularExpression\":{\"pattern\":")?;
                self.string(regex.pattern.as_str())?;
                self.write_str(",\"options\":")?;
                self.string(regex.options.as_str())?;
                self.write_str("}}")?;
            }
            RawBsonRef::Undefined => self.write_str("{\"$undefined\":true}")?,
            RawBsonRef::MinKey => self.write_str("{\"$minKey\":1}")?,
            RawBsonRef::MaxKey => self.write_str("{\"$maxKey\":1}")?,
            // Its parts are not public.
            RawBsonRef::DbPointer(_) => self.write_str("{\"$dbPointer\":{}}")?,
        }
        Ok(None)
    }

    fn wrapped(&mut self, key: &str, value: &str) -> Written {
        write!(self, "{{\"{key}\":")?;
        self.string(value)?;
        Ok(self.write_str("}")?)
    }

    fn date(&mut self, date: DateTime) -> Written {
        // Extended JSON, relaxed: years 1970 to 9999 as text.
        let millis = date.timestamp_millis();
        match date.try_to_rfc3339_string() {
            Ok(text) if millis >= 0 => self.wrapped("$date", &text),
            _ => Ok(write!(
                self,
                "{{\"$date\":{{\"$numberLong\":\"{millis}\"}}}}"
            )?),
        }
    }

    fn binary(&mut self, subtype: u8, bytes: &[u8]) -> Written {
        self.write_str("{\"$binary\":{\"base64\":\"")?;
        // Not more is encoded than there is room for.
        let room = self.len_max.saturating_sub(self.out.len());
        let shown = &bytes[..bytes.len().min(room)];
        self.write_str(&BASE64.encode(shown))?;
        Ok(write!(self, "\",\"subType\":\"{subtype:02x}\"}}}}")?)
    }

    fn string(&mut self, text: &str) -> Written {
        self.write_str("\"")?;
        // What has no room is not searched for characters to escape.
        let room = self.len_max.saturating_sub(self.out.len());
        let end = (room.saturating_add(1)..text.len()).find(|at| text.is_char_boundary(*at));
        let mut rest = end.map_or(text, |end| &text[..end]);
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            let (plain, special) = rest.split_at(at);
            self.write_str(plain)?;
            let mut chars = special.chars();
            match chars.next() {
                Some('\n') => self.write_str("\\n")?,
                Some('\r') => self.write_str("\\r")?,
                Some('\t') => self.write_str("\\t")?,
                Some(c @ ('"' | '\\')) => write!(self, "\\{c}")?,
                Some(c) => write!(self, "\\u{:04x}", u32::from(c))?,
                None => {}
            }
            rest = chars.as_str();
        }
        self.write_str(rest)?;
        Ok(self.write_str("\"")?)
    }
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

#[cfg(test)]
mod tests {
    use bson::{Regex, Timestamp, doc, oid::ObjectId, rawdoc};

    use super::*;

    fn raw(document: &bson::Document) -> bson::RawDocumentBuf {
        bson::RawDocumentBuf::try_from(document).unwrap()
    }

    #[test]
    fn values_are_written_as_relaxed_extended_json() {
        let document = doc! {
            "null": null, "yes": true, "int": 7, "long": 1_i64 << 40, "double": 1.5, "whole": 2.0,
            "nan": f64::NAN, "endless": f64::NEG_INFINITY, "text": "a\"\\\n\u{1}ü",
            "list": [1, { "a": [] }], "inner": {}, "id": ObjectId::from_bytes([1; 12]),
            "date": DateTime::from_millis(1_500), "old": DateTime::from_millis(-1),
            "at": Timestamp { time: 1, increment: 2 },
            "bytes": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] },
            "regex": Regex { pattern: bson::raw::CString::try_from("^a").unwrap(),
                options: bson::raw::CString::try_from("i").unwrap() },
            "code": bson::Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
                code: "f".to_owned(), scope: doc! { "x": 1 } }),
            "min": bson::Bson::MinKey,
        };
        let expected = [
            r#"{"null":null,"yes":true,"int":7,"long":1099511627776,"double":1.5,"whole":2.0,"#,
            r#""nan":{"$numberDouble":"NaN"},"endless":{"$numberDouble":"-Infinity"},"#,
            r#""text":"a\"\\\n\u0001ü","list":[1,{"a":[]}],"inner":{},"#,
            r#""id":{"$oid":"010101010101010101010101"},"date":{"$date":"1970-01-01T00:00:01.5Z"},"#,
            r#""old":{"$date":{"$numberLong":"-1"}},"at":{"$timestamp":{"t":1,"i":2}},"#,
            r#""bytes":{"$binary":{"base64":"AQI=","subType":"00"}},"#,
            r#""regex":{"$regularExpression":{"pattern":"^a","options":"i"}},"#,
            r#""code":{"$code":"f","$scope":{"x":1}},"min":{"$minKey":1}}"#,
        ]
        .concat();
        assert_eq!(super::document(&raw(&document), 10_000), expected);
    }

    #[test]
    fn a_text_is_cut_at_every_length_without_splitting_a_character() {
        let document = rawdoc! { "ü": "aé\n漢🦀", "l": [{ "b": "ß" }] };
        let whole = super::document(&document, usize::MAX);
        for len_max in 0..=whole.len() + 1 {
            let cut = super::document(&document, len_max);
            if len_max >= whole.len() {
                assert_eq!(cut, whole);
                continue;
            }
            let kept = cut.strip_suffix("...").expect("a mark at the end");
            assert!(whole.starts_with(kept), "{kept}");
            assert!(
                kept.len() <= len_max && kept.len() + 4 > len_max,
                "{len_max}: {kept}"
            );
        }
    }

    #[test]
    fn sequences_stand_in_a_command_as_arrays() {
        let mut documents = rawdoc! { "a": 1 }.into_bytes();
        documents.extend(rawdoc! {}.into_bytes());
        let sequence = DocumentSequence {
            identifier: "documents",
            documents: documents.into(),
        };
        let body = rawdoc! { "insert": "c" };
        let text = command(&body, &[sequence], 1_000);
        assert_eq!(text, r#"{"insert":"c","documents":[{"a":1},{}]}"#);
    }

    #[test]
    fn long_values_cost_no_more_than_is_shown() {
        let bytes = vec![0_u8; 1 << 20];
        let binary = bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes,
        };
        let text = super::document(&raw(&doc! { "b": binary }), 100);
        assert_eq!(text.len(), 103);
        assert!(text.capacity() < 1_000);
    }

    #[test]
    fn deeply_nested_documents_are_no_danger() {
        let mut document = rawdoc! {};
        for _ in 0..4_000 {
            document = rawdoc! { "": document };
        }
        let text = super::document(&document, usize::MAX);
        assert!(text.ends_with(&"}".repeat(4_001)));
    }
}
