//! Types as users write them, through serde.

use std::{borrow::Cow, collections::BTreeMap};

use bson::{
    Binary, DateTime, Decimal128, RawArray, RawArrayBuf, RawBson, RawBsonRef, RawDocument,
    RawDocumentBuf, Regex, Timestamp, Utf8Lossy, Uuid, doc, oid::ObjectId, rawdoc,
    serde_helpers::HumanReadable, spec::BinarySubtype,
};

use super::*;

/// Writes a value and reads it again, each in both ways.
#[track_caller]
fn round_trip<T: Serialize + for<'de> Deserialize<'de> + Debug>(value: &T) {
    let bytes = both_write(value);
    both_read::<T>(&bytes);
    both_read::<Document>(&bytes);
    let again: T = from_slice(&bytes).unwrap();
    assert_eq!(format!("{again:?}"), format!("{value:?}"));
}

fn one(value: impl Into<Bson>) -> Vec<u8> {
    bson::serialize_to_vec(&Document::from_iter([("v".to_owned(), value.into())])).unwrap()
}

#[derive(Debug, Serialize, Deserialize)]
struct One<T> {
    v: T,
}

fn regex() -> Regex {
    Regex {
        pattern: bson::raw::CString::try_from("p".to_owned()).unwrap(),
        options: bson::raw::CString::try_from("ix".to_owned()).unwrap(),
    }
}

