//! The few expressions of aggregation that are simulated: field paths, literals, and documents and
//! arrays of them.

use bson::{Bson, Document};

use crate::failure::{Failure, Result};

/// A parsed expression.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Array(Vec<Self>),
    Document(Vec<(String, Self)>),
    Literal(Bson),
    Path(Vec<String>),
}

impl Expression {
    pub(crate) fn parse(value: &Bson) -> Result<Self> {
        match value {
            Bson::String(text) if text == "$$ROOT" || text == "$$CURRENT" => {
                Ok(Self::Path(Vec::new()))
            }
            Bson::String(text) if text.starts_with("$$") => {
                Err(Failure::not_simulated(format_args!("variable {text}")))
            }
            Bson::String(text) => Ok(match text.strip_prefix('$') {
                Some(path) => Self::Path(path.split('.').map(str::to_owned).collect()),
                None => Self::Literal(value.clone()),
            }),
            Bson::Array(values) => {
                let values = values.iter().map(Self::parse).collect::<Result<_>>()?;
                Ok(Self::Array(values))
            }
            Bson::Document(document) => Self::parse_document(document),
            other => Ok(Self::Literal(other.clone())),
        }
    }

    fn parse_document(document: &Document) -> Result<Self> {
        let mut fields = Vec::new();
        for (key, value) in document {
            match key.as_str() {
                "$literal" if document.len() == 1 => return Ok(Self::Literal(value.clone())),
                _ if key.starts_with('$') => {
                    return Err(Failure::not_simulated(format_args!("expression {key}")));
                }
                _ => fields.push((key.clone(), Self::parse(value)?)),
            }
        }
        Ok(Self::Document(fields))
    }

    /// The value for a document; `None` when it is missing.
    pub(crate) fn evaluate(&self, document: &Document) -> Option<Bson> {
        match self {
            Self::Array(values) => {
                let values = values.iter().map(|v| v.evaluate(document));
                Some(Bson::Array(
                    values.map(|v| v.unwrap_or(Bson::Null)).collect(),
                ))
            }
            Self::Document(fields) => {
                let mut out = Document::new();
                for (name, value) in fields {
                    if let Some(value) = value.evaluate(document) {
                        out.insert(name.clone(), value);
                    }
                }
                Some(Bson::Document(out))
            }
            Self::Literal(value) => Some(value.clone()),
            Self::Path(path) => match path.split_first() {
                None => Some(Bson::Document(document.clone())),
                Some((first, rest)) => along(document.get(first)?, rest),
            },
        }
    }
}

/// Follows a path; through an array it gathers what the elements have.
fn along(value: &Bson, rest: &[String]) -> Option<Bson> {
    let Some((first, after)) = rest.split_first() else {
        return Some(value.clone());
    };
    match value {
        Bson::Document(document) => along(document.get(first)?, after),
        Bson::Array(values) => {
            let found = values.iter().filter_map(|element| along(element, rest));
            Some(Bson::Array(found.collect()))
        }
        _ => None,
    }
}
