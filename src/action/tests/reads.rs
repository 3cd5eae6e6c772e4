//! Verbs that read.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    op::{Retryability, Target},
    read_preference::ReadPreference,
};

use super::{body, invalid, scope};
use crate::{
    action::{aggregate, count, delete, distinct, explain, find, list_collections},
    options::{
        AggregateOptions, Collation, CountOptions, CursorType, DistinctOptions,
        EstimatedDocumentCountOptions, ExplainOptions, FindOneOptions, FindOptions, Hint,
        ListCollectionsOptions, Verbosity,
    },
};

fn find_with(options: FindOptions) -> Document {
    body(&find::build(&scope(), &doc! {}, Some(&options)).unwrap().0)
}

#[test]
fn a_plain_find_inherits_what_the_collection_says() {
    let (spec, settings) = find::build(&scope(), &doc! { "x": 1 }, None).unwrap();
    assert_eq!(body(&spec), doc! { "find": "coll", "filter": { "x": 1 } });
    assert_eq!(spec.retryability, Retryability::Read);
    assert_eq!(spec.read_concern, Some(ReadConcern::majority()));
    assert!(matches!(&spec.target, Target::Read(p) if *p == ReadPreference::nearest(None)));
    assert!(spec.write_concern.is_none() && spec.sequences.is_empty());
    assert_eq!((settings.batch_size, settings.limit), (None, None));
}

#[test]
fn find_sends_every_option() {
    let options = FindOptions::builder()
        .allow_disk_use(true)
        .allow_partial_results(false)
        .batch_size(2)
        .collation(Collation::builder().locale("de").build())
        .comment(Bson::from("why"))
        .cursor_type(CursorType::TailableAwait)
        .hint(Hint::from("i"))
        .let_vars(doc! { "v": 1 })
        .limit(7)
        .max(doc! { "x": 9 })
        .max_await_time(Duration::from_millis(5))
        .max_scan(100)
        .max_time(Duration::from_secs(1))
        .min(doc! { "x": 0 })
        .no_cursor_timeout(true)
        .projection(doc! { "y": 1 })
        .return_key(false)
        .show_record_id(true)
        .skip(3)
        .sort(doc! { "x": -1 })
        .build();
    let (spec, settings) = find::build(&scope(), &doc! {}, Some(&options)).unwrap();
    let expected = doc! {
        "find": "coll", "filter": {}, "sort": { "x": -1 }, "projection": { "y": 1 }, "hint": "i",
        "skip": 3, "limit": 7, "batchSize": 2, "comment": "why", "maxTimeMS": 1000,
        "max": { "x": 9 }, "min": { "x": 0 }, "maxScan": 100, "returnKey": false,
        "showRecordId": true, "allowDiskUse": true, "allowPartialResults": false,
        "noCursorTimeout": true, "tailable": true, "awaitData": true,
        "collation": { "locale": "de" }, "let": { "v": 1 },
    };
    assert_eq!(body(&spec), expected);
    assert!(settings.tailable && settings.await_data);
    assert_eq!(settings.max_await_time, Some(Duration::from_millis(5)));
    assert_eq!((settings.batch_size, settings.limit), (Some(2), Some(7)));
    assert_eq!(settings.comment, Some("why".into()));
}

#[test]
fn limits_follow_the_rules_of_the_find_command() {
    let cases = [
        (Some(0), None, doc! {}),
        (Some(4), Some(3), doc! { "limit": 4, "batchSize": 3 }),
        (Some(4), Some(4), doc! { "limit": 4, "batchSize": 5 }),
        (Some(4), Some(0), doc! { "limit": 4 }),
        (None, Some(9), doc! { "batchSize": 9 }),
        (
            Some(-4),
            None,
            doc! { "limit": 4, "batchSize": 4, "singleBatch": true },
        ),
        (
            Some(-4),
            Some(2),
            doc! { "limit": 4, "batchSize": 4, "singleBatch": true },
        ),
        (
            Some(i64::MIN),
            None,
            doc! { "limit": i64::MAX, "batchSize": i64::MAX, "singleBatch": true },
        ),
    ];
    for (limit, batch_size, expected) in cases {
        let mut body = find_with(FindOptions {
            limit,
            batch_size,
            ..FindOptions::default()
        });
        body.remove("find");
        body.remove("filter");
        assert_eq!(body, expected, "limit {limit:?}, batch_size {batch_size:?}");
    }
}

#[test]
fn a_tailable_cursor_does_not_await_unless_told() {
    let body = find_with(
        FindOptions::builder()
            .cursor_type(CursorType::Tailable)
            .build(),
    );
    assert_eq!(
        body,
        doc! { "find": "coll", "filter": {}, "tailable": true }
    );
    let options = FindOptions::builder()
        .max_await_time(Duration::from_secs(1))
        .build();
    let message = invalid(find::build(&scope(), &doc! {}, Some(&options)));
    assert!(message.contains("max_await_time"), "{message}");
}

