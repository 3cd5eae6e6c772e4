//! Random documents, written and read in every way there is.

use bson::{
    Binary, DateTime, Decimal128, JavaScriptCodeWithScope, RawArrayBuf, RawBson, RawDocumentBuf,
    Regex, Timestamp, oid::ObjectId, raw::CString, spec::BinarySubtype,
};

use super::*;
use crate::{nesting::tests::nested, rng::Rng};

fn text(rng: &mut Rng) -> String {
    const PARTS: [&str; 8] = [
        "",
        "a",
        "name",
        "ü",
        "日本",
        "\u{1f600}",
        "long text ",
        "$x",
    ];
    (0..rng.below(6)).map(|_| PARTS[rng.below(8)]).collect()
}

fn c_string(rng: &mut Rng) -> CString {
    CString::try_from(text(rng)).unwrap()
}

fn id(rng: &mut Rng) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
    ObjectId::from_bytes(bytes)
}

fn bytes(rng: &mut Rng) -> Vec<u8> {
    (0..rng.below(20)).map(|_| rng.next_u64() as u8).collect()
}

/// A value of any type but `DbPointer`, which the `bson` crate does not let us make.
pub(super) fn value(rng: &mut Rng, depth: usize) -> Bson {
    match rng.below(if depth == 0 { 18 } else { 22 }) {
        0 => Bson::Double(f64::from_bits(rng.next_u64())),
        1 | 2 => Bson::String(text(rng)),
        3 => {
            let subtype = [0, 1, 3, 4, 5, 6, 7, 0x80, 0xff][rng.below(9)];
            Bson::Binary(Binary {
                subtype: BinarySubtype::from(subtype),
                bytes: bytes(rng),
            })
        }
        4 => Bson::ObjectId(id(rng)),
        5 => Bson::Boolean(rng.below(2) == 1),
        6 => Bson::DateTime(DateTime::from_millis(rng.next_u64() as i64)),
        7 => Bson::Null,
        8 => {
            let mut options: Vec<char> = "imx".chars().filter(|_| rng.below(2) == 1).collect();
            options.sort_unstable();
            Bson::RegularExpression(Regex {
                pattern: c_string(rng),
                options: CString::try_from(String::from_iter(options)).unwrap(),
            })
        }
        9 => Bson::JavaScriptCode(text(rng)),
        10 => Bson::Symbol(text(rng)),
        11 => Bson::Int32(rng.next_u64() as i32),
        12 => Bson::Timestamp(Timestamp {
            time: rng.next_u64() as u32,
            increment: rng.next_u64() as u32,
        }),
        13 => Bson::Int64(rng.next_u64() as i64),
        14 => {
            let half = rng.next_u64().to_le_bytes();
            Bson::Decimal128(Decimal128::from_bytes(
                [half, half].concat().try_into().unwrap(),
            ))
        }
        15 => Bson::MinKey,
        16 => Bson::MaxKey,
        17 => Bson::Undefined,
        18 => Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: text(rng),
            scope: document(rng, depth - 1),
        }),
        19 => Bson::Array((0..rng.below(14)).map(|_| value(rng, depth - 1)).collect()),
        _ => Bson::Document(document(rng, depth - 1)),
    }
}

pub(super) fn document(rng: &mut Rng, depth: usize) -> Document {
    (0..rng.below(8))
        .map(|n| (format!("{}{n}", text(rng)), value(rng, depth)))
        .collect()
}

/// Every type, plain: no name begins with `$`, which would make another type of a map.
fn tree(document: &Document) -> String {
    format!("{document:?}")
}

#[test]
fn random_documents_are_written_as_the_bson_crate_does() {
    let mut rng = Rng::from_seed(1);
    let mut typed = 0;
    for _ in 0..4_000 {
        let document = document(&mut rng, 3);
        let expected = bson::serialize_to_vec(&document).unwrap();
        let mut direct = b"before".to_vec();
        super::super::document::write(&document, &mut direct).unwrap();
        assert_eq!(direct[6..], expected);
        let mut through_serde = Vec::new();
        if ser::append(&document, &mut through_serde).is_ok() {
            assert_eq!(through_serde, expected);
            typed += 1;
        }
        through_serde.clear();
        append(&document, &mut through_serde).unwrap();
        assert_eq!(through_serde, expected);
    }
    assert!(typed > 1_000, "{typed}");
}

#[test]
fn random_documents_are_read_as_the_bson_crate_does() {
    let mut rng = Rng::from_seed(2);
    for _ in 0..4_000 {
        let document = document(&mut rng, 3);
        let bytes = bson::serialize_to_vec(&document).unwrap();
        let raw = RawDocument::from_bytes(&bytes).unwrap();
        assert_eq!(tree(&read_tree(raw).unwrap()), tree(&document));
        both_read::<Document>(&bytes);
        both_read::<Bson>(&bytes);
        both_read::<RawDocumentBuf>(&bytes);
        both_read::<&RawDocument>(&bytes);
        both_read::<std::collections::BTreeMap<String, Bson>>(&bytes);
        both_read::<std::collections::BTreeMap<&str, RawBson>>(&bytes);
        both_read::<serde::de::IgnoredAny>(&bytes);
        for (key, value) in &document {
            let found = get(&bytes, key).unwrap();
            assert_eq!(format!("{found:?}"), format!("{:?}", Some(value)));
            assert!(fast_get(&bytes, key).is_ok());
        }
    }
}

