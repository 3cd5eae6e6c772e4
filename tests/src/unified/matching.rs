//! Whether an actual value is what a test expects ("Evaluating Matches").
//!
//! Root documents may have more fields than expected, others may not. Numbers are equal by value,
//! except for `Decimal128`. The order of keys does not count.

use bson::{Bson, Document};

/// Finds what operators refer to.
pub trait Lookup {
    /// The BSON entity of that name.
    ///
    /// # Errors
    ///
    /// When there is none.
    fn entity(&self, name: &str) -> Result<Bson, String>;
    /// The `lsid` of the session entity of that name.
    ///
    /// # Errors
    ///
    /// When there is none.
    fn lsid(&self, name: &str) -> Result<Document, String>;
}

/// Compares values; the error says where they differ.
pub struct Matcher<'a, L: Lookup + ?Sized> {
    lookup: &'a L,
    path: Vec<String>,
}

/// The operator that a document is, if it is one.
fn operator(expected: &Bson) -> Option<(&str, &Bson)> {
    let Bson::Document(document) = expected else {
        return None;
    };
    let (name, value) = document.iter().next()?;
    (document.len() == 1 && name.starts_with("$$")).then_some((name.as_str(), value))
}

impl<'a, L: Lookup + ?Sized> Matcher<'a, L> {
    /// Starts at the top of a document.
    pub fn new(lookup: &'a L) -> Self {
        Self {
            lookup,
            path: Vec::new(),
        }
    }

    fn error(&self, what: impl std::fmt::Display) -> String {
        let path = match self.path.concat() {
            path if path.is_empty() => "the value".to_owned(),
            path => path.trim_start_matches('.').to_owned(),
        };
        format!("{path}: {what}")
    }

    fn inside(
        &mut self,
        step: String,
        check: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.path.push(step);
        let result = check(self);
        self.path.pop();
        result
    }

    /// Compares a value, which is `None` where the field is missing.
    ///
    /// # Errors
    ///
    /// A text with the place and both values.
    pub fn check(
        &mut self,
        expected: &Bson,
        actual: Option<&Bson>,
        root: bool,
    ) -> Result<(), String> {
        if let Some((name, value)) = operator(expected) {
            return self.operator(name, value, actual, root);
        }
        let Some(actual) = actual else {
            return Err(self.error(format_args!("missing, expected {expected}")));
        };
        match (expected, actual) {
            (Bson::Document(expected), Bson::Document(actual)) => {
                self.document(expected, actual, root)
            }
            (Bson::Array(expected), Bson::Array(actual)) => {
                if expected.len() != actual.len() {
                    let (want, got) = (expected.len(), actual.len());
                    let shown = Bson::Array(actual.clone());
                    return Err(
                        self.error(format_args!("{got} elements, expected {want}: {shown}"))
                    );
                }
                for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                    self.inside(format!("[{index}]"), |this| {
                        this.check(expected, Some(actual), false)
                    })?;
                }
                Ok(())
            }
            _ if equal(expected, actual) => Ok(()),
            _ => Err(self.error(format_args!("{actual}, expected {expected}"))),
        }
    }

    fn document(
        &mut self,
        expected: &Document,
        actual: &Document,
        root: bool,
    ) -> Result<(), String> {
        for (key, value) in expected {
            self.inside(format!(".{key}"), |this| {
                this.check(value, actual.get(key), false)
            })?;
        }
        if root {
            return Ok(());
        }
        match actual.keys().find(|key| !expected.contains_key(key)) {
            Some(extra) => Err(self.error(format_args!(
                "the field {extra:?} is not expected in {actual}"
            ))),
            None => Ok(()),
        }
    }

    fn operator(
        &mut self,
        name: &str,
        value: &Bson,
        actual: Option<&Bson>,
        root: bool,
    ) -> Result<(), String> {
        match (name, actual) {
            ("$$exists", _) => {
                let wanted = value
                    .as_bool()
                    .ok_or_else(|| self.error("$$exists needs a boolean"))?;
                match actual {
                    Some(actual) if !wanted => Err(self.error(format_args!("{actual} is there"))),
                    None if wanted => Err(self.error("missing")),
                    _ => Ok(()),
                }
            }
            ("$$unsetOrMatches", None | Some(Bson::Undefined)) => Ok(()),
            ("$$unsetOrMatches", Some(actual)) => self.check(value, Some(actual), root),
            (_, None) => Err(self.error(format_args!("missing, expected {name} {value}"))),
            ("$$type", Some(actual)) => self.kind(value, actual),
            ("$$matchesEntity", Some(actual)) => {
                let entity = self.lookup.entity(self.text(name, value)?)?;
                self.check(&entity, Some(actual), root)
            }
            ("$$matchesHexBytes", Some(actual)) => self.bytes(self.text(name, value)?, actual),
            ("$$sessionLsid", Some(actual)) => {
                let lsid = self.lookup.lsid(self.text(name, value)?)?;
                self.check(&Bson::Document(lsid), Some(actual), false)
            }
            ("$$lte", Some(actual)) => self.order(name, actual, value, |a, b| a <= b),
            ("$$gte", Some(actual)) => self.order(name, actual, value, |a, b| a >= b),
            ("$$matchAsDocument", Some(actual)) => {
                let parsed = self.parsed(actual)?;
                self.check(value, Some(&parsed), false)
            }
            ("$$matchAsRoot", Some(actual)) => self.check(value, Some(actual), true),
            _ => Err(self.error(format_args!("there is no operator {name}"))),
        }
    }

    fn text<'v>(&self, name: &str, value: &'v Bson) -> Result<&'v str, String> {
        value
            .as_str()
            .ok_or_else(|| self.error(format_args!("{name} needs a string")))
    }

    fn kind(&self, wanted: &Bson, actual: &Bson) -> Result<(), String> {
        let names: Vec<&str> = match wanted {
            Bson::String(name) => vec![name],
            Bson::Array(names) => names.iter().filter_map(Bson::as_str).collect(),
            _ => return Err(self.error("$$type needs a string or an array of strings")),
        };
        for name in &names {
            match is_of_type(actual, name) {
                None => return Err(self.error(format_args!("$$type: there is no type {name:?}"))),
                Some(true) => return Ok(()),
                Some(false) => {}
            }
        }
        Err(self.error(format_args!("{actual} is not of type {wanted}")))
    }

    fn bytes(&self, wanted: &str, actual: &Bson) -> Result<(), String> {
        let Bson::Binary(binary) = actual else {
            return Err(self.error(format_args!("{actual} is no binary")));
        };
        let hex: String = binary.bytes.iter().map(|b| format!("{b:02x}")).collect();
        if hex.eq_ignore_ascii_case(wanted) {
            Ok(())
        } else {
            Err(self.error(format_args!("{hex}, expected the bytes {wanted}")))
        }
    }

    fn order(
        &self,
        name: &str,
        actual: &Bson,
        limit: &Bson,
        holds: fn(f64, f64) -> bool,
    ) -> Result<(), String> {
        match (number(actual), number(limit)) {
            (Some(a), Some(l)) if holds(a.as_f64(), l.as_f64()) => Ok(()),
            (Some(_), Some(_)) => Err(self.error(format_args!("{actual} is not {name} {limit}"))),
            _ => Err(self.error(format_args!("{name}: {actual} and {limit} are no numbers"))),
        }
    }

    fn parsed(&self, actual: &Bson) -> Result<Bson, String> {
        let text = self.text("$$matchAsDocument", actual)?;
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|e| self.error(format_args!("{text}: {e}")))?;
        Bson::try_from(json).map_err(|e| self.error(format_args!("{text}: {e}")))
    }
}