#[test]
fn find_one_asks_for_a_single_batch_of_one() {
    let spec = find::build_one(&scope(), &doc! { "_id": 1 }, None).unwrap();
    let expected = doc! { "find": "coll", "filter": { "_id": 1 }, "limit": 1, "singleBatch": true };
    assert_eq!(body(&spec), expected);
    let options = FindOneOptions::builder()
        .sort(doc! { "a": 1 })
        .skip(2)
        .projection(doc! { "b": 0 })
        .read_concern(ReadConcern::local())
        .selection_criteria(crate::options::SelectionCriteria::from(
            ReadPreference::primary(),
        ))
        .build();
    let spec = find::build_one(&scope(), &doc! {}, Some(&options)).unwrap();
    let expected = doc! {
        "find": "coll", "filter": {}, "limit": 1, "singleBatch": true, "sort": { "a": 1 },
        "projection": { "b": 0 }, "skip": 2,
    };
    assert_eq!(body(&spec), expected);
    assert_eq!(spec.read_concern, Some(ReadConcern::local()));
    assert!(matches!(spec.target, Target::Read(ReadPreference::Primary)));
}

#[test]
fn a_body_of_one_find_needs_one_allocation() {
    let spec = find::build_one(&scope(), &doc! { "_id": bson::oid::ObjectId::new() }, None);
    let bytes = spec.unwrap().body.take_buffer();
    assert!(bytes.len() < bytes.capacity() && bytes.capacity() == 256);
}

#[test]
fn aggregate_reads_through_a_cursor() {
    let pipeline = [doc! { "$match": { "x": 1 } }];
    let (spec, _) = aggregate::build(&scope(), &pipeline, None).unwrap();
    let expected = doc! { "aggregate": "coll", "pipeline": pipeline.to_vec(), "cursor": {} };
    assert_eq!(body(&spec), expected);
    assert_eq!(spec.retryability, Retryability::Read);
    assert!(matches!(spec.target, Target::Read(_)));

    let options = AggregateOptions::builder()
        .allow_disk_use(true)
        .batch_size(0)
        .hint(Hint::Keys(doc! { "x": 1 }))
        .let_vars(doc! { "v": 2 })
        .comment(Bson::from(1))
        .build();
    let (spec, settings) = aggregate::build(&scope(), &pipeline, Some(&options)).unwrap();
    let expected = doc! {
        "aggregate": "coll", "pipeline": pipeline.to_vec(), "cursor": { "batchSize": 0 },
        "allowDiskUse": true, "comment": 1, "hint": { "x": 1 }, "let": { "v": 2 },
    };
    assert_eq!(body(&spec), expected);
    assert_eq!(settings.batch_size, Some(0));
}

#[test]
fn a_pipeline_on_a_database_has_no_collection() {
    let mut scope = scope();
    scope.name = "".into();
    let (spec, _) = aggregate::build(&scope, &[doc! { "$currentOp": {} }], None).unwrap();
    let expected = doc! { "aggregate": 1, "pipeline": [{ "$currentOp": {} }], "cursor": {} };
    assert_eq!(body(&spec), expected);
}

#[test]
fn a_pipeline_that_writes_is_not_retried_and_follows_the_read_preference() {
    for stage in [
        doc! { "$out": "other" },
        doc! { "$merge": { "into": "other" } },
    ] {
        let options = AggregateOptions::builder()
            .batch_size(0)
            .write_concern(WriteConcern::nodes(2))
            .selection_criteria(crate::options::SelectionCriteria::from(
                ReadPreference::secondary(None),
            ))
            .build();
        let pipeline = [doc! { "$match": {} }, stage];
        let (spec, settings) = aggregate::build(&scope(), &pipeline, Some(&options)).unwrap();
        assert_eq!(
            body(&spec).get_document("cursor").unwrap(),
            &doc! {},
            "no empty first batch"
        );
        let secondary = ReadPreference::secondary(None);
        assert!(matches!(&spec.target, Target::Output(p) if **p == secondary));
        let primary = crate::options::SelectionCriteria::from(ReadPreference::Primary);
        let options = AggregateOptions::builder()
            .selection_criteria(primary)
            .build();
        let (plain, _) = aggregate::build(&scope(), &pipeline, Some(&options)).unwrap();
        assert!(matches!(plain.target, Target::Write));
        assert_eq!(spec.retryability, Retryability::None);
        assert_eq!(spec.write_concern, Some(WriteConcern::nodes(2)));
        assert_eq!(spec.read_concern, Some(ReadConcern::majority()));
        assert!(spec.check_write_concern_error);
        assert_eq!(settings.batch_size, None);
    }
}

