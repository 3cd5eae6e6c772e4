//! The format's schema: what a file may look like, before anything of it is run.
//!
//! A small checker of shapes with the vocabulary of JSON schema, and the format as a table of
//! shapes. The first violation is told with its place and the rule's name.

mod table;

use std::fmt;

use serde_json::{Map, Value};

use super::version::Version;
use crate::spec::{Report, SpecFile, Suite, in_folder};

/// The files that must be rejected, each for the reason in its name.
pub const SUITE: Suite = Suite {
    name: "unified-schema",
    matches: |file| in_folder(file, "unified-test-format") && in_folder(file, "invalid"),
    run: |file, report| run(file, report),
};

/// What a value must be.
#[derive(Clone, Copy)]
enum Shape {
    Anything,
    Text,
    Flag,
    /// Only `true`.
    Yes,
    Whole,
    /// An object with any fields.
    Object,
    Version,
    Word(&'static [&'static str]),
    /// At least so many of a shape.
    List(usize, &'static Self),
    Fields(&'static Fields),
    /// A boolean or that object.
    FlagOr(&'static Fields),
    /// A string or a placeholder.
    Secret,
    /// Names, which may have a suffix after a colon, with objects.
    Providers,
}

/// What an object must be besides its fields.
type Rule = fn(&Map<String, Value>, &Place<'_>) -> Result<(), Violation>;

/// The fields of an object.
struct Fields {
    known: &'static [(&'static str, Shape)],
    required: &'static [&'static str],
    /// The number of fields.
    least: usize,
    most: usize,
    /// Fields that exclude each other.
    conflicts: &'static [(&'static str, &'static str)],
    /// What the fields decide together.
    also: Option<Rule>,
}

/// What a file does wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub path: String,
    /// The rule, as JSON schema calls it.
    pub rule: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.rule)
    }
}

/// A place in the file.
struct Place<'a> {
    parent: Option<&'a Self>,
    step: String,
}

impl Place<'_> {
    fn inside(&self, step: impl Into<String>) -> Place<'_> {
        Place {
            parent: Some(self),
            step: step.into(),
        }
    }

    fn path(&self) -> String {
        match self.parent {
            None => self.step.clone(),
            Some(parent) => parent.path() + &self.step,
        }
    }

    fn broken<T>(&self, rule: &'static str) -> Result<T, Violation> {
        Err(Violation {
            path: self.path().trim_start_matches('.').to_owned(),
            rule,
        })
    }

    fn require(&self, holds: bool, rule: &'static str) -> Result<(), Violation> {
        if holds { Ok(()) } else { self.broken(rule) }
    }
}

/// Checks a file.
///
/// # Errors
///
/// The first violation.
pub fn check(file: &Value) -> Result<(), Violation> {
    let root = Place {
        parent: None,
        step: String::new(),
    };
    Shape::Fields(&table::FILE).check(file, &root)
}

impl Shape {
    fn check(&self, value: &Value, place: &Place<'_>) -> Result<(), Violation> {
        match self {
            Self::Anything => Ok(()),
            Self::Text => place.require(value.is_string(), "type"),
            Self::Flag => place.require(value.is_boolean(), "type"),
            Self::Yes => {
                place.require(value.is_boolean(), "type")?;
                place.require(*value == Value::Bool(true), "const")
            }
            Self::Whole => place.require(value.is_i64() || value.is_u64(), "type"),
            Self::Object => place.require(value.is_object(), "type"),
            Self::Version => {
                let Some(text) = value.as_str() else {
                    return place.broken("type");
                };
                place.require(is_version(text), "pattern")
            }
            Self::Word(words) => {
                let Some(text) = value.as_str() else {
                    return place.broken("type");
                };
                place.require(words.contains(&text), "enum")
            }
            Self::List(least, shape) => {
                let Some(list) = value.as_array() else {
                    return place.broken("type");
                };
                place.require(list.len() >= *least, "minItems")?;
                list.iter().enumerate().try_for_each(|(index, value)| {
                    shape.check(value, &place.inside(format!("[{index}]")))
                })
            }
            Self::Fields(fields) => match value.as_object() {
                Some(object) => fields.check(object, place),
                None => place.broken("type"),
            },
            Self::FlagOr(fields) => match value {
                Value::Bool(_) => Ok(()),
                Value::Object(object) => fields.check(object, place),
                _ => place.broken("type"),
            },
            Self::Secret => {
                let is_placeholder = value.get("$$placeholder").is_some();
                place.require(value.is_string() || is_placeholder, "type")
            }
            Self::Providers => providers(value, place),
        }
    }
}

