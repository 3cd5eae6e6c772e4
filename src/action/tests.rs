//! The commands that verbs build, against the documents that the specifications expect.

mod admin;
mod indexes;
mod reads;
mod writes;

use bson::Document;
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    error::{ErrorKind, Result},
    op::CommandSpec,
    read_preference::{ReadPreference, SelectionCriteria},
};

use super::{Concerns, Scope};

/// A collection that inherited every concern.
fn scope() -> Scope {
    let nearest = ReadPreference::nearest(None);
    let concerns = Concerns {
        read_concern: Some(ReadConcern::majority()),
        write_concern: Some(WriteConcern::majority()),
        criteria: Some(SelectionCriteria::ReadPreference(nearest)),
    };
    Scope {
        db: "db".into(),
        name: "coll".into(),
        invalid: None,
        concerns: concerns.share(),
    }
}

fn body(spec: &CommandSpec) -> Document {
    let document = Document::try_from(&*spec.body).unwrap();
    assert_eq!(
        document.keys().next().unwrap(),
        spec.name,
        "the name is the first key"
    );
    assert_eq!(&*spec.db, "db");
    document
}

/// The documents of the only sequence.
fn statements(spec: &CommandSpec, identifier: &str) -> Vec<Document> {
    assert_eq!(spec.sequences.len(), 1);
    assert_eq!(spec.sequences[0].identifier, identifier);
    let mut out = Vec::new();
    for piece in spec.sequences[0].documents.iter() {
        let mut rest = &piece[..];
        while let Some(len) = rest.first_chunk() {
            let (document, after) = rest.split_at(u32::from_le_bytes(*len) as usize);
            out.push(bson::deserialize_from_slice(document).unwrap());
            rest = after;
        }
        assert!(rest.is_empty());
    }
    out
}

/// The message of an `InvalidArgument`.
fn invalid<T: std::fmt::Debug>(result: Result<T>) -> String {
    match *result.unwrap_err().kind {
        ErrorKind::InvalidArgument { message } => message,
        other => panic!("{other}"),
    }
}