#[test]
fn count_documents_is_a_pipeline() {
    let group = doc! { "$group": { "_id": 1, "n": { "$sum": 1 } } };
    let spec = count::build(&scope(), doc! { "x": 1 }, None).unwrap();
    let expected = doc! {
        "aggregate": "coll", "pipeline": [{ "$match": { "x": 1 } }, group.clone()], "cursor": {},
    };
    assert_eq!(body(&spec), expected);
    let options = CountOptions::builder()
        .skip(1)
        .limit(2)
        .hint(Hint::from("h"))
        .build();
    let spec = count::build(&scope(), doc! {}, Some(&options)).unwrap();
    let expected = doc! {
        "aggregate": "coll",
        "pipeline": [{ "$match": {} }, { "$skip": 1_i64 }, { "$limit": 2_i64 }, group],
        "cursor": {}, "hint": "h",
    };
    assert_eq!(body(&spec), expected);
    let options = CountOptions::builder().skip(u64::MAX).build();
    let message = invalid(count::build(&scope(), doc! {}, Some(&options)));
    assert!(message.contains("skip"), "{message}");
}

#[test]
fn an_estimate_is_a_count_without_filter() {
    let options = EstimatedDocumentCountOptions::builder()
        .max_time(Duration::from_millis(20))
        .comment(Bson::from("c"))
        .build();
    let spec = count::build_estimated(&scope(), Some(&options)).unwrap();
    assert_eq!(
        body(&spec),
        doc! { "count": "coll", "maxTimeMS": 20, "comment": "c" }
    );
    assert_eq!(spec.retryability, Retryability::Read);
    let spec = count::build_estimated(&scope(), None).unwrap();
    assert_eq!(body(&spec), doc! { "count": "coll" });
}

#[test]
fn distinct_names_its_field() {
    let options = DistinctOptions::builder()
        .max_time(Duration::from_nanos(1))
        .build();
    let spec = distinct::build(&scope(), "x", &doc! { "y": 1 }, Some(&options)).unwrap();
    let expected = doc! { "distinct": "coll", "key": "x", "query": { "y": 1 }, "maxTimeMS": 1 };
    assert_eq!(body(&spec), expected);
}

#[test]
fn a_count_has_its_filter_in_the_command() {
    let options = CountOptions::builder()
        .skip(1)
        .limit(2)
        .hint(Hint::from("h"))
        .raw_data(true)
        .build();
    let spec = count::build_count(&scope(), &doc! { "x": 1 }, Some(&options)).unwrap();
    let expected = doc! {
        "count": "coll", "query": { "x": 1 }, "limit": 2, "skip": 1, "hint": "h",
    };
    assert_eq!(body(&spec), expected);
    assert_eq!(spec.retryability, Retryability::Read);
    assert_eq!(spec.read_concern, Some(ReadConcern::majority()));
    assert!(spec.raw_data);
}

#[test]
fn an_explanation_holds_the_whole_command() {
    let (find, _) = find::build(&scope(), &doc! { "a": 1 }, None).unwrap();
    let options = ExplainOptions::builder()
        .verbosity(Verbosity::QueryPlanner)
        .max_time(Duration::from_millis(7))
        .comment(Bson::from("c"))
        .build();
    let spec = explain::build(find, Some(&options)).unwrap();
    let expected = doc! {
        "explain": { "find": "coll", "filter": { "a": 1 } }, "verbosity": "queryPlanner",
        "maxTimeMS": 7, "comment": "c",
    };
    assert_eq!(body(&spec), expected);
    assert!(matches!(&spec.target, Target::Read(p) if *p == ReadPreference::nearest(None)));
    assert_eq!(
        (spec.retryability, &spec.read_concern),
        (Retryability::None, &None)
    );

    let delete = delete::build(&scope(), &doc! { "a": 1 }, true, None).unwrap();
    let spec = explain::build(delete, None).unwrap();
    let deletes = doc! { "q": { "a": 1 }, "limit": 0 };
    let inner = doc! { "delete": "coll", "ordered": true, "deletes": [deletes] };
    assert_eq!(body(&spec), doc! { "explain": inner });
    assert!(spec.sequences.is_empty() && spec.write_concern.is_none());
    assert!(matches!(spec.target, Target::Write));
}

#[test]
fn the_comment_of_list_collections_stays_with_its_first_command() {
    let options = ListCollectionsOptions::builder()
        .comment(Bson::from("c"))
        .batch_size(1)
        .build();
    let (spec, settings) = list_collections::build(&scope(), false, Some(&options)).unwrap();
    assert_eq!(body(&spec).get_str("comment").unwrap(), "c");
    assert_eq!((settings.comment, settings.batch_size), (None, Some(1)));
}
