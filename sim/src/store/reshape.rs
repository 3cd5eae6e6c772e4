//! Stages that change the form of a document: `$addFields` and `$replaceRoot`, with their aliases.

use bson::{Bson, Document};

use super::{
    expression::Expression,
    scope::Scope,
    value::{show, show_document, type_name},
};
use crate::failure::{Failure, Result};

/// Fields by name, as `$addFields` nests them.
#[derive(Clone, Debug)]
pub(crate) struct AddFields(Vec<(String, Node)>);

#[derive(Clone, Debug)]
enum Node {
    Branch(AddFields),
    Value(Expression),
}

impl AddFields {
    pub(super) fn parse(name: &str, spec: &Bson, scope: &Scope) -> Result<Self> {
        let Bson::Document(fields) = spec else {
            let found = type_name(spec);
            let message = format!("{name} specification stage must be an object, got {found}");
            return Err(Failure::new(40272, message));
        };
        let invalid = |failure: Failure| {
            if failure.code == crate::failure::NOT_SIMULATED {
                return failure;
            }
            Failure {
                message: format!("Invalid {name} :: caused by :: {}", failure.message),
                ..failure
            }
        };
        let mut this = Self(Vec::new());
        for (path, value) in fields {
            super::project::check_path(path).map_err(invalid)?;
            let parts: Vec<&str> = path.split('.').collect();
            this.add(&parts, value, scope, fields).map_err(invalid)?;
        }
        Ok(this)
    }

    fn add(&mut self, parts: &[&str], value: &Bson, scope: &Scope, whole: &Document) -> Result<()> {
        let Some((first, rest)) = parts.split_first() else {
            return Ok(());
        };
        let place = self.0.iter_mut().find(|(name, _)| name == first);
        // A document that is no operator's names fields to add, one level down.
        let inner = value.as_document().filter(|d| {
            let operator = d.keys().next().is_some_and(|key| key.starts_with('$'));
            rest.is_empty() && !d.is_empty() && !operator
        });
        if rest.is_empty() && inner.is_none() {
            if place.is_some() {
                return Err(conflict(whole));
            }
            let value = Expression::parse(value, scope)?;
            self.0.push(((*first).to_owned(), Node::Value(value)));
            return Ok(());
        }
        let branch = match place {
            Some((_, Node::Branch(branch))) => branch,
            Some(_) => return Err(conflict(whole)),
            None => {
                self.0
                    .push(((*first).to_owned(), Node::Branch(Self(Vec::new()))));
                match self.0.last_mut() {
                    Some((_, Node::Branch(branch))) => branch,
                    _ => return Ok(()),
                }
            }
        };
        let Some(inner) = inner else {
            return branch.add(rest, value, scope, whole);
        };
        for (name, value) in inner {
            super::project::check_path(name)?;
            branch.add(&[name.as_str()], value, scope, whole)?;
        }
        Ok(())
    }

    pub(super) fn apply(&self, document: &Document) -> Document {
        self.below(document.clone(), document)
    }

    fn below(&self, mut out: Document, root: &Document) -> Document {
        for (name, node) in &self.0 {
            match node {
                Node::Value(expression) => match expression.evaluate(root) {
                    Some(value) => {
                        out.insert(name.clone(), value);
                    }
                    None => {
                        out.remove(name);
                    }
                },
                Node::Branch(branch) => {
                    let before = out.get(name).cloned();
                    out.insert(name.clone(), branch.value(before, root));
                }
            }
        }
        out
    }

    fn value(&self, before: Option<Bson>, root: &Document) -> Bson {
        match before {
            Some(Bson::Document(inner)) => self.below(inner, root).into(),
            Some(Bson::Array(values)) => {
                let values = values.into_iter();
                values.map(|v| self.value(Some(v), root)).collect()
            }
            _ => self.below(Document::new(), root).into(),
        }
    }
}

fn conflict(whole: &Document) -> Failure {
    let keys: Vec<&str> = whole.keys().map(String::as_str).collect();
    let clash = |short: &&str, long: &&str| long.starts_with(&format!("{short}."));
    for (at, second) in keys.iter().enumerate() {
        for first in &keys[..at] {
            if clash(first, second) || clash(second, first) {
                let message = format!(
                    "specification contains two conflicting paths. Cannot specify both '{second}' \
                     and '{first}': {}",
                    show_document(whole)
                );
                return Failure::new(40176, message);
            }
        }
    }
    Failure::not_simulated("conflicting paths")
}

/// `$replaceRoot` or `$replaceWith`.
#[derive(Clone, Debug)]
pub(crate) struct ReplaceRoot {
    new: Expression,
    /// How errors call the expression.
    what: &'static str,
}

impl ReplaceRoot {
    pub(super) fn parse(name: &str, spec: &Bson, scope: &Scope) -> Result<Self> {
        if name == "$replaceWith" {
            return Ok(Self {
                new: Expression::parse(spec, scope)?,
                what: "'replacement document' ",
            });
        }
        let Bson::Document(fields) = spec else {
            let found = type_name(spec);
            let message =
                format!("expected an object as specification for $replaceRoot stage, got {found}");
            return Err(Failure::new(40229, message));
        };
        if let Some(field) = fields.keys().find(|key| *key != "newRoot") {
            let message = format!("BSON field '$replaceRoot.{field}' is an unknown field.");
            return Err(Failure::new(crate::failure::UNKNOWN_FIELD, message));
        }
        let Some(new) = fields.get("newRoot") else {
            let message = "BSON field '$replaceRoot.newRoot' is missing but a required field";
            return Err(Failure::new(crate::failure::MISSING_FIELD, message));
        };
        Ok(Self {
            new: Expression::parse(new, scope)?,
            what: "'newRoot' expression ",
        })
    }

    pub(super) fn apply(&self, document: &Document) -> Result<Document> {
        let (shown, kind) = match self.new.evaluate(document) {
            Some(Bson::Document(new)) => return Ok(new),
            Some(other) => (show(&other), type_name(&other)),
            None => ("MISSING".to_owned(), "missing"),
        };
        let input = show_document(document);
        let input = input.strip_prefix("{ ").and_then(|i| i.strip_suffix(" }"));
        let message = format!(
            "{} must evaluate to an object, but resulting value was: {shown}. Type of resulting \
             value: '{kind}'. Input document: {{{}}}",
            self.what,
            input.unwrap_or_default()
        );
        Err(Failure::new(40228, message))
    }
}

/// `$unset`, as the specification of a projection.
pub(super) fn unset(spec: &Bson) -> Result<Document> {
    let message = "$unset specification must be a string or an array";
    let fields = match spec {
        Bson::String(field) => vec![field.clone()],
        Bson::Array(values) if values.is_empty() => {
            let message = format!("{message} with at least one field");
            return Err(Failure::new(31119, message));
        }
        Bson::Array(values) => {
            let each = values.iter().map(|value| match value {
                Bson::String(field) => Ok(field.clone()),
                _ => Err(Failure::new(
                    31120,
                    "$unset specification must be a string or an array containing only string values",
                )),
            });
            each.collect::<Result<_>>()?
        }
        _ => return Err(Failure::new(31002, message)),
    };
    let fields = fields.into_iter().map(|field| (field, Bson::Int32(0)));
    Ok(fields.collect())
}
