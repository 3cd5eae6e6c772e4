use bson::doc;

use super::*;

fn matches(filter: Document, document: &Document) -> bool {
    Filter::parse(&filter, &Scope::default())
        .unwrap()
        .matches(document)
}

fn failure(filter: Document) -> String {
    Filter::parse(&filter, &Scope::default())
        .unwrap_err()
        .message
}

#[test]
fn comparisons_keep_to_the_type_of_their_operand() {
    let document = doc! { "n": 5, "s": "x", "nil": null };
    for (filter, expected) in [
        (doc! { "n": 5.0 }, true),
        (doc! { "n": { "$gt": 4, "$lt": 6 } }, true),
        (doc! { "n": { "$gt": "a" } }, false),
        (doc! { "n": { "$gte": 5, "$lte": 5 } }, true),
        (doc! { "s": { "$ne": "x" } }, false),
        (doc! { "nil": null }, true),
        (doc! { "absent": null }, true),
        (doc! { "absent": { "$gt": 0 } }, false),
        (doc! { "absent": { "$gt": Bson::MinKey } }, true),
        (doc! { "nil": { "$exists": true } }, true),
        (doc! { "absent": { "$exists": false } }, true),
        (doc! { "n": { "$in": [1, 5] } }, true),
        (doc! { "n": { "$nin": [1, 5] } }, false),
        (doc! { "absent": { "$nin": [1] } }, true),
        (doc! { "n": { "$not": { "$gt": 7 } } }, true),
        (doc! { "n": { "$type": "number" } }, true),
        (doc! { "s": { "$type": 2 } }, true),
        (doc! { "$or": [{ "n": 1 }, { "s": "x" }] }, true),
        (doc! { "$nor": [{ "n": 1 }, { "s": "x" }] }, false),
        (doc! { "$and": [{ "n": 5 }, { "s": "y" }] }, false),
    ] {
        assert_eq!(matches(filter.clone(), &document), expected, "{filter}");
    }
}

#[test]
fn paths_go_through_documents_and_the_elements_of_arrays() {
    let document = doc! { "a": [{ "b": 1, "c": [7, 8] }, { "b": 2 }], "t": [1, 2, 3], "e": [] };
    for (filter, expected) in [
        (doc! { "a.b": 2 }, true),
        (doc! { "a.0.b": 1 }, true),
        (doc! { "a.1.b": 1 }, false),
        (doc! { "a.c": 8 }, true),
        (doc! { "a.c": null }, true),
        (doc! { "t": 2 }, true),
        (doc! { "t": [1, 2, 3] }, true),
        (doc! { "t": [1, 2] }, false),
        (doc! { "t.2": 3 }, true),
        (doc! { "t": { "$size": 3 } }, true),
        (doc! { "t": { "$all": [1, 3] } }, true),
        (doc! { "t": { "$all": [] } }, false),
        (doc! { "t": { "$elemMatch": { "$gt": 1, "$lt": 3 } } }, true),
        (doc! { "t": { "$elemMatch": { "$gt": 3 } } }, false),
        (doc! { "t": { "$gt": 2, "$lt": 2 } }, true),
        (doc! { "a": { "$elemMatch": { "b": 1, "c": 7 } } }, true),
        (doc! { "a": { "$elemMatch": { "b": 2, "c": 7 } } }, false),
        (doc! { "t": { "$not": { "$gt": 2 } } }, false),
        (doc! { "t": { "$type": "array" } }, true),
        (doc! { "e": { "$size": 0 } }, true),
        (doc! { "t.x": null }, false),
    ] {
        assert_eq!(matches(filter.clone(), &document), expected, "{filter}");
    }
}

#[test]
fn errors_are_those_of_the_server_and_what_is_left_out_says_so() {
    assert_eq!(
        failure(doc! { "a": { "$bogus": 1 } }),
        "unknown operator: $bogus"
    );
    assert_eq!(
        failure(doc! { "a": { "$regex": "x" } }),
        "not simulated: $regex"
    );
    assert_eq!(failure(doc! { "$where": "x" }), "not simulated: $where");
    assert_eq!(failure(doc! { "$and": 1 }), "$and must be an array");
    let deep = (0..200).fold(doc! { "a": 1 }, |inner, _| doc! { "$and": [inner] });
    assert_eq!(failure(deep), "exceeded maximum query tree depth of 100");
    for operator in OPERATORS {
        assert!(!LEFT_OUT.contains(operator), "{operator}");
    }
}
