//! Filters: the listed operators, dotted paths, and the matching of arrays by their elements.
//!
//! A filter is parsed whole before anything is matched, so that an error does not depend on what a
//! collection holds. Real operators that are left out answer "not simulated"; unknown ones the
//! error of the real server.

use std::cmp::Ordering;

use bson::{Bson, Document};

use super::{
    expression::Expression,
    scope::{Scope, folded},
    value::{compare, rank, type_name, whole},
};
use crate::failure::{BAD_VALUE, Failure, Result};

/// The operators that filters know.
pub(crate) const OPERATORS: &[&str] = &[
    "$all",
    "$and",
    "$elemMatch",
    "$eq",
    "$exists",
    "$expr",
    "$gt",
    "$gte",
    "$in",
    "$lt",
    "$lte",
    "$ne",
    "$nin",
    "$nor",
    "$not",
    "$or",
    "$size",
    "$type",
];

/// Operators of the real server that this one leaves out.
const LEFT_OUT: &[&str] = &[
    "$bitsAllClear",
    "$bitsAllSet",
    "$bitsAnyClear",
    "$bitsAnySet",
    "$comment",
    "$geoIntersects",
    "$geoWithin",
    "$jsonSchema",
    "$mod",
    "$near",
    "$nearSphere",
    "$options",
    "$regex",
    "$text",
    "$where",
    "$sampleRate",
    "$rand",
    "$alwaysTrue",
    "$alwaysFalse",
];

const DEPTH_MAX: usize = 100;

/// A parsed filter.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Expression(Expression),
    Not(Box<Self>),
    Field(Vec<String>, Test),
}

/// What a value must satisfy.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Compare(Relation, Bson),
    ElementObject(Box<Filter>),
    /// The filter's paths are empty: they mean the element itself.
    ElementValue(Box<Filter>),
    Exists,
    /// A test of the value's key under a collation, and the same without one.
    Folded(Box<Self>, Box<Self>),
    In(Vec<Bson>),
    Size(i64),
    Type(Vec<Kind>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A type that `$type` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Named(&'static str),
    Number,
}

/// Where in a filter a part is parsed.
#[derive(Clone, Copy)]
struct At<'a> {
    scope: &'a Scope,
    depth: usize,
}

impl At<'_> {
    fn deeper(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }
}

impl Filter {
    pub(crate) fn parse(filter: &Document, scope: &Scope) -> Result<Self> {
        Self::parse_at(filter, At { scope, depth: 0 })
    }

    fn parse_at(filter: &Document, depth: At<'_>) -> Result<Self> {
        if depth.depth > DEPTH_MAX {
            return Err(Failure::new(
                BAD_VALUE,
                "exceeded maximum query tree depth of 100",
            ));
        }
        let mut all = Vec::new();
        for (key, value) in filter {
            match key.as_str() {
                "$and" => all.push(Self::All(clauses(key, value, depth)?)),
                "$or" => all.push(Self::Any(clauses(key, value, depth)?)),
                "$nor" => {
                    let any = Self::Any(clauses(key, value, depth)?);
                    all.push(Self::Not(Box::new(any)));
                }
                "$comment" => {}
                "$expr" => {
                    let expression = Expression::parse(value, depth.scope)?;
                    all.push(Self::Expression(expression));
                }
                _ if key.starts_with('$') => return Err(unknown_top_level(key)),
                _ => {
                    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
                    all.push(field(path, value, depth)?);
                }
            }
        }
        Ok(Self::All(all))
    }

    pub(crate) fn matches(&self, document: &Document) -> bool {
        self.matches_in(&Place::Document(document))
    }

