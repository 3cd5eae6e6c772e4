//! How the options of verbs are written into a command body.
//!
//! The same bytes as serde writes (the tests compare the two), without serde: a serializer is
//! generated anew for each type that goes through it, the `bson` crate's as well as core's, and
//! whoever compiles this crate would wait for it.

use bson::Document;
use mongo_client_core::{bson::spec::ElementType, error::Result};

use super::body::Body;
use crate::options::{
    ChangeStreamPreAndPostImages, ClusteredIndex, Collation, Hint, IndexOptionDefaults,
    TimeseriesOptions, ValidationAction, ValidationLevel,
};

/// A value that can stand in a command.
pub(crate) trait Put {
    /// Writes the value under this key.
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()>;
}

impl Put for str {
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
        body.str(key, self);
        Ok(())
    }
}

impl Put for String {
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
        self.as_str().put(key, body)
    }
}

impl Put for [Document] {
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
        body.array(key, self.iter(), |document, bytes| {
            mongo_client_core::codec::append_document(document, bytes)?;
            Ok(ElementType::EmbeddedDocument)
        })
    }
}

impl Put for Vec<Document> {
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
        self.as_slice().put(key, body)
    }
}

impl Put for [i64] {
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
        body.array(key, self.iter(), |number, bytes| {
            bytes.extend_from_slice(&number.to_le_bytes());
            Ok(ElementType::Int64)
        })
    }
}

impl Put for Hint {
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
        match self {
            Self::Keys(keys) => body.document(key, keys),
            Self::Name(name) => name.put(key, body),
        }
    }
}

impl Put for ValidationAction {
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
        self.as_str().put(key, body)
    }
}

impl Put for ValidationLevel {
    fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
        self.as_str().put(key, body)
    }
}

/// Values that are written as the documents they make.
macro_rules! documents {
    ($($name:ident)*) => {
        $(
            impl Put for $name {
                fn put(&self, key: &'static str, body: &mut Body) -> Result<()> {
                    body.document(key, &self.to_document())
                }
            }
        )*
    };
}

documents! {
    ChangeStreamPreAndPostImages ClusteredIndex Collation IndexOptionDefaults TimeseriesOptions
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::doc;
    use serde::Serialize;

    use super::*;
    use crate::options::{
        CollationAlternate, CollationCaseFirst, CollationMaxVariable, CollationStrength,
        TimeseriesGranularity,
    };

    fn as_serde<T: Put + Serialize + ?Sized>(value: &T) {
        #[derive(Serialize)]
        struct Entry<'a, T: ?Sized> {
            key: &'a T,
        }
        let mut body = Body::empty();
        value.put("key", &mut body).unwrap();
        let expected = bson::serialize_to_vec(&Entry { key: value }).unwrap();
        assert_eq!(body.finish().unwrap().as_bytes(), expected);
    }

    #[test]
    fn what_is_written_are_the_bytes_of_serde() {
        as_serde("text");
        as_serde(&String::new());
        let long: Vec<Document> = (0..120)
            .map(|i| doc! { "x": i, "d": { "y": [i] } })
            .collect();
        as_serde(&long);
        as_serde(&Vec::<Document>::new());
        as_serde([1_i64, -1, i64::MAX].as_slice());
        as_serde(&Hint::from(doc! { "a": 1 }));
        as_serde(&Hint::from("a_1"));
        as_serde(&ValidationAction::Warn);
        as_serde(&ValidationLevel::Off);
        as_serde(&ChangeStreamPreAndPostImages::new(true));
        as_serde(&IndexOptionDefaults {
            storage_engine: doc! { "wiredTiger": {} },
        });
        as_serde(&ClusteredIndex::default());
        as_serde(&ClusteredIndex {
            name: Some("n".to_owned()),
            v: Some(2),
            ..ClusteredIndex::default()
        });
        as_serde(&TimeseriesOptions::new("t"));
        as_serde(&TimeseriesOptions {
            meta_field: Some("m".to_owned()),
            granularity: Some(TimeseriesGranularity::Hours),
            bucket_max_span: Some(Duration::from_secs(60)),
            bucket_rounding: Some(Duration::from_millis(60_500)),
            ..TimeseriesOptions::new("t")
        });
        as_serde(&Collation::builder().locale("de").build());
        as_serde(&full());
    }

    fn full() -> Collation {
        Collation::builder()
            .locale("de")
            .strength(CollationStrength::Secondary)
            .case_level(true)
            .case_first(CollationCaseFirst::Upper)
            .numeric_ordering(false)
            .alternate(CollationAlternate::Shifted)
            .max_variable(CollationMaxVariable::Space)
            .normalization(true)
            .backwards(false)
            .build()
    }

    #[test]
    fn a_collation_is_read_as_serde_reads_it() {
        let mut documents = vec![full().to_document(), doc! {}, doc! { "locale": 1 }];
        let values = [
            "x".into(),
            2.into(),
            true.into(),
            9.into(),
            bson::Bson::Null,
        ];
        for (key, value) in full().to_document() {
            let others = values.iter().cloned().chain([value]);
            documents
                .extend(others.map(|value| doc! { "locale": "fr", "version": "5", &key: value }));
        }
        for document in documents {
            let serde = bson::deserialize_from_document::<Collation>(document.clone());
            assert_eq!(Collation::read(&document), serde.ok(), "{document}");
        }
    }
}
