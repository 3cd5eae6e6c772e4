//! A command as its bytes: checked as a whole when it comes, its fields decoded when they are asked
//! for. Most of what a client sends along (its session, its times) is never asked for as a document.

use std::{cell::OnceCell, fmt, ops::Range};

use bson::{Bson, Document, spec::ElementType};

use super::document;

/// A command that a server got. A field is decoded when it is asked for first.
#[derive(Clone, Default)]
pub struct Command {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

#[derive(Clone)]
struct Field {
    key: Range<usize>,
    /// The type of the value, or [`SEQUENCE`].
    kind: u8,
    value: Range<usize>,
    decoded: OnceCell<Box<Bson>>,
}

/// Not a type of a value: documents of a sequence, one after the other.
const SEQUENCE: u8 = 0;

/// Things with named values: commands, and the documents in them.
pub(crate) trait Fields {
    fn get(&self, name: &str) -> Option<&Bson>;
}

impl Fields for Document {
    fn get(&self, name: &str) -> Option<&Bson> {
        Self::get(self, name)
    }
}

impl Fields for Command {
    fn get(&self, name: &str) -> Option<&Bson> {
        Self::get(self, name)
    }
}

impl dyn Fields + '_ {
    pub(crate) fn get_document(&self, name: &str) -> Option<&Document> {
        self.get(name)?.as_document()
    }

    pub(crate) fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }
}

impl Command {
    /// A command without fields, with room for the bytes of its sections.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            fields: Vec::with_capacity(12),
        }
    }

    /// Takes the fields of a document. `None` for bytes that are none.
    pub(super) fn take_document(&mut self, bytes: &[u8]) -> Option<()> {
        let (elements, _) = document::split(bytes, 0)?;
        let base = self.bytes.len();
        self.bytes.extend_from_slice(elements);
        let whole = elements.len();
        let mut rest = elements;
        while let Some((kind, key, value, after)) = document::checked_element(rest, 0)? {
            let start = base + whole - rest.len() + 1;
            let end = base + whole - after.len();
            self.push(Field {
                key: start..start + key.len(),
                kind,
                value: end - value.len()..end,
                decoded: OnceCell::new(),
            });
            rest = after;
        }
        Some(())
    }

    /// Takes a sequence of documents as a field. `None` for bytes that are none.
    pub(super) fn take_sequence(&mut self, name: &str, documents: &[u8]) -> Option<()> {
        let mut rest = documents;
        while !rest.is_empty() {
            rest = document::check(rest, 0)?;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        let end = self.bytes.len();
        self.bytes.extend_from_slice(documents);
        self.fields.push(Field {
            key: start..end,
            kind: SEQUENCE,
            value: end..self.bytes.len(),
            decoded: OnceCell::new(),
        });
        Some(())
    }

    /// A field that is there already gets the newer value, as in a document.
    fn push(&mut self, field: Field) {
        let key = &self.bytes[field.key.clone()];
        let same = |other: &&mut Field| {
            other.key.len() == key.len() && self.bytes[other.key.clone()] == *key
        };
        match self.fields.iter_mut().find(same) {
            Some(known) => {
                *known = Field {
                    key: known.key.clone(),
                    ..field
                }
            }
            None => self.fields.push(field),
        }
    }

    fn key_bytes(&self, field: &Field) -> &[u8] {
        &self.bytes[field.key.clone()]
    }

    fn key(&self, field: &Field) -> &str {
        let key = std::str::from_utf8(&self.bytes[field.key.clone()]);
        key.expect("keys are checked when a command is taken")
    }

    fn field(&self, name: &str) -> Option<&Field> {
        let name = name.as_bytes();
        let of_name =
            |field: &&Field| field.key.len() == name.len() && self.key_bytes(field) == name;
        self.fields.iter().find(of_name)
    }

    /// The first field behind the name that is none of these.
    pub(crate) fn first_unknown(&self, known: &[&[&str]]) -> Option<&str> {
        let is_known = |key: &[u8]| {
            let mut all = known.iter().flat_map(|names| names.iter());
            all.any(|name| name.len() == key.len() && *name.as_bytes() == *key)
        };
        let mut fields = self.fields.iter().skip(1);
        let found = fields.find(|field| !is_known(self.key_bytes(field)))?;
        Some(self.key(found))
    }

    fn decoded<'a>(&'a self, field: &'a Field) -> &'a Bson {
        let value = &self.bytes[field.value.clone()];
        let decode = || {
            let decoded = if field.kind == SEQUENCE {
                document::sequence(value).map(Bson::Array)
            } else {
                document::value(field.kind, value, 0).map(|(value, _)| value)
            };
            Box::new(decoded.expect("values are checked when a command is taken"))
        };
        field.decoded.get_or_init(decode)
    }

    /// What the command is called: the name of its first field.
    #[must_use]
    pub fn name(&self) -> &str {
        self.fields.first().map_or("", |field| self.key(field))
    }

    /// The names of its fields.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| self.key(field))
    }

    /// Whether it has a field.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bson> {
        self.field(name).map(|field| self.decoded(field))
    }

    /// A field that is an array.
    #[must_use]
    pub fn get_array(&self, name: &str) -> Option<&Vec<Bson>> {
        self.get(name)?.as_array()
    }

    /// A field that is a document.
    #[must_use]
    pub fn get_document(&self, name: &str) -> Option<&Document> {
        self.get(name)?.as_document()
    }

    /// A field that is a string.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        let field = self.field(name)?;
        if field.decoded.get().is_none() && field.kind == ElementType::String as u8 {
            return document::text(&self.bytes[field.value.clone()]);
        }
        self.decoded(field).as_str()
    }

    /// A field of a field that is a document; the others of that document are not decoded.
    pub(crate) fn nested(&self, name: &str, inner: &str) -> Option<Bson> {
        let field = self.field(name)?;
        if let Some(decoded) = field.decoded.get() {
            return decoded.as_document()?.get(inner).cloned();
        }
        if field.kind != ElementType::EmbeddedDocument as u8 {
            return None;
        }
        let (mut rest, _) = document::split(&self.bytes[field.value.clone()], 1)?;
        let mut found = None;
        while let Some((kind, key, value, after)) = document::checked_element(rest, 1)? {
            if *key == *inner.as_bytes() {
                found = Some((kind, value));
            }
            rest = after;
        }
        let (kind, value) = found?;
        document::value(kind, value, 1).map(|(value, _)| value)
    }

    /// Gives a field that is there another value.
    pub(crate) fn replace(&mut self, name: &str, value: Bson) {
        let bytes = &self.bytes;
        let of_name = |field: &&mut Field| bytes[field.key.clone()] == *name.as_bytes();
        if let Some(field) = self.fields.iter_mut().find(of_name) {
            field.decoded = OnceCell::from(Box::new(value));
        }
    }

    /// The command as a document.
    #[must_use]
    pub fn to_document(&self) -> Document {
        let fields = self.fields.iter();
        fields
            .map(|field| (self.key(field).to_owned(), self.decoded(field).clone()))
            .collect()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_document().fmt(f)
    }
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.to_document() == other.to_document()
    }
}

