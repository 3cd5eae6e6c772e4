//! BSON binary vectors (subtype 9).

use bson::{Bson, Document, binary::Vector};
use serde_json::Value;

use super::{
    Report, SpecFile, Suite, bson_corpus, in_folder,
    value::{self, expect_eq},
};

/// The files of the specification.
pub const SUITE: Suite = Suite {
    name: "bson-binary-vector",
    matches: |file| in_folder(file, "bson_binary_vector"),
    run,
};

fn run(file: &SpecFile, report: &mut Report) {
    let key = file.json["test_key"].as_str().unwrap_or_default();
    for case in file.json["tests"].as_array().into_iter().flatten() {
        let name = case["description"].as_str().unwrap_or_default();
        report.case(name, || run_case(key, case));
    }
}

fn run_case(key: &str, case: &Value) -> Result<(), String> {
    let built = case.get("vector").map(|_| build(case));
    let bytes = case.get("canonical_bson").map(bson_corpus::bytes);
    let bytes = bytes.transpose()?;
    let decoded = bytes.as_deref().map(|bytes| decode(key, bytes));
    if case["valid"].as_bool() != Some(true) {
        for (what, result) in [("built", built), ("decoded", decoded)] {
            if let Some(Ok(vector)) = result {
                return Err(format!("{what}: {vector:?}"));
            }
        }
        return Ok(());
    }
    let built = built.ok_or("no vector")??;
    expect_eq("decoded", &decoded.ok_or("no bytes")??, &built)?;
    let mut document = Document::new();
    document.insert(key, Bson::from(built));
    let mut encoded = Vec::new();
    document
        .to_writer(&mut encoded)
        .map_err(|e| e.to_string())?;
    expect_eq("encoded", Some(encoded), bytes)
}

fn decode(key: &str, mut bytes: &[u8]) -> Result<Vector, String> {
    let document = Document::from_reader(&mut bytes).map_err(|e| e.to_string())?;
    match document.get(key) {
        Some(Bson::Binary(binary)) => Vector::try_from(binary).map_err(|e| e.to_string()),
        other => Err(format!("not binary: {other:?}")),
    }
}

/// Builds the vector from the numbers of a case; what Rust's types refuse is an error, too.
fn build(case: &Value) -> Result<Vector, String> {
    let padding = case["padding"].as_i64().unwrap_or(0);
    let padding = u8::try_from(padding).map_err(|e| e.to_string())?;
    let items = case["vector"].as_array().ok_or("no vector")?;
    let numbers: Result<Vec<f64>, String> = items
        .iter()
        .map(|item| match value::bson(item)? {
            Bson::Double(n) => Ok(n),
            Bson::Int32(n) => Ok(n.into()),
            Bson::Int64(n) => Ok(n as f64),
            other => Err(format!("not a number: {other}")),
        })
        .collect();
    let numbers = numbers?;
    let whole = |n: &f64, least: i64, most: i64| {
        let fits = n.fract() == 0.0 && *n >= least as f64 && *n <= most as f64;
        fits.then_some(*n as i64)
            .ok_or_else(|| format!("{n} is out of range"))
    };
    match case["dtype_alias"].as_str().unwrap_or_default() {
        alias @ ("FLOAT32" | "INT8") if padding != 0 => Err(format!("{alias} has no padding")),
        "FLOAT32" => Ok(Vector::Float32(numbers.iter().map(|n| *n as f32).collect())),
        "INT8" => {
            let items: Result<Vec<i8>, String> = numbers
                .iter()
                .map(|n| whole(n, i8::MIN.into(), i8::MAX.into()).map(|n| n as i8))
                .collect();
            Ok(Vector::Int8(items?))
        }
        "PACKED_BIT" => {
            let items: Result<Vec<u8>, String> = numbers
                .iter()
                .map(|n| whole(n, 0, u8::MAX.into()).map(|n| n as u8))
                .collect();
            let packed = bson::binary::PackedBitVector::new(items?, padding);
            packed.map(Vector::PackedBit).map_err(|e| e.to_string())
        }
        other => Err(format!("dtype {other}")),
    }
}

#[test]
fn bson_binary_vector_files_pass() {
    super::assert_suite(&SUITE);
}