    fn matches_in(&self, place: &Place<'_>) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|f| f.matches_in(place)),
            Self::Any(filters) => filters.iter().any(|f| f.matches_in(place)),
            Self::Expression(expression) => match place {
                Place::Document(document) => expression.holds(document),
                Place::Value(_) => false,
            },
            Self::Not(filter) => !filter.matches_in(place),
            Self::Field(path, test) => match place {
                Place::Document(document) => any_at(document, path, test),
                Place::Value(value) => single(Some(value), test),
            },
        }
    }

    /// The value that `_id` must equal, if there is one such condition at the top.
    pub(crate) fn id(&self) -> Option<&Bson> {
        match self {
            Self::All(filters) => filters.iter().find_map(Self::id),
            Self::Field(path, Test::Compare(Relation::Equal, value))
                if path.len() == 1 && path[0] == "_id" && value.as_array().is_none() =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// The equalities that an upsert puts into its new document, by path.
    pub(crate) fn equalities<'a>(&'a self, found: &mut Vec<(&'a [String], &'a Bson)>) {
        match self {
            Self::All(filters) => filters.iter().for_each(|f| f.equalities(found)),
            Self::Any(filters) if filters.len() == 1 => filters[0].equalities(found),
            Self::Field(path, test) => {
                let plain = match test {
                    Test::Folded(_, plain) => plain,
                    plain => plain,
                };
                match plain {
                    Test::Compare(Relation::Equal, value) => found.push((path, value)),
                    Test::In(values) if values.len() == 1 => found.push((path, &values[0])),
                    _ => {}
                }
            }
            Self::Any(_) | Self::Expression(_) | Self::Not(_) => {}
        }
    }

    /// The index of the array element by which a document matches: what `$` in an update means.
    pub(crate) fn position(&self, document: &Document) -> Option<usize> {
        match self {
            Self::All(filters) => filters.iter().rev().find_map(|f| f.position(document)),
            Self::Any(filters) => {
                let mut matching = filters.iter().filter(|f| f.matches(document));
                matching.find_map(|f| f.position(document))
            }
            Self::Field(path, test) => match path.split_first() {
                Some((first, rest)) => position_below(document.get(first)?, rest, test),
                None => None,
            },
            Self::Expression(_) | Self::Not(_) => None,
        }
    }
}

