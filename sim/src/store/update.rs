//! Updates: replacement documents and the listed modifiers.
//!
//! An update is parsed whole, conflicts included, before any document is touched. Modifiers apply in
//! the order of their paths, as in the real server, so that new fields come out in that order.

use std::cmp::Ordering;

use bson::{Bson, Document};

use super::{
    aggregate::Pipeline,
    modify,
    positional::{self, ArrayFilters},
    query::Filter,
    scope::Scope,
    value::{show, show_document, type_name},
};
use crate::failure::{
    BAD_VALUE, CONFLICTING_UPDATE_OPERATORS, DOLLAR_PREFIXED_FIELD, EMPTY_FIELD_NAME,
    FAILED_TO_PARSE, Failure, IMMUTABLE_FIELD, NOT_SINGLE_VALUE_FIELD, Result, TYPE_MISMATCH,
};

/// The modifiers that updates know.
pub(crate) const OPERATORS: &[&str] = &[
    "$addToSet",
    "$inc",
    "$max",
    "$min",
    "$mul",
    "$pull",
    "$push",
    "$rename",
    "$set",
    "$setOnInsert",
    "$unset",
];

/// Modifiers of the real server that this one leaves out.
const LEFT_OUT: &[&str] = &["$bit", "$currentDate", "$pop", "$pullAll"];

/// A parsed update.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    Modify(Vec<(Path, Modifier)>, ArrayFilters),
    Pipeline(Pipeline),
    Replace(Document),
}

pub(crate) type Path = Vec<String>;

/// What is done at a path.
#[derive(Clone, Debug)]
pub(crate) enum Modifier {
    AddToSet(Vec<Bson>),
    Inc(Bson),
    Max(Bson),
    Min(Bson),
    Mul(Bson),
    Pull(PullTest),
    Push(Vec<Bson>),
    /// Moves a field here from another path.
    RenameFrom(Path),
    Set(Bson),
    SetOnInsert(Bson),
    Unset,
}

/// Which elements `$pull` takes away.
#[derive(Clone, Debug)]
pub(crate) enum PullTest {
    Equal(Bson),
    Matching(Filter),
    /// Conditions on the element itself, as if it were the field `v`.
    Value(Filter),
}

impl Update {
    pub(crate) fn parse(
        update: &Bson,
        multi: bool,
        filters: Option<&[Document]>,
        scope: &Scope,
    ) -> Result<Self> {
        let document = match update {
            Bson::Document(document) => document,
            Bson::Array(_) if filters.is_some() => {
                let message = "arrayFilters may not be specified for pipeline-style updates";
                return Err(Failure::new(FAILED_TO_PARSE, message));
            }
            Bson::Array(stages) => return Ok(Self::Pipeline(Pipeline::of_update(stages, scope)?)),
            _ => {
                let message = "Update argument must be either an object or an array";
                return Err(Failure::new(FAILED_TO_PARSE, message));
            }
        };
        let first = document.keys().next().map_or("", String::as_str);
        if first.starts_with('$') {
            let filters = ArrayFilters::parse(filters.unwrap_or_default(), scope)?;
            let modifiers = modifiers(document, scope)?;
            let paths = modifiers.iter().map(|(path, _)| path);
            paths.clone().try_for_each(|path| filters.check(path))?;
            if let Some(name) = filters.unused(paths) {
                let shown = show_document(document);
                let message = format!(
                    "The array filter for identifier '{name}' was not used in the update {shown}"
                );
                return Err(Failure::new(FAILED_TO_PARSE, message));
            }
            return Ok(Self::Modify(modifiers, filters));
        }
        if multi {
            let message = "multi update is not supported for replacement-style update";
            return Err(Failure::new(FAILED_TO_PARSE, message));
        }
        if let Some(key) = document.keys().find(|key| key.starts_with('$')) {
            return Err(dollar_field(key));
        }
        Ok(Self::Replace(document.clone()))
    }

    /// The document after the update; `filter` has matched it.
    pub(crate) fn apply(&self, before: &Document, filter: &Filter) -> Result<Document> {
        match self {
            Self::Replace(replacement) => replaced(before.get("_id"), replacement),
            Self::Pipeline(pipeline) => replaced(before.get("_id"), &pipeline.one(before)?),
            Self::Modify(modifiers, filters) => {
                let mut after = before.clone();
                let position = || filter.position(before);
                modify_each(modifiers, filters, position, &mut after, false)?;
                check_id(before.get("_id"), &after)?;
                Ok(after)
            }
        }
    }

