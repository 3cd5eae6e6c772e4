//! Verbs that write.

use bson::{Document, doc};
use mongo_client_core::{
    concern::WriteConcern,
    op::{Retryability, Target},
};

use super::{body, invalid, scope, statements};
use crate::{
    action::{delete, find_and_modify, insert_one, update},
    options::{
        Collation, DeleteOptions, FindOneAndDeleteOptions, FindOneAndReplaceOptions,
        FindOneAndUpdateOptions, Hint, InsertOneOptions, ReplaceOptions, ReturnDocument,
        UpdateModifications, UpdateOptions,
    },
};

fn set() -> UpdateModifications {
    doc! { "$set": { "x": 1 } }.into()
}

#[test]
fn an_insert_carries_its_document_beside_the_command() {
    let document = bson::serialize_to_vec(&doc! { "_id": 1 }).unwrap();
    let options = InsertOneOptions::builder()
        .bypass_document_validation(true)
        .write_concern(WriteConcern::nodes(0))
        .build();
    let spec = insert_one::build(&scope(), document.into(), Some(&options)).unwrap();
    let expected = doc! { "insert": "coll", "ordered": true, "bypassDocumentValidation": true };
    assert_eq!(body(&spec), expected);
    assert_eq!(statements(&spec, "documents"), [doc! { "_id": 1 }]);
    assert!(!spec.is_acknowledged());
    assert_eq!(spec.retryability, Retryability::Write);
    assert!(!spec.check_write_concern_error && spec.read_concern.is_none());
}

#[test]
fn an_update_of_one_is_retried_and_an_update_of_many_is_not() {
    let one = update::build(&scope(), &doc! { "a": 1 }, &set(), false, None).unwrap();
    assert_eq!(body(&one), doc! { "update": "coll", "ordered": true });
    let statement = doc! { "q": { "a": 1 }, "u": { "$set": { "x": 1 } } };
    assert_eq!(statements(&one, "updates"), [statement]);
    assert_eq!(one.retryability, Retryability::Write);
    assert_eq!(one.write_concern, Some(WriteConcern::majority()));
    assert!(matches!(one.target, Target::Write));

    let many = update::build(&scope(), &doc! {}, &set(), true, None).unwrap();
    let statement = doc! { "q": {}, "u": { "$set": { "x": 1 } }, "multi": true };
    assert_eq!(statements(&many, "updates"), [statement]);
    assert_eq!(many.retryability, Retryability::None);
}

#[test]
fn update_sends_every_option() {
    let options = UpdateOptions::builder()
        .array_filters(vec![doc! { "e": 1 }])
        .bypass_document_validation(false)
        .collation(Collation::builder().locale("fr").build())
        .hint(Hint::from("h"))
        .let_vars(doc! { "v": 1 })
        .sort(doc! { "s": 1 })
        .upsert(true)
        .build();
    let spec = update::build(&scope(), &doc! {}, &set(), false, Some(&options)).unwrap();
    let statement = doc! {
        "q": {}, "u": { "$set": { "x": 1 } }, "upsert": true, "arrayFilters": [{ "e": 1 }],
        "collation": { "locale": "fr" }, "hint": "h", "sort": { "s": 1 },
    };
    assert_eq!(statements(&spec, "updates"), [statement]);
    let expected = doc! {
        "update": "coll", "ordered": true, "bypassDocumentValidation": false, "let": { "v": 1 },
    };
    assert_eq!(body(&spec), expected);
    let message = invalid(update::build(
        &scope(),
        &doc! {},
        &set(),
        true,
        Some(&options),
    ));
    assert!(message.contains("sort"), "{message}");
}

#[test]
fn an_update_may_be_a_pipeline() {
    let stages = vec![doc! { "$set": { "x": "$y" } }, doc! { "$unset": "y" }];
    let update = UpdateModifications::from(stages.clone());
    let spec = update::build(&scope(), &doc! {}, &update, false, None).unwrap();
    assert_eq!(
        statements(&spec, "updates"),
        [doc! { "q": {}, "u": stages }]
    );
}

#[test]
fn updates_have_operators_and_replacements_do_not() {
    for bad in [
        doc! {}.into(),
        doc! { "x": 1 }.into(),
        Vec::<Document>::new().into(),
    ] {
        let message = invalid(update::build(&scope(), &doc! {}, &bad, false, None));
        assert!(message.starts_with("update"), "{message}");
        let message = invalid(find_and_modify::build_update(&scope(), &doc! {}, bad, None));
        assert!(message.starts_with("update"), "{message}");
    }
    let message = invalid(update::encode_replacement(&doc! { "$set": {} }));
    assert!(message.starts_with("replacement"), "{message}");
    assert!(update::encode_replacement(&doc! {}).is_ok());
}

