//! BSON values as the server sees them: one order over all types, arithmetic, type names, and the
//! notation of its error messages.

use std::cmp::Ordering;

use bson::{Bson, Document, spec::ElementType};

/// Compares two values in the order that sorts and range queries use.
pub(crate) fn compare(a: &Bson, b: &Bson) -> Ordering {
    rank(a).cmp(&rank(b)).then_with(|| within_type(a, b))
}

/// A value's place among the types; equal for types that compare with each other.
pub(crate) fn rank(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 0,
        Bson::Undefined => 1,
        Bson::Null => 5,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => 10,
        Bson::String(_) | Bson::Symbol(_) => 15,
        Bson::Document(_) => 20,
        Bson::Array(_) => 25,
        Bson::Binary(_) => 30,
        Bson::ObjectId(_) => 35,
        Bson::Boolean(_) => 40,
        Bson::DateTime(_) => 45,
        Bson::Timestamp(_) => 47,
        Bson::RegularExpression(_) => 50,
        Bson::DbPointer(_) => 55,
        Bson::JavaScriptCode(_) => 60,
        Bson::JavaScriptCodeWithScope(_) => 65,
        Bson::MaxKey => 127,
    }
}

fn within_type(a: &Bson, b: &Bson) -> Ordering {
    match (a, b) {
        (Bson::Document(a), Bson::Document(b)) => documents(a, b),
        (Bson::Array(a), Bson::Array(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| compare(a, b));
            let first = pairs.into_iter().find(|order| order.is_ne());
            first.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Bson::Binary(a), Bson::Binary(b)) => (a.bytes.len(), u8::from(a.subtype), &a.bytes)
            .cmp(&(b.bytes.len(), u8::from(b.subtype), &b.bytes)),
        (Bson::ObjectId(a), Bson::ObjectId(b)) => a.cmp(b),
        (Bson::Boolean(a), Bson::Boolean(b)) => a.cmp(b),
        (Bson::DateTime(a), Bson::DateTime(b)) => a.cmp(b),
        (Bson::Timestamp(a), Bson::Timestamp(b)) => {
            (a.time, a.increment).cmp(&(b.time, b.increment))
        }
        _ => match (text(a), text(b)) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => numbers(a, b),
        },
    }
}

fn documents(a: &Document, b: &Document) -> Ordering {
    for ((a_key, a_value), (b_key, b_value)) in a.iter().zip(b) {
        let order = rank(a_value)
            .cmp(&rank(b_value))
            .then_with(|| a_key.cmp(b_key))
            .then_with(|| within_type(a_value, b_value));
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn text(value: &Bson) -> Option<&str> {
    match value {
        Bson::String(text) | Bson::Symbol(text) | Bson::JavaScriptCode(text) => Some(text),
        _ => None,
    }
}

fn numbers(a: &Bson, b: &Bson) -> Ordering {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => float(b).map_or(Ordering::Equal, |b| integer_with_float(a, b)),
        (None, Some(b)) => float(a).map_or(Ordering::Equal, |a| integer_with_float(b, a).reverse()),
        (None, None) => match (float(a), float(b)) {
            (Some(a), Some(b)) => floats(a, b),
            _ => Ordering::Equal,
        },
    }
}

/// Compares without losing the low bits of a large integer. NaN is the least number.
fn integer_with_float(a: i64, b: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() || b < -LIMIT {
        return Ordering::Greater;
    }
    if b >= LIMIT {
        return Ordering::Less;
    }
    a.cmp(&(b.trunc() as i64))
        .then_with(|| floats(0.0, b.fract()))
}

fn floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        _ => None,
    }
}

/// A number as a float; `None` for what is no number. Decimals lose digits.
pub(crate) fn float(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(n) => Some(*n),
        Bson::Decimal128(n) => n.to_string().parse().ok(),
        _ => None,
    }
}

/// A whole number of any numeric type.
pub(crate) fn whole(value: &Bson) -> Option<i64> {
    integer(value).or_else(|| match value {
        Bson::Double(n) if n.fract() == 0.0 && n.abs() < 9e18 => Some(*n as i64),
        _ => None,
    })
}

/// The truth of an option: numbers count as in C.
pub(crate) fn truthy(value: &Bson) -> bool {
    match value {
        Bson::Boolean(b) => *b,
        Bson::Null | Bson::Undefined => false,
        other => float(other) != Some(0.0),
    }
}

