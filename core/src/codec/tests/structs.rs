//! Fields of structs: in any order, missing, unknown, twice, under other names.

use bson::doc;

use super::*;

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only printed")]
struct Fields {
    #[serde(rename = "_id")]
    id: i32,
    #[serde(alias = "title", alias = "Name")]
    name: Option<String>,
    #[serde(default)]
    age: i32,
    #[serde(default, rename = "größe")]
    size: Option<f64>,
    #[serde(default)]
    nested: Option<Box<Self>>,
    #[serde(default)]
    last: bool,
}

/// As [`Fields`], but nothing else may be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only printed")]
struct Strict {
    a: i32,
    b: Option<i32>,
    c: Option<i32>,
    d: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only printed")]
enum Variant {
    Struct { a: i32, b: Option<i32> },
}

/// Every order of some elements.
fn orders<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    if of.is_empty() {
        return vec![vec![]];
    }
    let mut out = Vec::new();
    for index in 0..of.len() {
        let mut rest = of.to_vec();
        let first = rest.remove(index);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            out.push(order);
        }
    }
    out
}

fn encoded(elements: &[(&str, Bson)]) -> Vec<u8> {
    let mut out = vec![0; 4];
    for (name, value) in elements {
        append_bson(name, value, &mut out).unwrap();
    }
    out.push(0);
    let len = out.len() as i32;
    out[..4].copy_from_slice(&len.to_le_bytes());
    out
}

#[test]
fn fields_come_in_any_order() {
    let nested = doc! { "age": 2, "_id": 3, "Name": "n", "last": false };
    let all = [
        ("_id", Bson::from(1)),
        ("name", "é".into()),
        ("age", 5.into()),
        ("größe", 1.5.into()),
        ("nested", nested.into()),
        ("last", true.into()),
    ];
    for order in orders(&all) {
        both_read::<Fields>(&encoded(&order));
    }
}

#[test]
fn fields_may_be_missing_or_unknown() {
    for present in 0..64_u32 {
        let names = ["_id", "x", "title", "age", "unknown", "last"];
        let values = [
            1.into(),
            2.into(),
            "t".into(),
            3.into(),
            Bson::Null,
            true.into(),
        ];
        let elements: Vec<_> = (0..6)
            .filter(|n| present & (1 << n) != 0)
            .map(|n| (names[n], values[n].clone()))
            .collect();
        let bytes = encoded(&elements);
        if present & 1 == 1 {
            both_read::<Fields>(&bytes);
        } else {
            neither_reads::<Fields>(&bytes);
        }
    }
}

#[test]
fn a_strict_struct_takes_its_own_fields_once() {
    for present in 0..16_u32 {
        let names = ["a", "b", "c", "d"];
        let mut elements: Vec<_> = (0..4)
            .filter(|n| present & (1 << n) != 0)
            .map(|n| (names[n], Bson::from(n as i32)))
            .collect();
        if present & 1 == 0 {
            neither_reads::<Strict>(&encoded(&elements));
            continue;
        }
        both_read::<Strict>(&encoded(&elements));
        for extra in ["a", "b", "aa", "", "e"] {
            let known = elements.iter().any(|(name, _)| *name == extra);
            elements.push((extra, Bson::Null));
            if known || extra != "b" {
                neither_reads::<Strict>(&encoded(&elements));
            } else {
                both_read::<Strict>(&encoded(&elements));
            }
            elements.pop();
        }
    }
}

#[test]
fn struct_variants_are_structs() {
    both_read::<Variant>(&encoded(&[("Struct", doc! { "a": 1, "b": 2 }.into())]));
    both_read::<Variant>(&encoded(&[(
        "Struct",
        doc! { "b": 1, "x": 0, "a": 2 }.into(),
    )]));
    neither_reads::<Variant>(&encoded(&[("Struct", doc! { "b": 1 }.into())]));
}

/// One byte of a name, of a known field or not, is made one that UTF-8 never has.
#[test]
fn names_that_are_not_utf8_are_refused_wherever_they_are() {
    let good = encoded(&[
        ("_id", 1.into()),
        ("other", 1.into()),
        ("age", 2.into()),
        ("größe", 1.5.into()),
    ]);
    both_read::<Fields>(&good);
    for name in ["_id", "other", "age", "größe"] {
        let at = good
            .windows(name.len())
            .position(|w| w == name.as_bytes())
            .unwrap();
        for index in at..at + name.len() {
            let mut bad = good.clone();
            bad[index] = 0xff;
            neither_reads::<Fields>(&bad);
        }
    }
}
