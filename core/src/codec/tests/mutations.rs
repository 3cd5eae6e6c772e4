//! A million mutated inputs: where the fast way gives a value, the `bson` crate gives the same.

use bson::{RawDocumentBuf, oid::ObjectId};

use super::{documents::document, *};
use crate::rng::Rng;

/// For each of the three ways to read.
const INPUTS: usize = 334_000;

/// Changes one to three places of `input`.
fn mutate(input: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(3) {
        let at = rng.below(input.len().max(1));
        let value = rng.next_u64() as u8;
        match rng.below(9) {
            0..=2 if at < input.len() => input[at] ^= 1 << (value & 7),
            3 if at < input.len() => input[at] = value,
            4 if at < input.len() => input[at] = [0, 0xff, 0x7f, 0x80][usize::from(value & 3)],
            5 if at < input.len() => input[at] = value % 0x14,
            6 => input.truncate(at),
            7 if input.len() < 2048 => {
                let end = (at + rng.below(32)).min(input.len());
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ => input.insert(at, value),
        }
    }
    // Mostly make the length fit again, or nothing behind it would be looked at.
    if rng.below(8) > 0 && input.len() >= 5 {
        let len = input.len() as i32;
        input[..4].copy_from_slice(&len.to_le_bytes());
        *input.last_mut().unwrap() = 0;
    }
}

/// Some of the fields that random documents have, as many types as there are.
#[derive(Debug, PartialEq, Deserialize)]
struct Typed {
    #[serde(default)]
    a: Option<i32>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    id: Option<ObjectId>,
    #[serde(default)]
    at: Option<bson::DateTime>,
    #[serde(default)]
    list: Vec<Choice>,
    #[serde(default)]
    inner: Option<Box<Self>>,
    #[serde(default)]
    raw: Option<RawDocumentBuf>,
    #[serde(default)]
    float: Option<f64>,
    #[serde(default)]
    flag: Option<bool>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Choice {
    Number(i64),
    Text(String),
    Map { x: u8 },
    Any(Bson),
}

fn typed() -> Vec<u8> {
    let document = bson::doc! {
        "a": 5, "name": "ünï", "id": ObjectId::from_bytes([7; 12]), "float": 0.5, "flag": true,
        "at": bson::DateTime::from_millis(1_700_000_000_000),
        "list": [1_i64, "two", { "x": 3 }, { "y": null }, [1.5]],
        "inner": { "a": 6, "list": [], "raw": { "x": 1 }, "other": [1, { "z": "ignored" }] },
        "raw": { "a": [1, 2], "b": "c" }, "unknown": { "deep": [{ "er": true }] },
    };
    bson::serialize_to_vec(&document).unwrap()
}

/// Runs a share of the inputs; `agree` tells whether the fast way gave a value, and `slow` what the
/// `bson` crate makes of an input.
fn run<T: Debug>(
    seed: u64,
    agree: impl Fn(&[u8]) -> bool,
    slow: impl Fn(&[u8]) -> bson::error::Result<T>,
) {
    let mut rng = Rng::from_seed(seed);
    let mut seeds: Vec<Vec<u8>> = (0..200)
        .map(|_| bson::serialize_to_vec(&document(&mut rng, 2)).unwrap())
        .collect();
    seeds.extend(std::iter::repeat_n(typed(), 100));
    let (mut read, mut failed) = (0, 0);
    for n in 0..INPUTS {
        let mut input = seeds[n % seeds.len()].clone();
        mutate(&mut input, &mut rng);
        if agree(&input) {
            read += 1;
        } else {
            failed += 1;
            // The other direction: giving up is allowed, but these inputs have no reason for it.
            if let Ok(slow) = slow(&input) {
                panic!("only the bson crate reads {input:?}: {slow:?}");
            }
        }
    }
    let least = INPUTS / 20;
    assert!(
        read > least && failed > least,
        "{read} read, {failed} failed"
    );
}

#[test]
fn mutated_documents_are_read_as_trees_as_the_bson_crate_does() {
    let slow = |input: &[u8]| RawDocument::from_bytes(input).and_then(Document::try_from);
    run(4, agree_as_tree, slow);
}

#[test]
fn mutated_documents_are_read_through_serde_as_the_bson_crate_does() {
    let slow = |input: &[u8]| bson::deserialize_from_slice::<Document>(input);
    run(5, agree_in_value::<Document>, slow);
}

#[test]
fn mutated_documents_are_read_as_structs_as_the_bson_crate_does() {
    let slow = |input: &[u8]| bson::deserialize_from_slice::<Typed>(input);
    run(6, agree_in_value::<Typed>, slow);
}

/// As [`agree`], without making text of values that are equal.
fn agree_in_value<T: serde::de::DeserializeOwned + Debug + PartialEq>(input: &[u8]) -> bool {
    let Ok(fast) = de::from_slice::<T>(input, LEVELS_MAX) else {
        return false;
    };
    let slow: T = bson::deserialize_from_slice(input).expect("the fast way gave a value");
    same_value(&fast, &slow);
    true
}

#[track_caller]
fn same_value<T: Debug + PartialEq>(fast: &T, slow: &T) {
    // NaN is not equal to itself, but its text is.
    if fast != slow {
        assert_eq!(format!("{fast:?}"), format!("{slow:?}"));
    }
}

/// The conversion without serde.
fn agree_as_tree(input: &[u8]) -> bool {
    let Ok(raw) = RawDocument::from_bytes(input) else {
        assert!(walk::Elements::new(input).is_err());
        return false;
    };
    let Ok(fast) = read_tree(raw) else {
        return false;
    };
    let slow = Document::try_from(raw).expect("the fast way gave a value");
    same_value(&fast, &slow);
    true
}
