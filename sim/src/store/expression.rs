//! The expressions of aggregation that are simulated: field paths, variables, literals, documents
//! and arrays of them, and operators that cannot fail.

use bson::{Bson, Document};

use super::{scope::Scope, value::compare};
use crate::failure::{Failure, Result};

/// The operators that expressions know.
pub(crate) const OPERATORS: &[&str] = &[
    "$and",
    "$cmp",
    "$cond",
    "$eq",
    "$gt",
    "$gte",
    "$ifNull",
    "$literal",
    "$lt",
    "$lte",
    "$ne",
    "$not",
    "$or",
    "$setField",
];

/// Operators of the real server that are left out; any other name is unknown to both.
const LEFT_OUT: &[&str] = &[
    "$abs",
    "$add",
    "$allElementsTrue",
    "$anyElementTrue",
    "$arrayElemAt",
    "$arrayToObject",
    "$ceil",
    "$concat",
    "$concatArrays",
    "$convert",
    "$dateAdd",
    "$dateDiff",
    "$dateFromString",
    "$dateToString",
    "$dateTrunc",
    "$divide",
    "$exp",
    "$filter",
    "$first",
    "$floor",
    "$function",
    "$getField",
    "$in",
    "$indexOfArray",
    "$isArray",
    "$isNumber",
    "$last",
    "$let",
    "$map",
    "$max",
    "$mergeObjects",
    "$meta",
    "$min",
    "$mod",
    "$multiply",
    "$objectToArray",
    "$pow",
    "$rand",
    "$range",
    "$reduce",
    "$regexMatch",
    "$reverseArray",
    "$round",
    "$setIntersection",
    "$setUnion",
    "$size",
    "$slice",
    "$sortArray",
    "$split",
    "$sqrt",
    "$strLenCP",
    "$substrCP",
    "$subtract",
    "$sum",
    "$switch",
    "$toBool",
    "$toDate",
    "$toInt",
    "$toLower",
    "$toObjectId",
    "$toString",
    "$toUpper",
    "$trim",
    "$trunc",
    "$type",
    "$unsetField",
    "$zip",
];

/// A parsed expression.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Array(Vec<Self>),
    Call(&'static str, Vec<Self>),
    Document(Vec<(String, Self)>),
    Literal(Bson),
    /// What is never there.
    Missing,
    Path(Vec<String>),
    /// A document with a field put in, or taken out when the value is missing.
    SetField(String, Box<[Self; 2]>),
}

impl Expression {
    pub(crate) fn parse(value: &Bson, scope: &Scope) -> Result<Self> {
        match value {
            Bson::String(text) => match text.strip_prefix('$') {
                Some(name) if name.starts_with('$') => variable(&name[1..], scope),
                Some(path) => Ok(Self::Path(parse_path(path)?)),
                None => Ok(Self::Literal(value.clone())),
            },
            Bson::Array(values) => {
                let values = values.iter().map(|v| Self::parse(v, scope));
                Ok(Self::Array(values.collect::<Result<_>>()?))
            }
            Bson::Document(document) => Self::parse_document(document, scope),
            other => Ok(Self::Literal(other.clone())),
        }
    }

    fn parse_document(document: &Document, scope: &Scope) -> Result<Self> {
        let mut fields = Vec::new();
        for (key, value) in document {
            if key.starts_with('$') {
                if document.len() > 1 {
                    let shown = super::value::show_document(document);
                    let message = format!(
                        "An object representing an expression must have exactly one field: {shown}"
                    );
                    return Err(Failure::new(15983, message));
                }
                return operator(key, value, scope);
            }
            fields.push((key.clone(), Self::parse(value, scope)?));
        }
        Ok(Self::Document(fields))
    }

    /// Whether the value depends on the document.
    pub(super) fn reads_document(&self) -> bool {
        match self {
            Self::Array(parts) | Self::Call(_, parts) => parts.iter().any(Self::reads_document),
            Self::Document(fields) => fields.iter().any(|(_, f)| f.reads_document()),
            Self::SetField(_, parts) => parts.iter().any(Self::reads_document),
            Self::Literal(_) | Self::Missing => false,
            Self::Path(_) => true,
        }
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
            Self::Call(name, operands) => call(name, operands, document),
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
            Self::Missing => None,
            Self::Path(path) => match path.split_first() {
                None => Some(Bson::Document(document.clone())),
                Some((first, rest)) => along(document.get(first)?, rest),
            },
            Self::SetField(field, parts) => {
                let Some(Bson::Document(mut out)) = parts[0].evaluate(document) else {
                    return Some(Bson::Null);
                };
                match parts[1].evaluate(document) {
                    Some(value) => out.insert(field.clone(), value),
                    None => out.remove(field),
                };
                Some(out.into())
            }
        }
    }

    /// Whether the value counts as true.
    pub(crate) fn holds(&self, document: &Document) -> bool {
        self.evaluate(document)
            .is_some_and(|v| super::value::truthy(&v))
    }
}

fn parse_path(path: &str) -> Result<Vec<String>> {
    if path.is_empty() {
        let message = "'$' by itself is not a valid FieldPath";
        return Err(Failure::new(16872, message));
    }
    let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
    if parts.iter().any(String::is_empty) {
        let message = if path.ends_with('.') {
            "FieldPath must not end with a '.'."
        } else {
            "FieldPath field names may not be empty strings."
        };
        let code = if path.ends_with('.') { 40353 } else { 15998 };
        return Err(Failure::new(code, message));
    }
    Ok(parts)
}

