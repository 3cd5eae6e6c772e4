use bson::{Bson, Document, doc};

use super::{Lookup, Matcher, same};

struct Known;

impl Lookup for Known {
    fn entity(&self, name: &str) -> Result<Bson, String> {
        (name == "id")
            .then_some(Bson::Int32(7))
            .ok_or_else(|| format!("no entity {name}"))
    }

    fn lsid(&self, name: &str) -> Result<Document, String> {
        (name == "session0")
            .then(|| doc! { "id": "x" })
            .ok_or_else(|| format!("no session {name}"))
    }
}

fn check(expected: Document, actual: Document) -> Result<(), String> {
    Matcher::new(&Known).check(&expected.into(), Some(&actual.into()), true)
}

fn matches(expected: Document, actual: Document) -> bool {
    check(expected, actual).is_ok()
}

#[test]
fn only_root_documents_may_have_more_fields() {
    assert!(matches(doc! { "x": 1 }, doc! { "x": 1, "y": 1 }));
    assert!(!matches(doc! { "x": 1, "y": 1 }, doc! { "x": 1 }));
    assert!(!matches(
        doc! { "x": { "y": 1 } },
        doc! { "x": { "y": 1, "z": 1 } }
    ));
    assert!(!matches(
        doc! { "x": [{ "y": 1 }] },
        doc! { "x": [{ "y": 1, "z": 1 }] }
    ));
    let root = doc! { "x": { "$$matchAsRoot": { "y": 1 } } };
    assert!(matches(root, doc! { "x": { "y": 1, "z": 1 } }));
}

#[test]
fn a_mismatch_says_where_it_is() {
    let error = check(doc! { "a": [1, { "b": 2 }] }, doc! { "a": [1, { "b": 3 }] });
    assert_eq!(error.unwrap_err(), "a[1].b: 3, expected 2");
}

#[test]
fn numbers_are_compared_by_value_and_decimals_are_not() {
    assert!(matches(doc! { "x": 1 }, doc! { "x": 1.0 }));
    assert!(matches(doc! { "x": 1_i64 }, doc! { "x": 1 }));
    assert!(!matches(doc! { "x": 1 }, doc! { "x": 1.5 }));
    assert!(!matches(doc! { "x": i64::MAX }, doc! { "x": i64::MAX - 1 }));
    let decimal: bson::Decimal128 = "1".parse().unwrap();
    assert!(!matches(doc! { "x": 1 }, doc! { "x": decimal }));
    assert!(!matches(doc! { "x": 1 }, doc! { "x": "1" }));
}

#[test]
fn keys_have_no_order_and_arrays_have_one() {
    assert!(matches(
        doc! { "d": { "a": 1, "b": 2 } },
        doc! { "d": { "b": 2, "a": 1 } }
    ));
    assert!(!matches(doc! { "l": [1, 2] }, doc! { "l": [2, 1] }));
    assert!(!matches(doc! { "l": [1, 2] }, doc! { "l": [1, 2, 3] }));
}

#[test]
fn null_is_there_and_missing_is_not() {
    let exists = |wanted: bool| doc! { "x": { "$$exists": wanted } };
    assert!(matches(exists(true), doc! { "x": null }));
    assert!(!matches(exists(false), doc! { "x": null }));
    assert!(matches(exists(false), doc! {}));
    assert!(!matches(doc! { "x": null }, doc! {}));
}

#[test]
fn unset_or_matches_keeps_the_roots_freedom() {
    let wanted = doc! { "$$unsetOrMatches": { "x": { "$$unsetOrMatches": 1 } } };
    assert!(matches(wanted.clone(), doc! { "x": 1, "y": 1 }));
    assert!(matches(wanted.clone(), doc! {}));
    assert!(!matches(wanted.clone(), doc! { "x": 2 }));
    assert!(
        Matcher::new(&Known)
            .check(&wanted.into(), None, true)
            .is_ok()
    );
}

#[test]
fn types_are_those_of_the_query_operator() {
    let of = |types: Bson| doc! { "x": { "$$type": types } };
    assert!(matches(of("string".into()), doc! { "x": "a" }));
    assert!(!matches(of("string".into()), doc! { "x": 1 }));
    assert!(matches(of("number".into()), doc! { "x": 1_i64 }));
    let either = Bson::Array(vec!["int".into(), "long".into()]);
    assert!(matches(of(either.clone()), doc! { "x": 1_i64 }));
    assert!(!matches(of(either), doc! { "x": 1.0 }));
    assert!(!matches(of("nonsense".into()), doc! { "x": 1 }));
    assert!(!matches(of("string".into()), doc! {}));
}

#[test]
fn references_are_looked_up() {
    let entity = |name: &str| doc! { "x": { "$$matchesEntity": name } };
    assert!(matches(entity("id"), doc! { "x": 7_i64 }));
    assert!(!matches(entity("id"), doc! { "x": 8 }));
    assert!(!matches(entity("other"), doc! { "x": 7 }));
    let session = |name: &str| doc! { "lsid": { "$$sessionLsid": name } };
    assert!(matches(session("session0"), doc! { "lsid": { "id": "x" } }));
    assert!(!matches(
        session("session0"),
        doc! { "lsid": { "id": "y" } }
    ));
    assert!(!matches(
        session("session1"),
        doc! { "lsid": { "id": "x" } }
    ));
}

#[test]
fn limits_bytes_and_texts_have_operators() {
    assert!(matches(doc! { "x": { "$$lte": 5 } }, doc! { "x": 5.0 }));
    assert!(!matches(doc! { "x": { "$$lte": 5 } }, doc! { "x": 6 }));
    assert!(matches(doc! { "x": { "$$gte": 5 } }, doc! { "x": 5 }));
    assert!(!matches(doc! { "x": { "$$gte": 5 } }, doc! { "x": 4_i64 }));
    let binary = bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: vec![0x12, 0xab],
    };
    let hex = |text: &str| doc! { "x": { "$$matchesHexBytes": text } };
    assert!(matches(hex("12AB"), doc! { "x": binary.clone() }));
    assert!(!matches(hex("12AC"), doc! { "x": binary }));
    let text = doc! { "x": { "$$matchAsDocument": { "a": 1 } } };
    assert!(matches(text.clone(), doc! { "x": r#"{"a": 1}"# }));
    assert!(!matches(text.clone(), doc! { "x": r#"{"a": 1, "b": 2}"# }));
    let root = doc! { "x": { "$$matchAsDocument": { "$$matchAsRoot": { "a": 1 } } } };
    assert!(matches(root, doc! { "x": r#"{"a": 1, "b": 2}"# }));
    assert!(!matches(doc! { "x": { "$$nonsense": 1 } }, doc! { "x": 1 }));
}

#[test]
fn an_outcome_matches_exactly_but_for_the_order_of_keys() {
    let same = |a: Document, b: Document| same(&a.into(), &b.into());
    assert!(same(doc! { "a": 1, "b": 2 }, doc! { "b": 2, "a": 1 }));
    assert!(!same(doc! { "a": 1 }, doc! { "a": 1, "b": 2 }));
    assert!(!same(doc! { "a": [1] }, doc! { "a": [2] }));
}