#[test]
fn random_values_are_appended_as_elements() {
    let mut rng = Rng::from_seed(3);
    for _ in 0..2_000 {
        let value = value(&mut rng, 2);
        let expected = bson::serialize_to_vec(&Document::from_iter([("k".into(), value.clone())]));
        let expected = expected.unwrap();
        let (mut direct, mut through_serde) = (vec![9], vec![9]);
        append_bson("k", &value, &mut direct).unwrap();
        append_element("k", &value, &mut through_serde).unwrap();
        assert_eq!(direct[1..], expected[4..expected.len() - 1]);
        assert_eq!(through_serde, direct);
    }
}

#[test]
fn what_only_the_bson_crate_can_write_is_left_to_it() {
    // The only way to a `DbPointer` is to read one.
    let bytes = b"\x1a\0\0\0\x0ca\0\x02\0\0\0b\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\0";
    let raw = RawDocument::from_bytes(bytes).unwrap();
    let document = to_document(raw).unwrap();
    let mut out = Vec::new();
    append_document(&document, &mut out).unwrap();
    assert_eq!(out, bytes);
    out.clear();
    append(&document, &mut out).unwrap();
    assert_eq!(out, bytes);
    out.clear();
    append_bson("a", &document["a"], &mut out).unwrap();
    assert_eq!(out, bytes[4..bytes.len() - 1]);
    both_read::<Document>(bytes);
    both_read::<std::collections::BTreeMap<String, RawBson>>(bytes);

    let old = Document::from_iter([(
        "old".to_owned(),
        Bson::Binary(Binary {
            subtype: BinarySubtype::BinaryOld,
            bytes: vec![1, 2],
        }),
    )]);
    let expected = bson::serialize_to_vec(&old).unwrap();
    assert_eq!(to_raw(&old).unwrap().as_bytes(), expected);
    assert_eq!(
        to_document(RawDocument::from_bytes(&expected).unwrap()).unwrap(),
        old
    );
    both_read::<Document>(&expected);
}

#[test]
fn long_arrays_have_decimal_names() {
    let list: Vec<i32> = (0..12_345).collect();
    both_write(&bson::doc! { "list": &list });
    let document = bson::doc! { "list": list };
    let expected = bson::serialize_to_vec(&document).unwrap();
    assert_eq!(to_raw(&document).unwrap().as_bytes(), expected);
    both_read::<RawArrayHolder>(&expected);
}

#[derive(Debug, Deserialize)]
struct RawArrayHolder {
    #[expect(dead_code, reason = "only printed")]
    list: RawArrayBuf,
}

#[test]
fn a_name_with_a_nul_is_refused() {
    let document = bson::doc! { "a\0b": 1 };
    neither_writes(&document);
    let mut out = b"before".to_vec();
    assert!(append_document(&document, &mut out).is_err());
    assert!(append_bson("a\0", &Bson::Null, &mut out).is_err());
    assert!(append_element("a\0", &1, &mut out).is_err());
    assert_eq!(out, b"before");
}

/// On the ordinary stack of a test, without optimisation.
#[test]
fn the_fast_ways_need_little_stack_at_their_deepest() {
    let deepest = nested(usize::from(LEVELS_MAX), 3);
    de::from_slice::<Document>(deepest.as_bytes(), LEVELS_MAX).unwrap();
    read_tree(&deepest).unwrap();
    let deeper = nested(usize::from(LEVELS_MAX) + 1, 3);
    assert!(de::from_slice::<Document>(deeper.as_bytes(), LEVELS_MAX).is_err());
}

/// The `bson` crate needs some 20 KiB of stack for each level where it is not optimised.
#[test]
fn documents_are_read_as_deep_as_is_allowed_and_no_deeper() {
    let check = std::thread::Builder::new().stack_size(32 << 20);
    check.spawn(read_deep_documents).unwrap().join().unwrap();
}

fn read_deep_documents() {
    for kind in [3, 4] {
        let deepest = nested(nesting::DEPTH_MAX, kind);
        let too_deep = nested(nesting::DEPTH_MAX + 1, kind);
        let millions = nested(2_000_000, kind);
        let quick = nested(usize::from(LEVELS_MAX), kind);
        both_read::<Document>(quick.as_bytes());
        both_read::<serde::de::IgnoredAny>(quick.as_bytes());
        assert!(read_tree(&quick).is_ok());
        let tree = Document::try_from(deepest.as_ref()).unwrap();
        assert_eq!(from_slice::<Document>(deepest.as_bytes()).unwrap(), tree);
        assert_eq!(to_document(&deepest).unwrap(), tree);
        assert!(from_slice::<serde::de::IgnoredAny>(deepest.as_bytes()).is_ok());
        for refused in [&too_deep, &millions] {
            let bytes = refused.as_bytes();
            assert_eq!(de::from_slice::<Document>(bytes, LEVELS_MAX), Err(Fail));
            assert_eq!(read_tree(refused), Err(Fail));
            for error in [
                from_slice::<Document>(bytes).unwrap_err(),
                from_slice::<serde::de::IgnoredAny>(bytes).unwrap_err(),
                to_document(refused).unwrap_err(),
                get(bytes, "0").unwrap_err(),
            ] {
                assert!(error.to_string().contains("levels deep"), "{error}");
            }
        }
    }
}