fn some_id() -> ObjectId {
    ObjectId::from_bytes([0x5f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xff])
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Everything {
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
    f32: f32,
    f64: f64,
    bool: bool,
    char: char,
    string: String,
    some: Option<String>,
    none: Option<i32>,
    nested: Option<Option<i32>>,
    unit: (),
    tuple: (i32, String, Option<bool>),
    array: [u8; 3],
    list: Vec<Vec<i64>>,
    map: BTreeMap<String, Vec<Plain>>,
    newtype: New,
    pair: Pair,
    empty: Empty,
    id: ObjectId,
    ids: Vec<ObjectId>,
    at: DateTime,
    time: Timestamp,
    decimal: Decimal128,
    binary: Binary,
    other_binary: Binary,
    uuid: Uuid,
    bson: Bson,
    document: Document,
    raw: RawDocumentBuf,
    raw_array: RawArrayBuf,
    raw_bson: RawBson,
    boxed: Box<Plain>,
    shared: Cow<'static, str>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Plain {
    a: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct New(i64);
#[derive(Debug, Serialize, Deserialize)]
struct Pair(i32, String);
#[derive(Debug, Serialize, Deserialize)]
struct Empty;

fn everything() -> Everything {
    Everything {
        i8: -8,
        i16: -16,
        i32: -32,
        i64: i64::MIN,
        u8: 8,
        u16: 16,
        u32: u32::MAX,
        u64: i64::MAX as u64,
        f32: 0.5,
        f64: -0.1,
        bool: true,
        char: 'ß',
        string: "text".into(),
        some: Some(String::new()),
        none: None,
        nested: Some(Some(1)),
        unit: (),
        tuple: (1, "2".into(), None),
        array: [1, 2, 3],
        list: vec![vec![], vec![1, 2], (0..120).collect()],
        map: BTreeMap::from([("k".into(), vec![Plain::default(), Plain::default()])]),
        newtype: New(7),
        pair: Pair(1, "p".into()),
        empty: Empty,
        id: some_id(),
        ids: vec![some_id(); 2],
        at: DateTime::from_millis(-62_135_596_800_001),
        time: Timestamp {
            time: u32::MAX,
            increment: 1,
        },
        decimal: "1.5E+10".parse().unwrap(),
        binary: Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![1, 2],
        },
        other_binary: Binary {
            subtype: BinarySubtype::UserDefined(0x85),
            bytes: vec![3; 40],
        },
        uuid: Uuid::from_bytes([9; 16]),
        bson: Bson::Array(vec![
            Bson::MaxKey,
            Bson::MinKey,
            Bson::Null,
            Bson::Undefined,
        ]),
        document: doc! { "x": { "at": DateTime::from_millis(5), "id": some_id() } },
        raw: rawdoc! { "r": 1 },
        raw_array: RawArrayBuf::from_iter([1, 2]),
        raw_bson: RawBson::Int32(3),
        boxed: Box::new(Plain {
            a: 1,
            b: Some("b".into()),
        }),
        shared: "shared".into(),
    }
}

#[test]
fn every_kind_of_field_goes_there_and_back() {
    round_trip(&everything());
}

#[test]
fn a_field_of_the_wrong_type_is_the_same_error() {
    let good = bson::serialize_to_document(&Plain::default()).unwrap();
    both_read::<Plain>(&bson::serialize_to_vec(&good).unwrap());
    for wrong in [
        Bson::Null,
        Bson::from("x"),
        Bson::from(1.5),
        Bson::from(i64::MAX),
    ] {
        let bytes = bson::serialize_to_vec(&doc! { "a": wrong }).unwrap();
        neither_reads::<Plain>(&bytes);
    }
    neither_reads::<Plain>(&bson::serialize_to_vec(&doc! {}).unwrap());
    let mut extra = bson::serialize_to_document(&everything()).unwrap();
    extra.insert("extra", 1);
    neither_reads::<Everything>(&bson::serialize_to_vec(&extra).unwrap());
}

/// Every value against every type: both read it, with the same result, or neither does.
#[test]
fn any_value_is_read_as_any_type_in_the_same_way() {
    let values: Vec<Bson> = vec![
        Bson::Int32(5),
        Bson::Int32(-1),
        Bson::Int32(300),
        Bson::Int64(5),
        Bson::Int64(1 << 40),
        Bson::Double(5.0),
        Bson::Double(0.5),
        Bson::from("5"),
        Bson::from("A"),
        Bson::from(""),
        Bson::Boolean(true),
        Bson::Null,
        Bson::ObjectId(some_id()),
        Bson::MinKey,
        Bson::MaxKey,
        Bson::DateTime(DateTime::from_millis(-5)),
        Bson::Undefined,
        Bson::Symbol("s".into()),
        Bson::from("5f01020304050607080910ff"),
        Bson::JavaScriptCode("c".into()),
        Bson::Timestamp(Timestamp {
            time: 7,
            increment: 8,
        }),
        Bson::Decimal128("1.5".parse().unwrap()),
        Bson::from(vec![1, 2, 3]),
        Bson::from(vec![some_id()]),
        Bson::from(vec!["A", "b"]),
        Bson::Array(vec![]),
        Bson::RegularExpression(regex()),
        Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![1; 12],
        }),
        Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: b"text".to_vec(),
        }),
        Bson::Binary(Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![1; 16],
        }),
        Bson::Binary(Binary {
            subtype: BinarySubtype::UuidOld,
            bytes: vec![1; 16],
        }),
        Bson::Binary(Binary {
            subtype: BinarySubtype::BinaryOld,
            bytes: vec![1; 3],
        }),
        Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
            code: "c".into(),
            scope: doc! { "s": some_id() },
        }),
        doc! {}.into(),
        doc! { "a": 1 }.into(),
        doc! { "A": null }.into(),
        doc! { "B": 5 }.into(),
        doc! { "C": [1, "2"] }.into(),
        doc! { "D": { "x": 1 } }.into(),
        doc! { "t": "A" }.into(),
        doc! { "t": "D", "x": 1 }.into(),
        doc! { "t": "D", "c": { "x": 1 } }.into(),
        doc! { "B": 5, "C": 6 }.into(),
        doc! { "$oid": "5f01020304050607080910ff" }.into(),
        doc! { "$date": 5_i64 }.into(),
        doc! { "$date": "2020-01-01T00:00:00Z" }.into(),
        doc! { "$numberLong": "5" }.into(),
        doc! { "x": 1, "$symbol": "s" }.into(),
        doc! { "$code": "c", "$scope": { "$scope": {} } }.into(),
        doc! { "$ref": "c", "$id": some_id() }.into(),
        doc! { "x": [{ "y": { "$maxKey": 1 } }, { "y": [some_id()] }], "z": Bson::MinKey }.into(),
        vec![doc! { "x": some_id() }, doc! { "$uuid": "-" }].into(),
        doc! { "v": { "v": [{ "v": 1.5 }] } }.into(),
        doc! { "$oid": 5 }.into(),
    ];
    for value in values {
        let bytes = one(value);
        macro_rules! as_types {
            ($($type:ty),* $(,)?) => {$(same::<One<$type>>(&bytes);)*};
        }
        as_types!(
            i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, f32, f64, bool, char, String, (),
            Option<i32>, Option<String>, Option<()>, (i32, i32, i32), [String; 2], Vec<i32>,
            Vec<String>, Vec<ObjectId>, Vec<u8>, BTreeMap<String, i32>,
            BTreeMap<String, String>, BTreeMap<String, BTreeMap<String, Hex>>,
            BTreeMap<String, Hex>, BTreeMap<String, Option<String>>, BTreeMap<String, Untagged>,
            BTreeMap<ObjectId, i32>, BTreeMap<External, Bson>, BTreeMap<char, Bson>,
            BTreeMap<i32, Bson>, BTreeMap<String, serde::de::IgnoredAny>,
            BTreeMap<String, BTreeMap<String, Untagged>>, BTreeMap<String, RawBson>,
            ObjectId, DateTime, Timestamp, Decimal128, Binary, Regex, Uuid, Bson, Document,
            Vec<Bson>, Vec<Document>, Option<Document>, BTreeMap<String, Vec<Document>>,
            bson::JavaScriptCodeWithScope, bson::DbPointer, RawDocumentBuf, RawArrayBuf, RawBson,
            New, Pair, Empty, Plain, Hex, External, Internal, Adjacent, Untagged, Flat,
            Utf8Lossy<String>, Utf8Lossy<Bson>, Utf8Lossy<Document>, Utf8Lossy<RawBson>,
            Utf8Lossy<External>, HumanReadable<ObjectId>, HumanReadable<Document>,
            HumanReadable<RawBson>, HumanReadable<Asks>, Asks, serde::de::IgnoredAny,
            Box<One<Box<One<Vec<One<f64>>>>>>,
        );
        macro_rules! as_borrowed {
            ($($type:ty),* $(,)?) => {$(same::<One<$type>>(&bytes);)*};
        }
        as_borrowed!(
            &str, &[u8], &RawDocument, &RawArray, RawBsonRef<'_>, Cow<'_, str>, Option<&str>,
            bson::raw::RawBinaryRef<'_>, bson::raw::RawRegexRef<'_>, BTreeMap<&str, &str>,
            BTreeMap<&str, RawBsonRef<'_>>, Cow<'_, RawDocument>,
            bson::raw::RawDbPointerRef<'_>, bson::raw::RawJavaScriptCodeWithScopeRef<'_>,
        );
    }
}