#[cfg(test)]
mod tests {
    use bson::{Timestamp, doc};

    use super::*;

    fn command(document: &Document) -> Command {
        let mut command = Command::default();
        let taken = command.take_document(&document.to_vec().unwrap());
        taken.unwrap();
        command
    }

    #[test]
    fn fields_are_those_of_the_document() {
        let time = Timestamp {
            time: 1,
            increment: 2,
        };
        let document = doc! {
            "find": "c", "filter": { "_id": 1 }, "list": [1, 2], "flag": true,
            "$clusterTime": { "clusterTime": time, "signature": { "keyId": 1_i64 } },
        };
        let mut command = command(&document);
        assert_eq!(command.name(), "find");
        assert!(command.keys().eq(document.keys()));
        assert_eq!(command.get_str("find"), Some("c"));
        assert_eq!(command.get_str("flag"), None);
        assert_eq!(command.get("absent"), None);
        assert_eq!(
            command.nested("$clusterTime", "clusterTime"),
            Some(time.into())
        );
        assert_eq!(command.nested("filter", "clusterTime"), None);
        assert_eq!(command.nested("find", "x"), None);
        assert_eq!(command.get_array("list").map(Vec::len), Some(2));
        assert_eq!(command.to_document(), document);
        command.replace("filter", doc! { "_id": 2 }.into());
        assert_eq!(command.nested("filter", "_id"), Some(2.into()));
        assert_eq!(command.get_document("filter"), Some(&doc! { "_id": 2 }));
    }

    #[test]
    fn of_two_fields_of_a_name_the_last_counts_as_in_a_document() {
        let mut bytes = vec![0; 4];
        for (name, value) in [("a", 1), ("b", 2), ("a", 3)] {
            document::append(name, &Bson::Int32(value), &mut bytes).unwrap();
        }
        bytes.push(0);
        let length = i32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let mut twice = Command::default();
        twice.take_document(&bytes).unwrap();
        assert_eq!(twice.to_document(), doc! { "a": 3, "b": 2 });
        let mut outer = vec![0; 4];
        outer.extend([ElementType::EmbeddedDocument as u8, b'o', 0]);
        outer.extend(&bytes);
        outer.push(0);
        let length = i32::try_from(outer.len()).unwrap();
        outer[..4].copy_from_slice(&length.to_le_bytes());
        let mut nested = Command::default();
        nested.take_document(&outer).unwrap();
        assert_eq!(nested.nested("o", "a"), Some(3.into()));
    }

    #[test]
    fn what_is_no_document_at_any_depth_is_refused() {
        let bytes = doc! { "a": { "b": ["text", 1.5] }, "c": 1 }
            .to_vec()
            .unwrap();
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut wrong = bytes.clone();
                wrong[at] = byte;
                let taken = Command::default().take_document(&wrong);
                let decoded = document::decode(&wrong);
                assert_eq!(taken.is_some(), decoded.is_some(), "{byte} at {at}");
            }
        }
    }
}
