//! The BSON corpus: what the `bson` crate makes of valid and broken BSON and Extended JSON, and what
//! the client's codec makes of the BSON.

use std::str::FromStr;

use bson::{Bson, Decimal128, Document, RawDocument, RawDocumentBuf};
use mongo_client_core::codec;
use serde_json::Value;

use super::{
    Report, SpecFile, Suite, in_folder,
    value::{self, expect_eq},
};

/// The files of the corpus.
pub const SUITE: Suite = Suite {
    name: "bson-corpus",
    matches: |file| in_folder(file, "bson_corpus"),
    run,
};

/// `Decimal128::from_str` of `bson` 3.1 (written for RUST-1592) takes these for numbers. Its own
/// corpus test does not notice, as it never gives them to that function.
const DECIMAL_TOO_LENIENT: &str = "bson 3.1: Decimal128::from_str (RUST-1592) accepts it";

/// What `bson` 3.1 does otherwise: the start of the case's name, and why.
const KNOWN: &[(&str, &str)] = &[
    (
        "valid: Y10K",
        "bson 3.1: relaxed dates after 9999 need feature large_dates (RUST-2057)",
    ),
    (
        "parseErrors: Bad $date (number, not string or hash)",
        "bson 3.1: the legacy form is accepted on purpose (RUST-2174)",
    ),
    ("parseErrors: 2 signs: \"-+32.4\"", DECIMAL_TOO_LENIENT),
    ("parseErrors: Empty string", DECIMAL_TOO_LENIENT),
    (
        "parseErrors: Exponent at the beginning",
        DECIMAL_TOO_LENIENT,
    ),
    ("parseErrors: Just a decimal place", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx501]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx503]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx505]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx519]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx525]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx549]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx577]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx578]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx581]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx582]", DECIMAL_TOO_LENIENT),
    ("parseErrors: [basx583]", DECIMAL_TOO_LENIENT),
];

fn run(file: &SpecFile, report: &mut Report) {
    let cases = |list: &str| file.json[list].as_array().cloned().unwrap_or_default();
    for (list, check) in [
        (
            "valid",
            check_valid as fn(&Value, &Value) -> Result<(), String>,
        ),
        ("decodeErrors", check_decode_error),
        ("parseErrors", check_parse_error),
    ] {
        for case in cases(list) {
            let name = case["description"].as_str().unwrap_or_default();
            let name = match case["string"].as_str() {
                Some(text) => format!("{list}: {name}: {text:?}"),
                None => format!("{list}: {name}"),
            };
            let known = KNOWN.iter().find(|(start, _)| name.starts_with(start));
            let Some((_, why)) = known else {
                report.case(&name, || check(&file.json, &case));
                continue;
            };
            match check(&file.json, &case) {
                Err(_) => report.skip(&name, *why),
                Ok(()) => report.case(&name, || Err("passes: remove it from KNOWN".to_owned())),
            }
        }
    }
}

fn check_valid(_: &Value, case: &Value) -> Result<(), String> {
    let text = |field: &str| case[field].as_str();
    let canonical = bytes(&case["canonical_bson"])?;
    let lossy = case["lossy"].as_bool() == Some(true);
    let document = decode(&canonical)?;
    expect_eq("encoded", &encode(&document)?, &canonical)?;
    let raw = RawDocumentBuf::from_bytes(canonical.clone()).map_err(|e| e.to_string())?;
    let from_raw = Document::try_from(raw.as_ref()).map_err(|e| e.to_string())?;
    expect_eq("encoded from raw", &encode(&from_raw)?, &canonical)?;
    check_codec(&canonical, &canonical)?;
    if let Some(degenerate) = case.get("degenerate_bson") {
        let again = encode(&decode(&bytes(degenerate)?)?)?;
        expect_eq("degenerate BSON", &again, &canonical)?;
        check_codec(&bytes(degenerate)?, &canonical)?;
    }
    let canonical_json = json(text("canonical_extjson").ok_or("no canonical_extjson")?)?;
    let told = Bson::Document(document.clone()).into_canonical_extjson();
    expect_eq("canonical JSON", normal(told), normal(canonical_json))?;
    for field in ["canonical_extjson", "degenerate_extjson"] {
        let Some(source) = text(field) else {
            continue;
        };
        let parsed = value::document(&json(source)?)?;
        let told = Bson::Document(parsed.clone()).into_canonical_extjson();
        let wanted = json(text("canonical_extjson").unwrap_or_default())?;
        expect_eq(field, normal(told), normal(wanted))?;
        if !lossy {
            expect_eq(field, &encode(&parsed)?, &canonical)?;
        }
    }
    if let Some(relaxed) = text("relaxed_extjson") {
        let told = Bson::Document(document).into_relaxed_extjson();
        expect_eq("relaxed JSON", told, json(relaxed)?)?;
        let parsed = value::bson(&json(relaxed)?)?;
        expect_eq(
            "relaxed again",
            parsed.into_relaxed_extjson(),
            json(relaxed)?,
        )?;
    }
    Ok(())
}

