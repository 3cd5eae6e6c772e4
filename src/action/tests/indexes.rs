//! Verbs on indexes.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongo_client_core::{
    concern::WriteConcern,
    op::{Requirement, Retryability, Target},
    read_preference::ReadPreference,
};

use super::{body, invalid, scope};
use crate::{
    action::{
        create_index,
        drop_index::{self, Which},
        list_indexes, search_index,
    },
    options::{
        CommitQuorum, CreateIndexOptions, DropIndexOptions, IndexModel, IndexOptions,
        ListIndexesOptions, SearchIndexModel, SearchIndexType,
    },
};

fn on(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

#[test]
fn created_indexes_have_names_and_options() {
    let unique = IndexOptions::builder().unique(true).build();
    let indexes = [on(doc! { "a": 1 }), on(doc! { "b": -1 }).options(unique)];
    let options = CreateIndexOptions::builder()
        .commit_quorum(CommitQuorum::VotingMembers)
        .max_time(Duration::from_millis(5))
        .comment(Bson::from("c"))
        .raw_data(true)
        .build();
    let spec = create_index::build(&scope(), &indexes, Some(&options)).unwrap();
    let expected = doc! {
        "createIndexes": "coll",
        "indexes": [
            { "key": { "a": 1 }, "name": "a_1" },
            { "key": { "b": -1 }, "name": "b_-1", "unique": true },
        ],
        "commitQuorum": "votingMembers", "maxTimeMS": 5, "comment": "c",
    };
    assert_eq!(body(&spec), expected);
    assert_eq!(spec.retryability, Retryability::None);
    assert_eq!(spec.write_concern, Some(WriteConcern::majority()));
    assert!(spec.check_write_concern_error && spec.raw_data);
    assert_eq!(spec.requirement, Some(Requirement::CommitQuorum));

    let spec = create_index::build(&scope(), &indexes[..1], None).unwrap();
    assert!(spec.requirement.is_none() && !spec.raw_data);
}

#[test]
fn indexes_without_keys_are_refused() {
    let message = invalid(create_index::build(&scope(), &[], None));
    assert!(message.contains("at least one"), "{message}");
    let message = invalid(create_index::build(&scope(), &[on(doc! {})], None));
    assert!(message.contains("keys"), "{message}");
}

#[test]
fn a_commit_quorum_is_a_number_or_a_name() {
    let table = [
        (CommitQuorum::from(2), Bson::Int32(2)),
        ("majority".into(), "majority".into()),
        ("votingMembers".into(), "votingMembers".into()),
        ("tags".into(), "tags".into()),
    ];
    for (quorum, sent) in table {
        assert_eq!(quorum.to_bson().unwrap(), sent);
    }
    assert!(CommitQuorum::from(u32::MAX).to_bson().is_err());
}

#[test]
fn indexes_are_dropped_by_name_or_keys_or_all_of_them() {
    let options = DropIndexOptions::builder()
        .max_time(Duration::from_secs(1))
        .build();
    let table = [
        (Which::Name("a_1".into()), Bson::from("a_1")),
        (Which::Keys(doc! { "a": 1 }), doc! { "a": 1 }.into()),
        (Which::All, "*".into()),
    ];
    for (which, index) in table {
        let spec = drop_index::build(&scope(), &which, Some(&options)).unwrap();
        let expected = doc! { "dropIndexes": "coll", "index": index, "maxTimeMS": 1000 };
        assert_eq!(body(&spec), expected);
        assert!(spec.check_write_concern_error);
        assert_eq!(spec.write_concern, Some(WriteConcern::majority()));
    }
    let message = invalid(drop_index::build(&scope(), &Which::Name("*".into()), None));
    assert!(message.contains("drop_indexes"), "{message}");
}

#[test]
fn indexes_are_listed_by_the_primary() {
    let options = ListIndexesOptions::builder()
        .batch_size(2)
        .comment(Bson::from("c"))
        .build();
    let (spec, settings) = list_indexes::build(&scope(), Some(&options)).unwrap();
    let expected = doc! { "listIndexes": "coll", "comment": "c", "cursor": { "batchSize": 2 } };
    assert_eq!(body(&spec), expected);
    assert!(matches!(spec.target, Target::Read(ReadPreference::Primary)));
    assert_eq!(spec.retryability, Retryability::Read);
    assert_eq!((spec.read_concern, settings.batch_size), (None, Some(2)));
    assert_eq!(settings.comment, Some("c".into()));
}

#[test]
fn search_indexes_know_no_concerns() {
    let definition = doc! { "mappings": { "dynamic": true } };
    let model = SearchIndexModel::builder().definition(definition.clone());
    let full = model
        .clone()
        .name("n".to_owned())
        .index_type(SearchIndexType::VectorSearch);
    let spec = search_index::build_create(&scope(), &[model, full]).unwrap();
    let expected = doc! {
        "createSearchIndexes": "coll",
        "indexes": [
            { "definition": definition.clone() },
            { "definition": definition.clone(), "name": "n", "type": "vectorSearch" },
        ],
    };
    assert_eq!(body(&spec), expected);
    assert!(spec.write_concern.is_none());
    let spec = search_index::build_update(&scope(), "n", &definition).unwrap();
    let expected = doc! { "updateSearchIndex": "coll", "name": "n", "definition": definition };
    assert_eq!(body(&spec), expected);
    let spec = search_index::build_drop(&scope(), "n").unwrap();
    assert_eq!(body(&spec), doc! { "dropSearchIndex": "coll", "name": "n" });
    assert!(spec.write_concern.is_none());
    for (name, stage) in [(None, doc! {}), (Some("n"), doc! { "name": "n" })] {
        let (spec, _) = search_index::build_list(&scope(), name, None).unwrap();
        let pipeline = [doc! { "$listSearchIndexes": stage }];
        let expected = doc! { "aggregate": "coll", "pipeline": pipeline.to_vec(), "cursor": {} };
        assert_eq!(body(&spec), expected);
        assert_eq!(spec.read_concern, None);
    }
    // The server judges that.
    let spec = search_index::build_create(&scope(), &[]).unwrap();
    assert_eq!(
        body(&spec),
        doc! { "createSearchIndexes": "coll", "indexes": [] }
    );
}