    /// The document that an upsert inserts when nothing matched; it may still lack its `_id`.
    pub(crate) fn insert(&self, filter: &Filter) -> Result<Document> {
        let mut equalities = Vec::new();
        filter.equalities(&mut equalities);
        equalities.sort_by_key(|(path, _)| *path);
        if let Self::Replace(replacement) = self {
            let id = equalities.iter().find(|(path, _)| path[..] == ["_id"]);
            return replaced(id.map(|(_, value)| *value), replacement);
        }
        let mut document = Document::new();
        for pair in equalities.windows(2) {
            if pair[0].0 == pair[1].0 {
                let path = pair[0].0.join(".");
                return Err(Failure::new(
                    NOT_SINGLE_VALUE_FIELD,
                    format!("cannot infer query fields to set, path '{path}' is matched twice"),
                ));
            }
        }
        for (path, value) in equalities {
            let set = [(path.to_vec(), Modifier::Set(value.clone()))];
            modify::apply(&set, &mut document, true)?;
        }
        let id = document.get("_id").cloned();
        match self {
            Self::Modify(modifiers, filters) => {
                modify_each(modifiers, filters, || None, &mut document, true)?;
            }
            Self::Pipeline(pipeline) => return replaced(id.as_ref(), &pipeline.one(&document)?),
            Self::Replace(_) => {}
        }
        if id.is_some() {
            check_id(id.as_ref(), &document)?;
        }
        Ok(id_first(document))
    }
}

/// Applies modifiers, those with positional paths to each element that they mean.
fn modify_each(
    modifiers: &[(Path, Modifier)],
    filters: &ArrayFilters,
    position: impl Fn() -> Option<usize>,
    document: &mut Document,
    inserting: bool,
) -> Result<()> {
    let is_plain =
        |(path, _): &(Path, Modifier)| !path.iter().any(|p| positional::is_positional(p));
    if modifiers.iter().all(is_plain) {
        return modify::apply(modifiers, document, inserting);
    }
    let position = position();
    for pair in modifiers {
        if is_plain(pair) {
            modify::apply(std::slice::from_ref(pair), document, inserting)?;
            continue;
        }
        let (path, modifier) = pair;
        for path in positional::expanded(path, document, filters, position)? {
            modify::apply(&[(path, modifier.clone())], document, inserting)?;
        }
    }
    Ok(())
}

fn dollar_field(key: &str) -> Failure {
    Failure::new(
        DOLLAR_PREFIXED_FIELD,
        format!(
            "The dollar ($) prefixed field '{key}' in '{key}' is not allowed in the context of an \
             update's replacement document. Consider using an aggregation pipeline with \
             $replaceWith."
        ),
    )
}

fn id_first(mut document: Document) -> Document {
    let Some(id) = document.remove("_id") else {
        return document;
    };
    let mut out = Document::new();
    out.insert("_id", id);
    out.extend(document);
    out
}

fn replaced(id: Option<&Bson>, replacement: &Document) -> Result<Document> {
    let mut document = replacement.clone();
    match (id, replacement.get("_id")) {
        (Some(old), Some(new)) if super::value::compare(old, new).is_ne() => {
            super::check_id_type(replacement)?;
            return Err(Failure::new(
                IMMUTABLE_FIELD,
                format!(
                    "After applying the update, the (immutable) field '_id' was found to have been \
                     altered to _id: {}",
                    show(new)
                ),
            ));
        }
        (Some(old), _) => {
            document.insert("_id", old.clone());
        }
        (None, _) => {}
    }
    Ok(id_first(document))
}

fn check_id(before: Option<&Bson>, after: &Document) -> Result<()> {
    let same = match (before, after.get("_id")) {
        (Some(before), Some(after)) => super::value::compare(before, after).is_eq(),
        (before, after) => before.is_none() && after.is_none(),
    };
    if same {
        return Ok(());
    }
    Err(Failure::new(
        IMMUTABLE_FIELD,
        "Performing an update on the path '_id' would modify the immutable field '_id'",
    ))
}

fn modifiers(update: &Document, scope: &Scope) -> Result<Vec<(Path, Modifier)>> {
    let mut all: Vec<(Path, Modifier)> = Vec::new();
    let mut taken: Vec<Path> = Vec::new();
    for (name, fields) in update {
        if LEFT_OUT.contains(&name.as_str()) {
            return Err(Failure::not_simulated(name));
        }
        if !OPERATORS.contains(&name.as_str()) {
            return Err(Failure::new(
                FAILED_TO_PARSE,
                format!(
                    "Unknown modifier: {name}. Expected a valid update modifier or pipeline-style \
                     update specified as an array"
                ),
            ));
        }
        let Bson::Document(fields) = fields else {
            return Err(Failure::new(
                FAILED_TO_PARSE,
                format!(
                    "Modifiers operate on fields but we found type {} instead. For example: {{$mod: \
                     {{<field>: ...}}}} not {{{name}: {}}}",
                    type_name(fields),
                    show(fields)
                ),
            ));
        };
        for (field, operand) in fields {
            let source = parse_path(field)?;
            let (target, modifier) = modifier(name, field, source.clone(), operand, scope)?;
            claim(&mut taken, &target)?;
            if target != source {
                claim(&mut taken, &source)?;
            }
            all.push((target, modifier));
        }
    }
    all.sort_by(|(a, _), (b, _)| path_order(a, b));
    Ok(all)
}

/// By name, but numbers as numbers: elements of an array come in their order.
fn path_order(a: &Path, b: &Path) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn claim(taken: &mut Vec<Path>, path: &Path) -> Result<()> {
    for other in taken.iter() {
        let shared = other.len().min(path.len());
        if other[..shared] == path[..shared] {
            return Err(Failure::new(
                CONFLICTING_UPDATE_OPERATORS,
                format!(
                    "Updating the path '{}' would create a conflict at '{}'",
                    path.join("."),
                    path[..shared].join(".")
                ),
            ));
        }
    }
    taken.push(path.clone());
    Ok(())
}