/// An operation on two numbers; the result has the wider type, and 32 bits widen when they
/// overflow. `None` when 64 bits overflow, or for what cannot be computed here.
pub(crate) fn arithmetic(
    a: &Bson,
    b: &Bson,
    whole: fn(i64, i64) -> Option<i64>,
    real: fn(f64, f64) -> f64,
) -> Option<Bson> {
    if let (Some(x), Some(y)) = (integer(a), integer(b)) {
        let result = whole(x, y)?;
        let small = matches!((a, b), (Bson::Int32(_), Bson::Int32(_)));
        return Some(match i32::try_from(result) {
            Ok(result) if small => Bson::Int32(result),
            _ => Bson::Int64(result),
        });
    }
    match (a, b) {
        (Bson::Decimal128(_), _) | (_, Bson::Decimal128(_)) => None,
        _ => Some(Bson::Double(real(float(a)?, float(b)?))),
    }
}

/// The alias of a value's type.
pub(crate) fn type_name(value: &Bson) -> &'static str {
    match value.element_type() {
        ElementType::Double => "double",
        ElementType::String => "string",
        ElementType::EmbeddedDocument => "object",
        ElementType::Array => "array",
        ElementType::Binary => "binData",
        ElementType::Undefined => "undefined",
        ElementType::ObjectId => "objectId",
        ElementType::Boolean => "bool",
        ElementType::DateTime => "date",
        ElementType::Null => "null",
        ElementType::RegularExpression => "regex",
        ElementType::DbPointer => "dbPointer",
        ElementType::JavaScriptCode => "javascript",
        ElementType::Symbol => "symbol",
        ElementType::JavaScriptCodeWithScope => "javascriptWithScope",
        ElementType::Int32 => "int",
        ElementType::Timestamp => "timestamp",
        ElementType::Int64 => "long",
        ElementType::Decimal128 => "decimal",
        ElementType::MaxKey => "maxKey",
        ElementType::MinKey => "minKey",
    }
}

/// A value as the server's error messages show it.
pub(crate) fn show(value: &Bson) -> String {
    match value {
        Bson::Document(document) => show_document(document),
        Bson::Array(values) if values.is_empty() => "[]".to_owned(),
        Bson::Array(values) => {
            let values: Vec<String> = values.iter().map(show).collect();
            format!("[ {} ]", values.join(", "))
        }
        Bson::String(text) => format!("\"{text}\""),
        Bson::Null => "null".to_owned(),
        Bson::ObjectId(id) => format!("ObjectId('{}')", id.to_hex()),
        Bson::Double(n) if n.fract() == 0.0 => format!("{n:.1}"),
        other => other.to_string(),
    }
}

/// A document as the server's error messages show it.
pub(crate) fn show_document(document: &Document) -> String {
    if document.is_empty() {
        return "{}".to_owned();
    }
    let fields: Vec<String> = document
        .iter()
        .map(|(key, value)| format!("{key}: {}", show(value)))
        .collect();
    format!("{{ {} }}", fields.join(", "))
}

/// A value that orders by [`compare`]: the key of an index.
#[derive(Clone, Debug)]
pub(crate) struct Key(pub(crate) Bson);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;

    #[test]
    fn the_order_goes_by_type_first_and_numbers_compare_across_types() {
        let sorted = [
            Bson::MinKey,
            Bson::Null,
            Bson::Double(f64::NAN),
            Bson::Int32(-1),
            Bson::Double(0.5),
            Bson::Int64(i64::MAX - 1),
            Bson::Int64(i64::MAX),
            Bson::Double(1e19),
            Bson::String("a".into()),
            bson!({ "a": 1 }),
            bson!({ "b": 0 }),
            bson!([1]),
            Bson::Boolean(false),
            Bson::Boolean(true),
            Bson::MaxKey,
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
        assert!(compare(&Bson::Int32(1), &Bson::Double(1.0)).is_eq());
    }

    #[test]
    fn small_integers_widen_and_large_ones_refuse() {
        let add = |a, b| arithmetic(&a, &b, i64::checked_add, |a, b| a + b);
        assert_eq!(add(Bson::Int32(1), Bson::Int32(2)), Some(Bson::Int32(3)));
        let widened = Bson::Int64(i64::from(i32::MAX) + 1);
        assert_eq!(add(Bson::Int32(i32::MAX), Bson::Int32(1)), Some(widened));
        assert_eq!(add(Bson::Int64(i64::MAX), Bson::Int32(1)), None);
        assert_eq!(
            add(Bson::Int32(1), Bson::Double(0.5)),
            Some(Bson::Double(1.5))
        );
    }

    #[test]
    fn messages_show_values_in_the_servers_notation() {
        let document = doc! { "x": 5, "y": [1, null, "s"], "z": {} };
        assert_eq!(
            show_document(&document),
            "{ x: 5, y: [ 1, null, \"s\" ], z: {} }"
        );
    }
}
