//! Verbs on databases and collections as a whole, and option structs in general.

use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use mongo_client_core::{
    concern::WriteConcern,
    op::{Retryability, Target},
    read_preference::{ReadPreference, SelectionCriteria},
};

use self::probe::{Probe, ProbeOptions};
use super::{body, invalid, scope};
use crate::{
    action::{
        Action, create_collection, drop, list_collections, list_databases, map_reduce,
        modify_collection, rename, run_command,
    },
    options::{
        ChangeStreamPreAndPostImages, CreateCollectionOptions, FindOneOptions, FindOptions,
        ListCollectionsOptions, ListDatabasesOptions, MapReduceOptions, ModifyCollectionOptions,
        RenameCollectionOptions, TimeseriesOptions, ValidationLevel,
    },
};

#[test]
fn create_sends_what_is_set() {
    let mut timeseries = TimeseriesOptions::new("t");
    timeseries.bucket_max_span = Some(Duration::from_secs(60));
    let options = CreateCollectionOptions::builder()
        .capped(true)
        .size(4096)
        .expire_after_seconds(Duration::from_secs(30))
        .timeseries(timeseries)
        .validation_level(ValidationLevel::Off)
        .view_on("other".to_owned())
        .pipeline(vec![doc! { "$match": {} }])
        .build();
    let spec = create_collection::build(&scope(), "new", Some(&options)).unwrap();
    let expected = doc! {
        "create": "new", "capped": true, "size": 4096, "validationLevel": "off",
        "viewOn": "other", "pipeline": [{ "$match": {} }],
        "timeseries": { "timeField": "t", "bucketMaxSpanSeconds": 60_i64 },
        "expireAfterSeconds": 30,
    };
    assert_eq!(body(&spec), expected);
    assert_eq!(spec.retryability, Retryability::None);
    assert_eq!(spec.write_concern, Some(WriteConcern::majority()));
    let options = CreateCollectionOptions::builder()
        .timeseries(TimeseriesOptions::default())
        .build();
    let message = invalid(create_collection::build(&scope(), "new", Some(&options)));
    assert!(message.contains("time_field"), "{message}");
}

#[test]
fn drops_check_their_write_concern() {
    let concern = WriteConcern::nodes(3);
    let spec = drop::build_collection(&scope(), Some(&concern)).unwrap();
    assert_eq!(body(&spec), doc! { "drop": "coll" });
    assert_eq!(spec.write_concern, Some(concern));
    assert!(spec.check_write_concern_error);
    let spec = drop::build_database(&scope(), None).unwrap();
    assert_eq!(body(&spec), doc! { "dropDatabase": 1 });
    assert_eq!(spec.write_concern, Some(WriteConcern::majority()));
}

#[test]
fn databases_are_listed_by_the_primary_of_the_admin_database() {
    let options = ListDatabasesOptions::builder()
        .filter(doc! { "name": "a" })
        .build();
    let spec = list_databases::build(true, Some(&options)).unwrap();
    assert_eq!(&*spec.db, "admin");
    let document = Document::try_from(&*spec.body).unwrap();
    let expected = doc! { "listDatabases": 1, "nameOnly": true, "filter": { "name": "a" } };
    assert_eq!(document, expected);
    assert!(matches!(spec.target, Target::Read(ReadPreference::Primary)));
    assert_eq!(spec.retryability, Retryability::Read);
}