fn variable(text: &str, scope: &Scope) -> Result<Expression> {
    let (name, rest) = match text.split_once('.') {
        Some((name, rest)) => (name, parse_path(rest)?),
        None => (text, Vec::new()),
    };
    match name {
        "ROOT" | "CURRENT" => return Ok(Expression::Path(rest)),
        "REMOVE" => return Ok(Expression::Missing),
        "CLUSTER_TIME" | "JS_SCOPE" | "IS_MR" | "SEARCH_META" | "USER_ROLES" => {
            return Err(Failure::not_simulated(format_args!("variable $${name}")));
        }
        _ => {}
    }
    let Some(value) = scope.variable(name) else {
        let message = format!("Use of undefined variable: {name}");
        return Err(Failure::new(17276, message));
    };
    Ok(along(value, &rest).map_or(Expression::Missing, Expression::Literal))
}

fn operator(name: &str, operand: &Bson, scope: &Scope) -> Result<Expression> {
    if LEFT_OUT.contains(&name) {
        return Err(Failure::not_simulated(format_args!("expression {name}")));
    }
    let Some(name) = OPERATORS.iter().find(|known| **known == name) else {
        let message = format!("Unrecognized expression '{name}'");
        return Err(Failure::new(168, message));
    };
    if *name == "$literal" {
        return Ok(Expression::Literal(operand.clone()));
    }
    if *name == "$setField" {
        return set_field(operand, scope);
    }
    if scope.folds() && !["$and", "$cond", "$ifNull", "$not", "$or"].contains(name) {
        return Err(Failure::not_simulated(format_args!(
            "expression {name} with a collation"
        )));
    }
    let operands = match operand {
        Bson::Document(fields) if *name == "$cond" => {
            let part = |part: &str| match fields.get(part) {
                Some(value) => Ok(value.clone()),
                None => Err(Failure::not_simulated(format_args!("$cond without {part}"))),
            };
            vec![part("if")?, part("then")?, part("else")?]
        }
        Bson::Array(operands) => operands.clone(),
        one => vec![one.clone()],
    };
    let exact = match *name {
        "$and" | "$or" => None,
        "$cond" => Some(3),
        "$not" => Some(1),
        "$ifNull" => None,
        _ => Some(2),
    };
    if let Some(exact) = exact
        && operands.len() != exact
    {
        let message = format!(
            "Expression {name} takes exactly {exact} arguments. {} were passed in.",
            operands.len()
        );
        return Err(Failure::new(16020, message));
    }
    if *name == "$ifNull" && operands.len() < 2 {
        let message = format!(
            "$ifNull needs at least two arguments, had: {}",
            operands.len()
        );
        return Err(Failure::new(1_257_300, message));
    }
    let operands = operands.iter().map(|o| Expression::parse(o, scope));
    Ok(Expression::Call(name, operands.collect::<Result<_>>()?))
}

fn set_field(operand: &Bson, scope: &Scope) -> Result<Expression> {
    let fields = operand.as_document().filter(|d| d.len() == 3);
    let part = |name: &str| fields.and_then(|fields| fields.get(name));
    let (Some(field), Some(input), Some(value)) = (part("field"), part("input"), part("value"))
    else {
        return Err(Failure::not_simulated("$setField of this form"));
    };
    let Expression::Literal(Bson::String(field)) = Expression::parse(field, scope)? else {
        return Err(Failure::not_simulated("$setField of a computed field"));
    };
    let parts = [
        Expression::parse(input, scope)?,
        Expression::parse(value, scope)?,
    ];
    Ok(Expression::SetField(field, Box::new(parts)))
}

fn call(name: &str, operands: &[Expression], document: &Document) -> Option<Bson> {
    let flag = |b: bool| Some(Bson::Boolean(b));
    let is_nothing = |v: &Option<Bson>| matches!(v, None | Some(Bson::Null | Bson::Undefined));
    match name {
        "$and" => return flag(operands.iter().all(|o| o.holds(document))),
        "$or" => return flag(operands.iter().any(|o| o.holds(document))),
        "$not" => return flag(!operands.iter().any(|o| o.holds(document))),
        "$cond" => {
            let chosen = if operands[0].holds(document) { 1 } else { 2 };
            return operands[chosen].evaluate(document);
        }
        "$ifNull" => {
            let mut values = operands.iter().map(|o| o.evaluate(document));
            let last = operands.len() - 1;
            let found = values.by_ref().take(last).find(|v| !is_nothing(v));
            return match found {
                Some(found) => found,
                None => operands[last].evaluate(document),
            };
        }
        _ => {}
    }
    // What is missing comes before everything but the least key.
    let value = |at: usize| operands[at].evaluate(document).unwrap_or(Bson::Undefined);
    let order = compare(&value(0), &value(1));
    match name {
        "$cmp" => Some(Bson::Int32(order as i32)),
        "$eq" => flag(order.is_eq()),
        "$gt" => flag(order.is_gt()),
        "$gte" => flag(order.is_ge()),
        "$lt" => flag(order.is_lt()),
        "$lte" => flag(order.is_le()),
        _ => flag(order.is_ne()),
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
