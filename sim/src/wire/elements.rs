//! Elements of documents, written one after the other without a document in between.
//!
//! Replies that are sent all the time (hellos, batches, times) are written here straight into the
//! bytes of their message.

use bson::{Bson, Document, Timestamp, oid::ObjectId, spec::ElementType};

use super::document;

/// Appends elements to a document whose length and end somebody else writes.
pub(crate) struct Elements<'a>(&'a mut Vec<u8>);

impl<'a> Elements<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    fn begin(&mut self, kind: ElementType, key: &str) {
        self.0.push(kind as u8);
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(0);
    }

    /// An array; each element is written with its index.
    pub(crate) fn array(&mut self, key: &str, write: impl FnOnce(&mut Items<'_>)) {
        self.begin(ElementType::Array, key);
        let start = open(self.0);
        write(&mut Items {
            out: self.0,
            next: 0,
        });
        close(self.0, start);
    }

    pub(crate) fn binary(&mut self, key: &str, bytes: &[u8]) {
        self.begin(ElementType::Binary, key);
        self.0.extend_from_slice(&length(bytes.len()).to_le_bytes());
        self.0.push(0);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn boolean(&mut self, key: &str, value: bool) {
        self.begin(ElementType::Boolean, key);
        self.0.push(u8::from(value));
    }

    /// A time in milliseconds since 1970.
    pub(crate) fn date(&mut self, key: &str, millis: i64) {
        self.begin(ElementType::DateTime, key);
        self.0.extend_from_slice(&millis.to_le_bytes());
    }

    pub(crate) fn document(&mut self, key: &str, write: impl FnOnce(&mut Elements<'_>)) {
        self.begin(ElementType::EmbeddedDocument, key);
        let start = open(self.0);
        write(&mut Elements(self.0));
        close(self.0, start);
    }

    pub(crate) fn double(&mut self, key: &str, value: f64) {
        self.begin(ElementType::Double, key);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn id(&mut self, key: &str, value: ObjectId) {
        self.begin(ElementType::ObjectId, key);
        self.0.extend_from_slice(&value.bytes());
    }

    pub(crate) fn int(&mut self, key: &str, value: i32) {
        self.begin(ElementType::Int32, key);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn long(&mut self, key: &str, value: i64) {
        self.begin(ElementType::Int64, key);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.begin(ElementType::String, key);
        text(self.0, value);
    }

    pub(crate) fn timestamp(&mut self, key: &str, value: Timestamp) {
        self.begin(ElementType::Timestamp, key);
        self.0.extend_from_slice(&value.increment.to_le_bytes());
        self.0.extend_from_slice(&value.time.to_le_bytes());
    }

    /// Elements that are encoded already.
    pub(crate) fn encoded(&mut self, elements: &[u8]) {
        self.0.extend_from_slice(elements);
    }

    /// All fields of a document.
    pub(crate) fn all(&mut self, fields: &Document) {
        for (key, value) in fields {
            self.value(key, value);
        }
    }

    fn value(&mut self, key: &str, value: &Bson) {
        let written = document::append(key, value, self.0);
        written.expect("a reply of documents that were decoded encodes");
    }
}

/// Appends the elements of an array.
pub(crate) struct Items<'a> {
    out: &'a mut Vec<u8>,
    next: usize,
}

impl Items<'_> {
    fn begin(&mut self, kind: ElementType) {
        self.out.push(kind as u8);
        document::index(self.next, self.out);
        self.next += 1;
    }

    /// A document; how many bytes it has.
    pub(crate) fn document(&mut self, value: &Document) -> usize {
        self.begin(ElementType::EmbeddedDocument);
        let start = self.out.len();
        let written = document::encode(value, self.out);
        written.expect("a reply of documents that were decoded encodes");
        self.out.len() - start
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.begin(ElementType::String);
        text(self.out, value);
    }

    /// Where the next element will be.
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.out.len(), self.next)
    }

    /// Takes back what was written since a mark.
    pub(crate) fn back(&mut self, mark: (usize, usize)) {
        self.out.truncate(mark.0);
        self.next = mark.1;
    }
}

/// Begins a document or an array; what [`close`] needs.
pub(super) fn open(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len() - 4
}

pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    out.push(0);
    let length = length(out.len() - start);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.extend_from_slice(&length(value.len() + 1).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
    out.push(0);
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("batches keep replies far below 2 GiB")
}

#[cfg(test)]
mod tests {
    use bson::{Binary, DateTime, doc, spec::BinarySubtype};

    use super::*;

    #[test]
    fn elements_are_written_as_documents_are_encoded() {
        let (id, time) = (
            ObjectId::from_bytes([7; 12]),
            Timestamp {
                time: 3,
                increment: 9,
            },
        );
        let mut out = Vec::new();
        let start = open(&mut out);
        let mut elements = Elements::new(&mut out);
        elements.array("a", |items| {
            items.text("x");
            let mark = items.mark();
            items.text("taken back");
            items.back(mark);
            for n in 0..12 {
                items.document(&doc! { "n": n });
            }
        });
        elements.binary("b", &[1, 2]);
        elements.boolean("f", true);
        elements.date("d", -4);
        elements.document("e", |inner| inner.double("g", 0.5));
        elements.id("i", id);
        elements.int("j", 5);
        elements.long("l", -6);
        elements.text("t", "ü");
        elements.timestamp("ts", time);
        elements.all(&doc! { "m": Bson::MinKey, "n": null });
        close(&mut out, start);
        let mut array = vec![Bson::from("x")];
        array.extend((0..12).map(|n| Bson::from(doc! { "n": n })));
        let expected = doc! {
            "a": array,
            "b": Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] },
            "f": true, "d": DateTime::from_millis(-4), "e": { "g": 0.5 }, "i": id, "j": 5,
            "l": -6_i64, "t": "ü", "ts": time, "m": Bson::MinKey, "n": null,
        };
        assert_eq!(out, expected.to_vec().unwrap());
    }
}