/// A number that may be compared with one of another type.
#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Float(f64),
}

impl Number {
    #[expect(
        clippy::cast_precision_loss,
        reason = "limits in tests are small numbers"
    )]
    fn as_f64(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Float(n) => n,
        }
    }
}

fn number(value: &Bson) -> Option<Number> {
    Some(match value {
        Bson::Int32(n) => Number::Whole(i64::from(*n)),
        Bson::Int64(n) => Number::Whole(*n),
        Bson::Double(n) => Number::Float(*n),
        _ => return None,
    })
}

/// Equality of values that are neither both documents nor both arrays.
fn equal(expected: &Bson, actual: &Bson) -> bool {
    match (number(expected), number(actual)) {
        (Some(Number::Whole(a)), Some(Number::Whole(b))) => a == b,
        (Some(a), Some(b)) => {
            let (a, b) = (a.as_f64(), b.as_f64());
            a == b || (a.is_nan() && b.is_nan())
        }
        _ => expected == actual,
    }
}

/// Whether two documents hold the same, in any order of keys ("Executing a Test", outcome).
#[must_use]
pub fn same(a: &Bson, b: &Bson) -> bool {
    match (a, b) {
        (Bson::Document(a), Bson::Document(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        (Bson::Array(a), Bson::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(v, w)| same(v, w))
        }
        _ => equal(a, b),
    }
}

/// Whether a value is of a type of the query operator `$type`; `None` when there is no such type.
fn is_of_type(value: &Bson, name: &str) -> Option<bool> {
    Some(match name {
        "double" => matches!(value, Bson::Double(_)),
        "string" => matches!(value, Bson::String(_)),
        "object" => matches!(value, Bson::Document(_)),
        "array" => matches!(value, Bson::Array(_)),
        "binData" => matches!(value, Bson::Binary(_)),
        "undefined" => matches!(value, Bson::Undefined),
        "objectId" => matches!(value, Bson::ObjectId(_)),
        "bool" => matches!(value, Bson::Boolean(_)),
        "date" => matches!(value, Bson::DateTime(_)),
        "null" => matches!(value, Bson::Null),
        "regex" => matches!(value, Bson::RegularExpression(_)),
        "dbPointer" => matches!(value, Bson::DbPointer(_)),
        "javascript" => matches!(value, Bson::JavaScriptCode(_)),
        "symbol" => matches!(value, Bson::Symbol(_)),
        "javascriptWithScope" => matches!(value, Bson::JavaScriptCodeWithScope(_)),
        "int" => matches!(value, Bson::Int32(_)),
        "timestamp" => matches!(value, Bson::Timestamp(_)),
        "long" => matches!(value, Bson::Int64(_)),
        "decimal" => matches!(value, Bson::Decimal128(_)),
        "minKey" => matches!(value, Bson::MinKey),
        "maxKey" => matches!(value, Bson::MaxKey),
        "number" => matches!(
            value,
            Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_)
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