#[test]
fn names_of_collections_are_all_that_is_asked_for_unless_a_filter_needs_more() {
    let names = |filter: Option<Document>| {
        let options = ListCollectionsOptions {
            filter,
            ..ListCollectionsOptions::default()
        };
        let (spec, _) = list_collections::build(&scope(), true, Some(&options)).unwrap();
        body(&spec).get_bool("nameOnly").unwrap_or(false)
    };
    assert!(names(None));
    assert!(names(Some(doc! { "name": "a" })));
    assert!(!names(Some(doc! { "type": "view" })));
    assert!(!names(Some(doc! { "name": "a", "options.capped": true })));

    let options = ListCollectionsOptions::builder().batch_size(3).build();
    let (spec, settings) = list_collections::build(&scope(), false, Some(&options)).unwrap();
    assert_eq!(
        body(&spec),
        doc! { "listCollections": 1, "cursor": { "batchSize": 3 } }
    );
    assert!(matches!(spec.target, Target::Read(ReadPreference::Primary)));
    assert_eq!(settings.batch_size, Some(3));
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

#[test]
fn a_users_command_inherits_nothing() {
    let spec = run_command::build(&scope(), raw(&doc! { "ping": 1 }).into(), None).unwrap();
    assert_eq!(body(&spec), doc! { "ping": 1 });
    assert!(matches!(spec.target, Target::Read(ReadPreference::Primary)));
    assert!(spec.read_concern.is_none() && spec.write_concern.is_none() && spec.user_command);
    assert_eq!(spec.retryability, Retryability::None);

    let nearest = SelectionCriteria::from(ReadPreference::nearest(None));
    let spec = run_command::build(&scope(), raw(&doc! { "x": 1 }).into(), Some(&nearest)).unwrap();
    assert_eq!(spec.name, "runCommand", "an unknown name");
    assert!(matches!(
        spec.target,
        Target::Read(ReadPreference::Nearest { .. })
    ));
    let message = invalid(run_command::build(&scope(), raw(&doc! {}).into(), None));
    assert!(message.starts_with("command"), "{message}");
}

#[expect(unreachable_pub, reason = "the macro makes public items")]
mod probe {
    use bson::{Bson, Document};

    use crate::{action::Action, options::option_struct};

    option_struct! {
        $ probe_setters;
        /// Options for this test.
        pub struct ProbeOptions {
            /// By value.
            count: value u64,
            /// By conversion.
            comment: into Bson,
            /// From any iterator.
            list: iter Document,
        }
    }

    /// A verb that does nothing.
    #[derive(Debug, Default)]
    #[must_use = "for the setters"]
    pub(super) struct Probe {
        pub(super) options: Option<Box<ProbeOptions>>,
    }

    self::probe_setters!(impl [] Probe);

    impl Action for Probe {}
}

#[test]
fn a_verb_has_the_setters_of_its_options() {
    let probe = Probe::default()
        .count(1)
        .comment("c")
        .list([doc! {}])
        .optional(Some(2), Probe::count)
        .optional(None::<u64>, Probe::count);
    let expected = ProbeOptions::builder()
        .count(2)
        .comment(Bson::from("c"))
        .list(vec![doc! {}])
        .build();
    assert_eq!(probe.options.as_deref(), Some(&expected));
    assert_eq!(
        Probe::default().with_options(expected.clone()).options,
        Some(Box::new(expected))
    );
    assert_eq!(probe.with_options(None).options, None);
}

#[test]
fn options_of_one_document_become_options_of_many() {
    let one = FindOneOptions::builder()
        .skip(1)
        .sort(doc! { "a": 1 })
        .build();
    let many = FindOptions::from(one);
    assert_eq!(
        (many.limit, many.skip, many.sort),
        (Some(-1), Some(1), Some(doc! { "a": 1 }))
    );
}

#[test]
fn a_collection_is_renamed_through_the_admin_database() {
    let options = RenameCollectionOptions::builder().drop_target(true).build();
    let spec = rename::build(&scope(), "to", Some(&options)).unwrap();
    let document = Document::try_from(&*spec.body).unwrap();
    let expected = doc! { "renameCollection": "db.coll", "to": "db.to", "dropTarget": true };
    assert_eq!(document, expected);
    assert_eq!(&*spec.db, "admin");
    assert!(spec.check_write_concern_error);
    assert_eq!(spec.write_concern, Some(WriteConcern::majority()));
    assert!(rename::build(&scope(), "$to", None).is_err());
}

#[test]
fn a_modification_sends_what_is_set() {
    let spec = modify_collection::build(&scope(), "c", None).unwrap();
    assert_eq!(body(&spec), doc! { "collMod": "c" });
    let options = ModifyCollectionOptions::builder()
        .validator(doc! { "a": 1 })
        .validation_level(ValidationLevel::Moderate)
        .index(doc! { "name": "n", "hidden": true })
        .view_on("v".to_owned())
        .pipeline(vec![doc! { "$match": {} }])
        .capped_size(4096)
        .capped_max(5)
        .expire_after_seconds(Duration::from_secs(9))
        .change_stream_pre_and_post_images(ChangeStreamPreAndPostImages::new(true))
        .dry_run(false)
        .build();
    let spec = modify_collection::build(&scope(), "c", Some(&options)).unwrap();
    let expected = doc! {
        "collMod": "c", "validator": { "a": 1 }, "validationLevel": "moderate",
        "index": { "name": "n", "hidden": true }, "viewOn": "v", "pipeline": [{ "$match": {} }],
        "cappedSize": 4096, "cappedMax": 5, "expireAfterSeconds": 9,
        "changeStreamPreAndPostImages": { "enabled": true }, "dryRun": false,
    };
    assert_eq!(body(&spec), expected);
    assert_eq!(spec.write_concern, Some(WriteConcern::majority()));
}

#[test]
fn map_reduce_reads_or_writes_but_is_never_retried() {
    let build = |options: Option<&MapReduceOptions>| {
        map_reduce::build(&scope(), "m".into(), "r".into(), options).unwrap()
    };
    let code = |text: &str| Bson::JavaScriptCode(text.into());
    let inline = build(None);
    let expected = doc! {
        "mapReduce": "coll", "map": code("m"), "reduce": code("r"), "out": { "inline": 1 },
    };
    assert_eq!(body(&inline), expected);
    assert!(matches!(
        inline.target,
        Target::Read(ReadPreference::Nearest { .. })
    ));
    assert_eq!(inline.retryability, Retryability::None);
    assert!(inline.write_concern.is_none());

    let options = MapReduceOptions::builder()
        .out(doc! { "replace": "other" })
        .filter(doc! { "a": 1 })
        .finalize("f".to_owned())
        .limit(3)
        .build();
    let written = build(Some(&options));
    let expected = doc! {
        "mapReduce": "coll", "map": code("m"), "reduce": code("r"), "out": { "replace": "other" },
        "query": { "a": 1 }, "limit": 3, "finalize": code("f"),
    };
    assert_eq!(body(&written), expected);
    assert!(matches!(written.target, Target::Write));
    assert_eq!(written.retryability, Retryability::None);
    assert_eq!(written.write_concern, Some(WriteConcern::majority()));
    assert!(written.check_write_concern_error);
}