enum Place<'a> {
    Document(&'a Document),
    Value(&'a Bson),
}

fn clauses(name: &str, value: &Bson, depth: At<'_>) -> Result<Vec<Filter>> {
    let bad = |message: &str| Failure::new(BAD_VALUE, message);
    let Some(array) = value.as_array() else {
        return Err(bad(&format!("{name} must be an array")));
    };
    if array.is_empty() {
        return Err(bad("$and/$or/$nor must be a nonempty array"));
    }
    let parse = |clause: &Bson| match clause.as_document() {
        Some(clause) => Filter::parse_at(clause, depth.deeper()),
        None => Err(bad("$or/$and/$nor entries need to be full objects")),
    };
    array.iter().map(parse).collect::<Result<_>>()
}

fn unknown_top_level(name: &str) -> Failure {
    if LEFT_OUT.contains(&name) {
        return Failure::not_simulated(name);
    }
    Failure::new(
        BAD_VALUE,
        format!(
            "unknown top level operator: {name}. If you have a field name that starts with a '$' \
             symbol, consider using $getField or $setField."
        ),
    )
}

fn field(path: Vec<String>, value: &Bson, depth: At<'_>) -> Result<Filter> {
    match value {
        Bson::Document(operators) if is_operators(operators) => {
            let mut all = Vec::new();
            for (name, operand) in operators {
                all.push(operator(&path, name, operand, depth)?);
            }
            Ok(Filter::All(all))
        }
        other => equal(path, other, depth),
    }
}

/// Whether a document is a list of operators and not a value: its first field tells.
fn is_operators(document: &Document) -> bool {
    let first = document.keys().next().map_or("", String::as_str);
    first.starts_with('$') && !["$ref", "$id", "$db"].contains(&first)
}

fn equal(path: Vec<String>, value: &Bson, at: At<'_>) -> Result<Filter> {
    compared(path, Relation::Equal, value, at)
}

/// A test of the values at a path, under the collation if there is one.
fn collated(path: Vec<String>, at: At<'_>, plain: Test) -> Filter {
    let test = if at.scope.folds() {
        let key = match &plain {
            Test::Compare(relation, value) => Test::Compare(*relation, folded(value)),
            Test::In(values) => Test::In(values.iter().map(folded).collect()),
            other => other.clone(),
        };
        Test::Folded(Box::new(key), Box::new(plain))
    } else {
        plain
    };
    Filter::Field(path, test)
}

fn compared(path: Vec<String>, relation: Relation, value: &Bson, at: At<'_>) -> Result<Filter> {
    if matches!(value, Bson::RegularExpression(_)) {
        return Err(Failure::not_simulated("$regex"));
    }
    Ok(collated(path, at, Test::Compare(relation, value.clone())))
}

fn operator(path: &[String], name: &str, operand: &Bson, depth: At<'_>) -> Result<Filter> {
    let test = |test: Test| Ok(Filter::Field(path.to_vec(), test));
    let not = |filter: Filter| Filter::Not(Box::new(filter));
    match name {
        "$eq" => equal(path.to_vec(), operand, depth),
        "$ne" => Ok(not(equal(path.to_vec(), operand, depth)?)),
        "$gt" => compared(path.to_vec(), Relation::Greater, operand, depth),
        "$gte" => compared(path.to_vec(), Relation::GreaterOrEqual, operand, depth),
        "$lt" => compared(path.to_vec(), Relation::Less, operand, depth),
        "$lte" => compared(path.to_vec(), Relation::LessOrEqual, operand, depth),
        "$in" => Ok(collated(
            path.to_vec(),
            depth,
            Test::In(list(name, operand)?),
        )),
        "$nin" => Ok(not(collated(
            path.to_vec(),
            depth,
            Test::In(list(name, operand)?),
        ))),
        "$exists" => {
            let exists = Filter::Field(path.to_vec(), Test::Exists);
            let wanted = super::value::truthy(operand);
            Ok(if wanted { exists } else { not(exists) })
        }
        "$size" => test(Test::Size(size(operand)?)),
        "$type" => test(Test::Type(kinds(operand)?)),
        "$all" => all(path, operand, depth),
        "$elemMatch" => element(path, operand, depth),
        "$not" => match operand.as_document() {
            Some(inner) if is_operators(inner) => {
                Ok(not(field(path.to_vec(), operand, depth.deeper())?))
            }
            Some(inner) if inner.is_empty() => Err(Failure::new(BAD_VALUE, "$not cannot be empty")),
            Some(_) => Err(Failure::new(
                BAD_VALUE,
                "$not needs a document with operators",
            )),
            None => Err(Failure::new(BAD_VALUE, "$not needs a regex or a document")),
        },
        _ if LEFT_OUT.contains(&name) => Err(Failure::not_simulated(name)),
        _ => Err(Failure::new(BAD_VALUE, format!("unknown operator: {name}"))),
    }
}

fn list(name: &str, operand: &Bson) -> Result<Vec<Bson>> {
    let Some(values) = operand.as_array() else {
        return Err(Failure::new(BAD_VALUE, format!("{name} needs an array")));
    };
    if values
        .iter()
        .any(|v| matches!(v, Bson::RegularExpression(_)))
    {
        return Err(Failure::not_simulated("$regex"));
    }
    Ok(values.clone())
}

fn size(operand: &Bson) -> Result<i64> {
    let shown = super::value::show(operand);
    let bad = |what: &str| {
        let message = format!("Failed to parse $size. Expected {what}: $size: {shown}");
        Err(Failure::new(BAD_VALUE, message))
    };
    match whole(operand) {
        Some(size) if size >= 0 => Ok(size),
        Some(_) => bad("a non-negative number in"),
        None if super::value::float(operand).is_some() => bad("an integer"),
        None => bad("a number in"),
    }
}

fn all(path: &[String], operand: &Bson, depth: At<'_>) -> Result<Filter> {
    let Some(values) = operand.as_array() else {
        return Err(Failure::new(BAD_VALUE, "$all needs an array"));
    };
    if values.is_empty() {
        return Ok(Filter::Any(Vec::new()));
    }
    let parse = |value: &Bson| match value.as_document() {
        Some(inner) if inner.contains_key("$elemMatch") => {
            field(path.to_vec(), value, depth.deeper())
        }
        Some(inner) if is_operators(inner) => {
            Err(Failure::new(BAD_VALUE, "no $ expressions in $all"))
        }
        _ => equal(path.to_vec(), value, depth),
    };
    Ok(Filter::All(
        values.iter().map(parse).collect::<Result<_>>()?,
    ))
}

fn element(path: &[String], operand: &Bson, depth: At<'_>) -> Result<Filter> {
    let Some(inner) = operand.as_document() else {
        return Err(Failure::new(BAD_VALUE, "$elemMatch needs an Object"));
    };
    let first = inner.keys().next().map_or("", String::as_str);
    let by_value = is_operators(inner) && !["$and", "$or", "$nor"].contains(&first);
    let test = if by_value {
        Test::ElementValue(Box::new(field(Vec::new(), operand, depth.deeper())?))
    } else {
        Test::ElementObject(Box::new(Filter::parse_at(inner, depth.deeper())?))
    };
    Ok(Filter::Field(path.to_vec(), test))
}

/// The aliases and numbers of types.
const KINDS: &[(i64, &str)] = &[
    (1, "double"),
    (2, "string"),
    (3, "object"),
    (4, "array"),
    (5, "binData"),
    (6, "undefined"),
    (7, "objectId"),
    (8, "bool"),
    (9, "date"),
    (10, "null"),
    (11, "regex"),
    (12, "dbPointer"),
    (13, "javascript"),
    (14, "symbol"),
    (15, "javascriptWithScope"),
    (16, "int"),
    (17, "timestamp"),
    (18, "long"),
    (19, "decimal"),
    (-1, "minKey"),
    (127, "maxKey"),
];

fn kinds(operand: &Bson) -> Result<Vec<Kind>> {
    let one = |value: &Bson| match value {
        Bson::String(name) if name == "number" => Ok(Kind::Number),
        Bson::String(name) => KINDS
            .iter()
            .find(|(_, known)| known == name)
            .map(|(_, known)| Kind::Named(known))
            .ok_or_else(|| Failure::new(BAD_VALUE, format!("Unknown type name alias: {name}"))),
        other => whole(other)
            .and_then(|code| KINDS.iter().find(|(known, _)| *known == code))
            .map(|(_, known)| Kind::Named(known))
            .ok_or_else(|| {
                Failure::new(BAD_VALUE, format!("Invalid numerical type code: {other}"))
            }),
    };
    match operand {
        Bson::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// The first element that satisfies a test, of the first array on a path.
fn position_below(value: &Bson, rest: &[String], test: &Test) -> Option<usize> {
    match (value, rest.split_first()) {
        (Bson::Array(values), None) => values.iter().position(|element| match test {
            Test::ElementObject(filter) => element.as_document().is_some_and(|d| filter.matches(d)),
            Test::ElementValue(filter) => filter.matches_in(&Place::Value(element)),
            test => single(Some(element), test),
        }),
        (Bson::Array(values), Some(_)) => values.iter().position(|element| {
            let inner = element.as_document();
            inner.is_some_and(|inner| any_at(inner, rest, test))
        }),
        (Bson::Document(inner), Some((first, rest))) => {
            position_below(inner.get(first)?, rest, test)
        }
        _ => None,
    }
}

/// Whether any value at a path satisfies a test; `None` stands for a missing one.
fn any_at(document: &Document, path: &[String], test: &Test) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    match document.get(first) {
        None => single(None, test),
        Some(value) => below(value, rest, test),
    }
}

fn below(value: &Bson, rest: &[String], test: &Test) -> bool {
    let Some((next, after)) = rest.split_first() else {
        return leaf(value, test);
    };
    match value {
        Bson::Document(document) => any_at(document, rest, test),
        Bson::Array(values) => {
            let by_index = next
                .parse::<usize>()
                .ok()
                .and_then(|index| values.get(index));
            // A value found by its index stands for itself: its own elements do not count.
            let found = |value: &Bson| match after {
                [] => single(Some(value), test),
                _ => below(value, after, test),
            };
            by_index.is_some_and(found)
                || values
                    .iter()
                    .filter_map(Bson::as_document)
                    .any(|element| any_at(element, rest, test))
        }
        _ => single(None, test),
    }
}

/// Tests a value, and its elements where the test is about single values.
fn leaf(value: &Bson, test: &Test) -> bool {
    if single(Some(value), test) {
        return true;
    }
    match (value, test) {
        (
            Bson::Array(values),
            Test::Compare(..) | Test::Folded(..) | Test::In(_) | Test::Type(_),
        ) => values.iter().any(|element| single(Some(element), test)),
        _ => false,
    }
}

fn single(value: Option<&Bson>, test: &Test) -> bool {
    match test {
        Test::Compare(relation, operand) => related(value, *relation, operand),
        Test::Exists => value.is_some(),
        Test::Folded(key, _) => single(value.map(folded).as_ref(), key),
        Test::In(values) => values.iter().any(|v| related(value, Relation::Equal, v)),
        Test::Size(size) => {
            let length = value.and_then(Bson::as_array).map(Vec::len);
            length.is_some_and(|length| i64::try_from(length) == Ok(*size))
        }
        Test::Type(kinds) => value.is_some_and(|value| {
            kinds.iter().any(|kind| match kind {
                Kind::Named(name) => type_name(value) == *name,
                Kind::Number => rank(value) == 10,
            })
        }),
        Test::ElementObject(filter) => elements(value).iter().any(|element| match element {
            Bson::Document(document) => filter.matches(document),
            _ => false,
        }),
        Test::ElementValue(filter) => elements(value)
            .iter()
            .any(|element| filter.matches_in(&Place::Value(element))),
    }
}

fn elements(value: Option<&Bson>) -> &[Bson] {
    value.and_then(Bson::as_array).map_or(&[], Vec::as_slice)
}

fn related(value: Option<&Bson>, relation: Relation, operand: &Bson) -> bool {
    let value = value.unwrap_or(&Bson::Null);
    if matches!(operand, Bson::MinKey | Bson::MaxKey) && relation != Relation::Equal {
        return holds(compare(value, operand), relation);
    }
    if rank(value) != rank(operand) {
        return false;
    }
    let nan = |v: &Bson| matches!(v, Bson::Double(n) if n.is_nan());
    if nan(value) != nan(operand) {
        return false;
    }
    holds(compare(value, operand), relation)
}

fn holds(order: Ordering, relation: Relation) -> bool {
    match relation {
        Relation::Equal => order.is_eq(),
        Relation::Greater => order.is_gt(),
        Relation::GreaterOrEqual => order.is_ge(),
        Relation::Less => order.is_lt(),
        Relation::LessOrEqual => order.is_le(),
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