fn parse_path(field: &str) -> Result<Path> {
    if field.is_empty() {
        let message = "An empty update path is not valid.";
        return Err(Failure::new(EMPTY_FIELD_NAME, message));
    }
    let path: Path = field.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err(Failure::new(
            EMPTY_FIELD_NAME,
            format!(
                "The update path '{field}' contains an empty field name, which is not allowed."
            ),
        ));
    }
    let first = path[0].as_str();
    if positional::is_positional(first) {
        let what = if first == "$" {
            "positional (i.e. '$')"
        } else {
            "array filter identifier (i.e. '$[<id>]')"
        };
        let message = format!("Cannot have {what} element in the first position in path '{field}'");
        return Err(Failure::new(BAD_VALUE, message));
    }
    let other = |part: &String| part.starts_with('$') && !positional::is_positional(part);
    match path.iter().position(other) {
        Some(0) => Err(dollar_field(field)),
        Some(_) => Err(Failure::not_simulated("$ in the path of an update")),
        None => Ok(path),
    }
}

fn modifier(
    name: &str,
    field: &str,
    path: Path,
    operand: &Bson,
    scope: &Scope,
) -> Result<(Path, Modifier)> {
    let value = || operand.clone();
    let number = |verb: &str| match super::value::float(operand) {
        Some(_) => Ok(operand.clone()),
        None => Err(Failure::new(
            TYPE_MISMATCH,
            format!(
                "Cannot {verb} with non-numeric argument: {{{field}: {}}}",
                show(operand)
            ),
        )),
    };
    let modifier = match name {
        "$addToSet" => Modifier::AddToSet(each(name, operand, &["$each"])?),
        "$inc" => Modifier::Inc(number("increment")?),
        "$max" => Modifier::Max(value()),
        "$min" => Modifier::Min(value()),
        "$mul" => Modifier::Mul(number("multiply")?),
        "$pull" => Modifier::Pull(pull_test(operand, scope)?),
        "$push" => Modifier::Push(each(
            name,
            operand,
            &["$each", "$slice", "$sort", "$position"],
        )?),
        "$rename" => return rename(field, path, operand),
        "$setOnInsert" => Modifier::SetOnInsert(value()),
        "$unset" => Modifier::Unset,
        _ => Modifier::Set(value()),
    };
    Ok((path, modifier))
}

fn rename(field: &str, source: Path, operand: &Bson) -> Result<(Path, Modifier)> {
    let Bson::String(to) = operand else {
        return Err(Failure::new(
            BAD_VALUE,
            format!(
                "The 'to' field for $rename must be a string: {field}: {}",
                show(operand)
            ),
        ));
    };
    let target = parse_path(to)?;
    if source
        .iter()
        .chain(&target)
        .any(|part| positional::is_positional(part))
    {
        return Err(Failure::not_simulated("$rename of an element"));
    }
    if target == source {
        return Err(Failure::new(
            BAD_VALUE,
            format!("The source and target field for $rename must differ: {field}: \"{to}\""),
        ));
    }
    Ok((target, Modifier::RenameFrom(source)))
}

fn each(name: &str, operand: &Bson, clauses: &[&str]) -> Result<Vec<Bson>> {
    let Some(clause) = operand.as_document().filter(|d| d.contains_key("$each")) else {
        return Ok(vec![operand.clone()]);
    };
    for key in clause.keys() {
        if !clauses.contains(&key.as_str()) {
            return Err(Failure::new(
                BAD_VALUE,
                format!("Unrecognized clause in {name}: {key}"),
            ));
        }
        if key != "$each" {
            return Err(Failure::not_simulated(format_args!("{key} of {name}")));
        }
    }
    match clause.get("$each") {
        Some(Bson::Array(values)) => Ok(values.clone()),
        other => {
            let found = other.map_or("missing", type_name);
            Err(Failure::new(
                BAD_VALUE,
                format!(
                    "The argument to $each in {name} must be an array but it was of type: {found}"
                ),
            ))
        }
    }
}

fn pull_test(operand: &Bson, scope: &Scope) -> Result<PullTest> {
    let Bson::Document(document) = operand else {
        if matches!(operand, Bson::RegularExpression(_)) {
            return Err(Failure::not_simulated("$regex"));
        }
        return Ok(PullTest::Equal(operand.clone()));
    };
    let first = document.keys().next().map_or("", String::as_str);
    if first.starts_with('$') && !["$and", "$or", "$nor"].contains(&first) {
        let mut wrapped = Document::new();
        wrapped.insert("v", operand.clone());
        return Ok(PullTest::Value(Filter::parse(&wrapped, scope)?));
    }
    Ok(PullTest::Matching(Filter::parse(document, scope)?))
}

/// `{field: value}`, as messages about an element of a document show it.
pub(crate) fn show_element(name: &str, value: &Bson) -> String {
    format!("{{{name}: {}}}", show(value))
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