/// Reads in both ways: the same value, or an error in both.
#[track_caller]
fn same<'de, T: Deserialize<'de> + Debug>(bytes: &'de [u8]) {
    if !agree::<T>(bytes)
        && let Ok(value) = bson::deserialize_from_slice::<T>(bytes)
    {
        panic!("only the bson crate reads it: {value:?}");
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Hex(String);

/// What the deserializer says about itself.
#[derive(Debug)]
struct Asks(#[expect(dead_code, reason = "only printed")] bool);

impl<'de> Deserialize<'de> for Asks {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let human_readable = d.is_human_readable();
        Bson::deserialize(d)?;
        Ok(Self(human_readable))
    }
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
enum External {
    A,
    B(i32),
    C(i32, String),
    D { x: i32 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Internal {
    A,
    D { x: i32 },
    E(Plain),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    A,
    C(i32, String),
    D { x: i32 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Id(ObjectId),
    At(DateTime),
    Text(String),
    Map { x: i32 },
    Any(Bson),
}

#[derive(Debug, Serialize, Deserialize)]
struct Flat {
    #[serde(default)]
    a: Option<Bson>,
    #[serde(flatten)]
    plain: BTreeMap<String, Bson>,
}

#[test]
fn enums_of_all_kinds_go_there_and_back() {
    round_trip(&One {
        v: vec![
            External::A,
            External::B(5),
            External::C(6, "c".into()),
            External::D { x: 7 },
        ],
    });
    let plain = Plain { a: 1, b: None };
    round_trip(&One {
        v: vec![Internal::A, Internal::D { x: 1 }, Internal::E(plain)],
    });
    let adjacent = [
        Adjacent::A,
        Adjacent::C(1, "2".into()),
        Adjacent::D { x: 3 },
    ];
    round_trip(&One {
        v: Vec::from(adjacent),
    });
    round_trip(&One {
        v: vec![
            Untagged::Number(5),
            Untagged::Text("t".into()),
            Untagged::Map { x: 6 },
            Untagged::Id(some_id()),
            Untagged::At(DateTime::from_millis(7)),
            Untagged::Any(Bson::Null),
        ],
    });
    round_trip(&External::D { x: 1 });
    round_trip(&External::B(1));
    round_trip(&External::C(1, "c".into()));
    round_trip(&Internal::D { x: 1 });
    round_trip(&Flat {
        a: None,
        plain: BTreeMap::from([("b".into(), Bson::from(some_id()))]),
    });
}

#[test]
fn wrappers_with_special_names_are_understood() {
    round_trip(&One {
        v: HumanReadable(some_id()),
    });
    round_trip(&One {
        v: HumanReadable(doc! { "at": DateTime::from_millis(1) }),
    });
    both_write(&One {
        v: Utf8Lossy("text".to_owned()),
    });
    both_write(&One {
        v: RawBsonRef::String("raw"),
    });
    both_write(&One {
        v: &*rawdoc! { "a": [1, { "b": "c" }] },
    });
    both_write(&rawdoc! { "a": 1 });
    both_write(&One {
        v: RawBson::from(some_id()),
    });
    both_write(&One {
        v: Bson::Binary(Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![],
        }),
    });
    let raw = bson::raw::RawBinaryRef {
        subtype: BinarySubtype::Md5,
        bytes: &[1, 2, 3],
    };
    both_write(&One { v: raw });
}

#[test]
fn text_that_is_not_utf8_is_repaired_where_it_is_wanted() {
    for bytes in [
        &b"\x10\0\0\0\x02v\0\x04\0\0\0a\xffb\0\0"[..],
        b"\x12\0\0\0\x02v\0\x06\0\0\0\xe2\x82ab\xf0\0\0",
        b"\x10\0\0\0\x0ev\0\x04\0\0\0a\xffb\0\0",
        b"\x10\0\0\0\x0dv\0\x04\0\0\0a\xffb\0\0",
    ] {
        both_read::<One<Utf8Lossy<Bson>>>(bytes);
        both_read::<Utf8Lossy<Document>>(bytes);
        both_read::<One<RawDocumentOrNothing>>(bytes);
        neither_reads::<One<String>>(bytes);
        neither_reads::<One<serde::de::IgnoredAny>>(bytes);
        neither_reads::<Document>(bytes);
    }
    both_read::<One<Utf8Lossy<String>>>(b"\x10\0\0\0\x02v\0\x04\0\0\0a\xffb\0\0");
}

/// Takes part in the document without looking at its value.
#[derive(Debug)]
struct RawDocumentOrNothing;

impl<'de> Deserialize<'de> for RawDocumentOrNothing {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Ok(Self)
    }
}

#[test]
fn what_cannot_be_a_document_is_the_same_error() {
    neither_writes(&5_i32);
    neither_writes("text");
    neither_writes(&vec![1, 2]);
    neither_writes(&(1, 2));
    neither_writes(&Option::<Plain>::None);
    neither_writes(&External::A);
    neither_writes(&One { v: u64::MAX });
    neither_writes(&BTreeMap::from([(1, 2)]));
    neither_writes(&BTreeMap::from([(Some("a\0b"), 2)]));
    neither_writes(&BTreeMap::from([(External::B(1), 2)]));
    neither_writes(&BTreeMap::from([('c', 2)]));
    both_write(&BTreeMap::from([(External::A, 2)]));
    both_write(&BTreeMap::from([(Hex("h".into()).0, 2)]));
    both_write(&Some(Plain::default()));
    both_write(&New2(Plain::default()));
}

#[derive(Debug, Serialize)]
struct New2(Plain);

/// The short forms of dates and ids, and trees that are built directly, hang on the name of a
/// visitor; see [`names::is_bson_visitor`].
#[test]
fn the_visitor_behind_bson_is_recognised() {
    struct Spy;
    impl serde::de::Visitor<'_> for Spy {
        type Value = ();
        fn expecting(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Ok(())
        }
    }
    assert!(!names::is_bson_visitor::<Spy>());
    struct Probe;
    #[derive(Debug)]
    struct Seen;
    impl std::error::Error for Seen {}
    impl std::fmt::Display for Seen {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Ok(())
        }
    }
    impl serde::de::Error for Seen {
        fn custom<T: std::fmt::Display>(_: T) -> Self {
            Self
        }
    }
    impl<'de> serde::Deserializer<'de> for Probe {
        type Error = Seen;
        fn deserialize_any<V: serde::de::Visitor<'de>>(
            self,
            visitor: V,
        ) -> std::result::Result<V::Value, Seen> {
            assert!(
                names::is_bson_visitor::<V>(),
                "{}",
                std::any::type_name::<V>()
            );
            assert!(cast::is_bson::<V::Value>());
            visitor.visit_unit()
        }
        serde::forward_to_deserialize_any! {
            bool u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 char str string seq bytes byte_buf map
            struct option unit ignored_any unit_struct tuple_struct tuple enum identifier
            newtype_struct
        }
    }
    assert_eq!(Bson::deserialize(Probe).unwrap(), Bson::Null);
    assert!(DateTime::deserialize(Probe).is_err());
}