impl Fields {
    fn check(&self, object: &Map<String, Value>, place: &Place<'_>) -> Result<(), Violation> {
        place.require(object.len() >= self.least, "minProperties")?;
        place.require(object.len() <= self.most, "maxProperties")?;
        let known = |name: &str| self.known.iter().find(|(known, _)| *known == name);
        for (name, value) in object {
            if let Some((_, shape)) = known(name) {
                shape.check(value, &place.inside(format!(".{name}")))?;
            }
        }
        for name in self.required {
            let inside = place.inside(format!(".{name}"));
            inside.require(object.contains_key(*name), "required")?;
        }
        for name in object.keys() {
            let inside = place.inside(format!(".{name}"));
            inside.require(known(name).is_some(), "additionalProperties")?;
        }
        for (one, other) in self.conflicts {
            let both = object.contains_key(*one) && object.contains_key(*other);
            let inside = place.inside(format!(".{one}"));
            inside.require(!both, "conflict")?;
        }
        self.also.map_or(Ok(()), |also| also(object, place))
    }
}

/// Numbers with one or two points between them.
fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    (2..=3).contains(&parts.len())
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn providers(value: &Value, place: &Place<'_>) -> Result<(), Violation> {
    let Some(object) = value.as_object() else {
        return place.broken("type");
    };
    for (name, value) in object {
        let inside = place.inside(format!(".{name}"));
        let (kind, suffix) = name.split_once(':').unwrap_or((name, "_"));
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let known = table::PROVIDERS.iter().find(|(known, _)| *known == kind);
        match known {
            Some((_, fields)) if !suffix.is_empty() && suffix.chars().all(is_word) => {
                Shape::Fields(fields).check(value, &inside)?;
            }
            _ => inside.broken("additionalProperties")?,
        }
    }
    Ok(())
}

/// Checks that a file is rejected for the reason in its name.
fn run(file: &SpecFile, report: &mut Report) {
    let stem = file.path.file_stem().map(|s| s.to_string_lossy());
    let stem = stem.unwrap_or_default();
    report.case(&stem, || match check(&file.json) {
        Ok(()) => match file.json["schemaVersion"].as_str().map(Version::parse) {
            Some(Ok(version)) if version.is_runnable() => Err("it was accepted".to_owned()),
            _ => Ok(()),
        },
        Err(violation) if is_reason(&stem, &violation) => Ok(()),
        Err(violation) => Err(format!("it was rejected for another reason: {violation}")),
    });
}

/// Whether a violation is what a file's name says: the names of the things on the way, and what is
/// wrong with the last one.
fn is_reason(stem: &str, violation: &Violation) -> bool {
    let parts: Vec<&str> = stem.split('-').collect();
    let (Some(what), named) = (parts.last(), parts.iter().rev().nth(1)) else {
        return false;
    };
    let last = violation.path.rsplit('.').next().unwrap_or_default();
    let named = named.copied().unwrap_or_default();
    // There are no streams any more, and operations never had events.
    if stem.starts_with("entity-stream") || stem == "operation-expectEvents-type" {
        return violation.rule == "additionalProperties";
    }
    // They have a form that the schema never had: an object instead of a list, tags in its spans.
    if stem.starts_with("expectedTracingSpans") {
        return violation.rule == "type" && last == "expectTracingMessages";
    }
    match *what {
        "additionalPropertyType" => violation.rule == "type",
        "required" | "pattern" | "minItems" | "const" => {
            violation.rule == *what && (last == named || named == "schemaVersion")
        }
        "type" if named == "property" => violation.rule == "type",
        "type" => violation.rule == "type" && last == named,
        "enum" => violation.rule == "enum" && last.trim_end_matches("[0]") == named,
        "value" => violation.rule == "enum",
        "items" => matches!(violation.rule, "type" | "enum") && last == format!("{named}[0]"),
        "minProperties" | "maxProperties" | "additionalProperties" => violation.rule == *what,
        "invalidName" => violation.rule == "additionalProperties",
        "tlsOptions_not_supported" => last == "tlsOptions",
        _ if what.starts_with("conflicts_with") => violation.rule == "conflict",
        _ if what.contains("_conflicts_with_") => violation.rule == "additionalProperties",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{assert_suite, default_dir, load};

    #[test]
    fn every_invalid_file_is_rejected_for_the_reason_in_its_name() {
        assert_suite(&SUITE);
    }

    #[test]
    fn every_other_unified_file_is_accepted() {
        let mut accepted = 0;
        for file in load(&default_dir()) {
            if super::super::is_unified(&file) {
                assert_eq!(check(&file.json), Ok(()), "{}", file.relative);
                accepted += 1;
            }
        }
        assert!(accepted > 400, "only {accepted} files");
    }

    #[test]
    fn a_reason_is_not_any_reason() {
        let violation = |path: &str, rule| Violation {
            path: path.to_owned(),
            rule,
        };
        let stem = "entity-client-id-required";
        let path = "createEntities[0].client.id";
        assert!(is_reason(stem, &violation(path, "required")));
        assert!(!is_reason(stem, &violation(path, "type")));
        assert!(!is_reason(stem, &violation("tests", "required")));
    }
}
