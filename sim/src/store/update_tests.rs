use bson::doc;

use super::*;

fn everything() -> Filter {
    Filter::parse(&doc! {}, &Scope::default()).unwrap()
}

fn updated(update: Document, before: &Document) -> Document {
    Update::parse(
        &Bson::Document(update.clone()),
        false,
        None,
        &Scope::default(),
    )
    .and_then(|u| u.apply(before, &everything()))
    .unwrap_or_else(|failure| panic!("{update}: {failure:?}"))
}

fn failure(update: Document, before: &Document) -> (i32, String) {
    let failure = Update::parse(&Bson::Document(update), false, None, &Scope::default())
        .and_then(|u| u.apply(before, &everything()))
        .unwrap_err();
    (failure.code, failure.message)
}

fn upserted(filter: Document, update: Document) -> Document {
    let filter = Filter::parse(&filter, &Scope::default()).unwrap();
    let update = Update::parse(&Bson::Document(update), false, None, &Scope::default()).unwrap();
    update.insert(&filter).unwrap()
}

#[test]
fn each_modifier_changes_its_field() {
    let before = doc! { "_id": 1, "a": 1, "s": "x", "t": [1, 2, 3], "n": { "x": 1 } };
    for (update, path, expected) in [
        (
            doc! { "$set": { "n.y": 2 } },
            "n",
            Some(Bson::from(doc! { "x": 1, "y": 2 })),
        ),
        (doc! { "$unset": { "a": "" } }, "a", None),
        (doc! { "$inc": { "a": 2 } }, "a", Some(Bson::Int32(3))),
        (doc! { "$inc": { "new": 2 } }, "new", Some(Bson::Int32(2))),
        (doc! { "$mul": { "new": 2 } }, "new", Some(Bson::Int32(0))),
        (doc! { "$min": { "a": 0 } }, "a", Some(Bson::Int32(0))),
        (doc! { "$max": { "a": 0 } }, "a", Some(Bson::Int32(1))),
        (
            doc! { "$push": { "t": 4 } },
            "t",
            Some(bson::bson!([1, 2, 3, 4])),
        ),
        (
            doc! { "$push": { "t": { "$each": [4, 5] } } },
            "t",
            Some(bson::bson!([1, 2, 3, 4, 5])),
        ),
        (
            doc! { "$addToSet": { "t": { "$each": [3, 4] } } },
            "t",
            Some(bson::bson!([1, 2, 3, 4])),
        ),
        (
            doc! { "$pull": { "t": { "$gte": 2 } } },
            "t",
            Some(bson::bson!([1])),
        ),
        (doc! { "$pull": { "t": 2 } }, "t", Some(bson::bson!([1, 3]))),
        (doc! { "$rename": { "s": "r" } }, "r", Some(Bson::from("x"))),
        (
            doc! { "$setOnInsert": { "a": 9 } },
            "a",
            Some(Bson::Int32(1)),
        ),
        (
            doc! { "$set": { "t.4": 9 } },
            "t",
            Some(bson::bson!([1, 2, 3, null, 9])),
        ),
        (
            doc! { "$unset": { "t.0": 1 } },
            "t",
            Some(bson::bson!([null, 2, 3])),
        ),
    ] {
        let after = updated(update.clone(), &before);
        assert_eq!(after.get(path), expected.as_ref(), "{update}");
    }
    assert_eq!(updated(doc! { "z": 1 }, &before), doc! { "_id": 1, "z": 1 });
}

#[test]
fn new_fields_come_in_the_order_of_their_paths() {
    let after = updated(
        doc! { "$set": { "z": 1, "b": 2 }, "$inc": { "c": 3 } },
        &doc! { "_id": 1 },
    );
    assert_eq!(after.keys().collect::<Vec<_>>(), ["_id", "b", "c", "z"]);
}

#[test]
fn an_upsert_starts_from_the_equalities_of_its_filter() {
    let filter =
        doc! { "k": 9, "m": { "$gt": 3 }, "$and": [{ "g": 1 }], "z.y": 5, "i": { "$in": [6] } };
    let expected = doc! { "g": 1, "i": 6, "k": 9, "z": { "y": 5 }, "a": 1 };
    assert_eq!(upserted(filter, doc! { "$set": { "a": 1 } }), expected);
    assert_eq!(
        upserted(doc! { "_id": 4, "k": 1 }, doc! { "x": 1 }),
        doc! { "_id": 4, "x": 1 }
    );
    let seen = upserted(doc! { "_id": 4 }, doc! { "$setOnInsert": { "x": 1 } });
    assert_eq!(seen, doc! { "_id": 4, "x": 1 });
}

#[test]
fn errors_are_those_of_the_server() {
    let before = doc! { "_id": 1, "a": 1, "s": "x" };
    for (update, code, message) in [
        (
            doc! { "$inc": { "s": 1 } },
            14,
            "Cannot apply $inc to a value of non-numeric type. {_id: 1} has the field 's' of non-numeric type string",
        ),
        (
            doc! { "$inc": { "a": "x" } },
            14,
            "Cannot increment with non-numeric argument: {a: \"x\"}",
        ),
        (
            doc! { "$set": { "a.b": 1 } },
            28,
            "Cannot create field 'b' in element {a: 1}",
        ),
        (
            doc! { "$set": { "a": 1 }, "$inc": { "a": 1 } },
            40,
            "Updating the path 'a' would create a conflict at 'a'",
        ),
        (
            doc! { "$set": { "_id": 2 } },
            66,
            "Performing an update on the path '_id' would modify the immutable field '_id'",
        ),
        (
            doc! { "_id": 2 },
            66,
            "After applying the update, the (immutable) field '_id' was found to have been altered to _id: 2",
        ),
        (
            doc! { "$pull": { "s": 1 } },
            2,
            "Cannot apply $pull to a non-array value",
        ),
        (
            doc! { "$push": 1 },
            9,
            "Modifiers operate on fields but we found type int instead. For example: {$mod: {<field>: ...}} not {$push: 1}",
        ),
        (
            doc! { "$currentDate": { "a": true } },
            238,
            "not simulated: $currentDate",
        ),
        (
            doc! { "$set": { "a.$[]": 1 } },
            2,
            "Cannot apply array updates to non-array element a: 1",
        ),
    ] {
        assert_eq!(
            failure(update.clone(), &before),
            (code, message.to_owned()),
            "{update}"
        );
    }
}
