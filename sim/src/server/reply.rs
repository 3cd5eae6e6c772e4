//! A reply while it is made: fields that are written into bytes at once, and fields that somebody
//! may still look at.

use bson::{Bson, Document};

use crate::wire::Elements;

/// What a command is answered with, but for what every reply has.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The first fields, written.
    head: Vec<u8>,
    /// The fields that follow them.
    rest: Document,
    /// The cursor that stays open, or 0.
    pub(super) cursor: i64,
}

impl From<Document> for Reply {
    fn from(rest: Document) -> Self {
        Self {
            rest,
            ..Self::default()
        }
    }
}

impl Reply {
    /// A reply whose fields are written at once.
    pub(super) fn written(write: impl FnOnce(&mut Elements<'_>)) -> Self {
        let mut head = Vec::with_capacity(512);
        write(&mut Elements::new(&mut head));
        Self {
            head,
            ..Self::default()
        }
    }

    /// Adds a field.
    pub(super) fn insert(&mut self, name: &str, value: impl Into<Bson>) {
        self.rest.insert(name, value);
    }

    pub(super) fn write_concern_error(&self) -> Option<&Document> {
        self.rest.get_document("writeConcernError").ok()
    }

    pub(super) fn write(&self, out: &mut Elements<'_>) {
        out.encoded(&self.head);
        out.all(&self.rest);
    }
}