#[test]
fn a_replacement_is_sent_whole() {
    let replacement = update::encode_replacement(&doc! { "x": 1 }).unwrap();
    let options = ReplaceOptions::builder().upsert(true).build();
    let spec =
        update::build_replace(&scope(), &doc! { "_id": 1 }, &replacement, Some(&options)).unwrap();
    let statement = doc! { "q": { "_id": 1 }, "u": { "x": 1 }, "upsert": true };
    assert_eq!(statements(&spec, "updates"), [statement]);
    assert_eq!(spec.retryability, Retryability::Write);
}

#[test]
fn a_delete_of_one_is_retried_and_a_delete_of_many_is_not() {
    let options = DeleteOptions::builder().hint(Hint::from("h")).build();
    let one = delete::build(&scope(), &doc! { "a": 1 }, false, Some(&options)).unwrap();
    assert_eq!(body(&one), doc! { "delete": "coll", "ordered": true });
    let statement = doc! { "q": { "a": 1 }, "limit": 1, "hint": "h" };
    assert_eq!(statements(&one, "deletes"), [statement]);
    assert_eq!(one.retryability, Retryability::Write);
    let many = delete::build(&scope(), &doc! {}, true, None).unwrap();
    assert_eq!(statements(&many, "deletes"), [doc! { "q": {}, "limit": 0 }]);
    assert_eq!(many.retryability, Retryability::None);
}

#[test]
fn the_three_ways_to_find_and_modify() {
    let filter = doc! { "a": 1 };
    let options = FindOneAndDeleteOptions::builder()
        .sort(doc! { "s": 1 })
        .build();
    let spec = find_and_modify::build_delete(&scope(), &filter, (), Some(&options)).unwrap();
    let expected = doc! {
        "findAndModify": "coll", "query": { "a": 1 }, "remove": true, "sort": { "s": 1 },
    };
    assert_eq!(body(&spec), expected);
    assert_eq!(spec.retryability, Retryability::Write);
    assert!(spec.check_write_concern_error);

    let options = FindOneAndReplaceOptions::builder()
        .return_document(ReturnDocument::After)
        .projection(doc! { "p": 1 })
        .build();
    let replacement = update::encode_replacement(&doc! { "x": 1 });
    let spec =
        find_and_modify::build_replace(&scope(), &filter, replacement, Some(&options)).unwrap();
    let expected = doc! {
        "findAndModify": "coll", "query": { "a": 1 }, "update": { "x": 1 }, "new": true,
        "fields": { "p": 1 },
    };
    assert_eq!(body(&spec), expected);

    let options = FindOneAndUpdateOptions::builder()
        .return_document(ReturnDocument::Before)
        .array_filters(vec![doc! { "e": 1 }])
        .upsert(false)
        .build();
    let spec = find_and_modify::build_update(&scope(), &filter, set(), Some(&options)).unwrap();
    let expected = doc! {
        "findAndModify": "coll", "query": { "a": 1 }, "update": { "$set": { "x": 1 } },
        "arrayFilters": [{ "e": 1 }], "upsert": false,
    };
    assert_eq!(body(&spec), expected);
}

#[test]
fn an_inconsistent_write_concern_is_refused_before_anything_is_sent() {
    let mut concern = WriteConcern::nodes(0);
    concern.journal = Some(true);
    let options = DeleteOptions::builder().write_concern(concern).build();
    let message = invalid(delete::build(&scope(), &doc! {}, false, Some(&options)));
    assert!(message.contains("write concern"), "{message}");
}

#[test]
fn a_hint_of_an_unacknowledged_write_needs_a_server_that_knows_it() {
    for (nodes, refused) in [(0, true), (1, false)] {
        let concern = WriteConcern::nodes(nodes);
        let options = DeleteOptions::builder()
            .hint(Hint::from("h"))
            .write_concern(concern.clone())
            .build();
        let spec = delete::build(&scope(), &doc! {}, false, Some(&options)).unwrap();
        assert_eq!(spec.requirement.is_some(), refused, "delete, w: {nodes}");
        let options = FindOneAndDeleteOptions::builder()
            .hint(Hint::from("h"))
            .write_concern(concern)
            .build();
        let filter = doc! {};
        let spec = find_and_modify::build_delete(&scope(), &filter, (), Some(&options)).unwrap();
        assert_eq!(
            spec.requirement.is_some(),
            refused,
            "findAndModify, w: {nodes}"
        );
    }
    let options = DeleteOptions::builder()
        .write_concern(WriteConcern::nodes(0))
        .build();
    let spec = delete::build(&scope(), &doc! {}, false, Some(&options)).unwrap();
    assert!(spec.requirement.is_none());
}