/// The codec reads `bytes`, and writes `canonical` out of what it read, each in every way it has.
fn check_codec(bytes: &[u8], canonical: &[u8]) -> Result<(), String> {
    let raw = RawDocument::from_bytes(bytes).map_err(|e| e.to_string())?;
    let document = codec::to_document(raw).map_err(|e| e.to_string())?;
    expect_eq("read as a tree", &*encode(&document)?, canonical)?;
    let raw = codec::to_raw(&document).map_err(|e| e.to_string())?;
    expect_eq("written from a tree", raw.as_bytes(), canonical)?;
    let mut out = Vec::new();
    codec::append(&document, &mut out).map_err(|e| e.to_string())?;
    expect_eq("written through serde", &*out, canonical)?;
    // Through serde, names such as `$oid` make another type of a map.
    let read: Result<Document, _> = codec::from_slice(bytes);
    let expected: Result<Document, _> = bson::deserialize_from_slice(bytes);
    expect_eq("readable", read.is_ok(), expected.is_ok())?;
    if let (Ok(read), Ok(expected)) = (read, expected) {
        expect_eq("read through serde", encode(&read)?, encode(&expected)?)?;
    }
    Ok(())
}

fn check_decode_error(_: &Value, case: &Value) -> Result<(), String> {
    let bytes = bytes(&case["bson"])?;
    if let Ok(document) = RawDocument::from_bytes(&bytes) {
        if let Ok(document) = codec::to_document(document) {
            return Err(format!("the codec reads {document}"));
        }
        if let Ok(document) = codec::from_slice::<Document>(&bytes) {
            return Err(format!("the codec reads {document} through serde"));
        }
    }
    match decode(&bytes) {
        Ok(document) => Err(format!("decoded as {document}")),
        Err(_) => Ok(()),
    }
}

fn check_parse_error(file: &Value, case: &Value) -> Result<(), String> {
    let text = case["string"].as_str().ok_or("no string")?;
    if file["bson_type"] == "0x13" {
        return match Decimal128::from_str(text) {
            Ok(number) => Err(format!("parsed as {number}")),
            Err(_) => Ok(()),
        };
    }
    // A null byte in a name is only refused where it would be written.
    let encoded = json(text).and_then(|v| encode(&value::document(&v)?));
    match encoded {
        Ok(bytes) => Err(format!("parsed as {:?}", decode(&bytes))),
        Err(_) => Ok(()),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// The same JSON with one spelling for each double.
fn normal(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let double = value.as_str().and_then(|s| s.parse::<f64>().ok());
                match double {
                    Some(double) if name == "$numberDouble" => (name, format!("{double:?}").into()),
                    _ => (name, normal(value)),
                }
            })
            .collect(),
        other => other,
    }
}

fn decode(bytes: &[u8]) -> Result<Document, String> {
    let mut rest = bytes;
    let document = Document::from_reader(&mut rest).map_err(|e| e.to_string())?;
    expect_eq("bytes left over", rest.len(), 0)?;
    Ok(document)
}

fn encode(document: &Document) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    document.to_writer(&mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

/// Reads hexadecimal digits.
///
/// # Errors
///
/// A text that says what is wrong.
pub(super) fn bytes(hex: &Value) -> Result<Vec<u8>, String> {
    let hex = hex.as_str().ok_or("no hexadecimal text")?;
    (0..hex.len() / 2)
        .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).map_err(|e| e.to_string()))
        .collect()
}

#[test]
fn bson_corpus_files_pass() {
    super::assert_suite(&SUITE);
}
