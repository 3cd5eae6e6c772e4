//! Aggregation: the listed stages and accumulators, over documents in memory.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use super::{
    expression::Expression,
    project::Projection,
    query::Filter,
    reshape::{AddFields, ReplaceRoot, unset},
    scope::{Scope, folded},
    sort::Sort,
    target::Target,
    value::{Key, arithmetic, compare, float, show, type_name, whole},
};
use crate::failure::{Failure, Result};

/// The stages that pipelines know.
pub(crate) const STAGES: &[&str] = &[
    "$addFields",
    "$count",
    "$group",
    "$limit",
    "$listLocalSessions",
    "$match",
    "$merge",
    "$out",
    "$project",
    "$replaceRoot",
    "$replaceWith",
    "$set",
    "$skip",
    "$sort",
    "$unset",
    "$unwind",
];

/// The stages that a pipeline of an update may have.
const OF_UPDATES: &[&str] = &[
    "$addFields",
    "$project",
    "$replaceRoot",
    "$replaceWith",
    "$set",
    "$unset",
];

/// Stages of the real server that this one leaves out.
const LEFT_OUT: &[&str] = &[
    "$bucket",
    "$bucketAuto",
    "$changeStream",
    "$collStats",
    "$currentOp",
    "$densify",
    "$documents",
    "$facet",
    "$fill",
    "$geoNear",
    "$graphLookup",
    "$indexStats",
    "$listSessions",
    "$lookup",
    "$planCacheStats",
    "$redact",
    "$sample",
    "$search",
    "$setWindowFields",
    "$sortByCount",
    "$unionWith",
];

/// The accumulators that `$group` knows.
pub(crate) const ACCUMULATORS: &[&str] = &["$avg", "$first", "$max", "$min", "$push", "$sum"];

const ACCUMULATORS_LEFT_OUT: &[&str] = &[
    "$accumulator",
    "$addToSet",
    "$bottom",
    "$bottomN",
    "$count",
    "$firstN",
    "$last",
    "$lastN",
    "$maxN",
    "$mergeObjects",
    "$minN",
    "$stdDevPop",
    "$stdDevSamp",
    "$top",
    "$topN",
];

/// A parsed pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    stages: Vec<Stage>,
    /// Where its documents are written instead of being returned.
    pub(crate) target: Option<Target>,
    /// It begins with the sessions of the server instead of a collection.
    pub(crate) lists_sessions: bool,
}

#[derive(Clone, Debug)]
enum Stage {
    AddFields(AddFields),
    Count(String),
    Group(Expression, Vec<(String, String, Expression)>, bool),
    Limit(usize),
    Match(Filter),
    Project(Projection),
    ReplaceRoot(ReplaceRoot),
    Skip(usize),
    Sort(Sort),
    Unwind {
        path: Vec<String>,
        keep_empty: bool,
        index: Option<String>,
    },
}

/// Name and specification of each stage, if their names are known.
pub(crate) fn named(stages: &[Bson]) -> Result<Vec<(&str, &Bson)>> {
    let name = |stage: &'_ Bson| match stage {
        Bson::Document(stage) if stage.len() == 1 => Ok(()),
        Bson::Document(_) => Err(Failure::new(
            40323,
            "A pipeline stage specification object must contain exactly one field.",
        )),
        _ => Err(Failure::new(
            crate::failure::TYPE_MISMATCH,
            "Each element of the 'pipeline' array must be an object",
        )),
    };
    stages.iter().try_for_each(name)?;
    let fields = stages
        .iter()
        .filter_map(|stage| stage.as_document()?.iter().next());
    let fields = fields.map(|(name, spec)| {
        if LEFT_OUT.contains(&name.as_str()) {
            return Err(Failure::not_simulated(name));
        }
        if !STAGES.contains(&name.as_str()) {
            let message = format!("Unrecognized pipeline stage name: '{name}'");
            return Err(Failure::new(40324, message));
        }
        Ok((name.as_str(), spec))
    });
    fields.collect()
}

impl Pipeline {
    pub(crate) fn parse(stages: &[Bson], scope: &Scope) -> Result<Self> {
        let mut this = Self {
            stages: Vec::new(),
            target: None,
            lists_sessions: false,
        };
        let named = named(stages)?;
        for (at, (name, spec)) in named.iter().enumerate() {
            match *name {
                "$out" | "$merge" => {
                    this.target = Some(Target::parse(name, spec)?);
                    if at + 1 < named.len() {
                        let message = format!("{name} can only be the final stage in the pipeline");
                        return Err(Failure::new(40601, message));
                    }
                }
                "$listLocalSessions" if at == 0 => this.lists_sessions = true,
                "$listLocalSessions" => {
                    return Err(Failure::not_simulated("a later $listLocalSessions"));
                }
                _ => this.stages.push(Stage::parse(name, spec, scope)?),
            }
        }
        Ok(this)
    }

    /// The pipeline of an update.
    pub(super) fn of_update(stages: &[Bson], scope: &Scope) -> Result<Self> {
        for (name, _) in named(stages)? {
            if !OF_UPDATES.contains(&name) {
                let message = format!("{name} is not allowed to be used within an update");
                return Err(Failure::new(crate::failure::INVALID_OPTIONS, message));
            }
        }
        Self::parse(stages, scope)
    }

    pub(crate) fn run(&self, mut documents: Vec<Document>) -> Result<Vec<Document>> {
        for stage in &self.stages {
            documents = stage.run(documents)?;
        }
        Ok(documents)
    }

    /// What becomes of a single document.
    pub(super) fn one(&self, document: &Document) -> Result<Document> {
        let out = self.run(vec![document.clone()])?;
        Ok(out.into_iter().next().unwrap_or_default())
    }
}

impl Stage {
    fn parse(name: &str, spec: &Bson, scope: &Scope) -> Result<Self> {
        match name {
            "$addFields" | "$set" => Ok(Self::AddFields(AddFields::parse(name, spec, scope)?)),
            "$replaceRoot" | "$replaceWith" => {
                let replace = ReplaceRoot::parse(name, spec, scope)?;
                Ok(Self::ReplaceRoot(replace))
            }
            "$unset" => project(&unset(spec)?.into(), scope),
            "$count" => match spec {
                Bson::String(field) if field.starts_with('$') => Err(Failure::new(
                    40158,
                    "the count field cannot be a $-prefixed path",
                )),
                Bson::String(field) if !field.is_empty() => Ok(Self::Count(field.clone())),
                Bson::String(_) => Err(Failure::new(
                    40157,
                    "the count field must be a non-empty string",
                )),
                _ => Err(Failure::new(
                    40156,
                    "the count field must be a non-empty string",
                )),
            },
            "$group" => group(spec, scope),
            "$limit" => limit(spec),
            "$match" => match spec {
                Bson::Document(filter) => Ok(Self::Match(Filter::parse(filter, scope)?)),
                _ => Err(Failure::new(
                    15959,
                    "the match filter must be an expression in an object",
                )),
            },
            "$project" => project(spec, scope),
            "$skip" => Ok(Self::Skip(count_of("$skip", spec, 5_107_200)?)),
            "$sort" => match spec {
                Bson::Document(keys) if keys.is_empty() => Err(Failure::new(
                    15976,
                    "$sort stage must have at least one sort key",
                )),
                Bson::Document(keys) => Ok(Self::Sort(Sort::parse(keys, scope)?)),
                _ => Err(Failure::new(
                    15973,
                    "the $sort key specification must be an object",
                )),
            },
            _ => unwind(spec),
        }
    }

    fn run(&self, mut documents: Vec<Document>) -> Result<Vec<Document>> {
        Ok(match self {
            Self::Count(_) if documents.is_empty() => documents,
            Self::Count(field) => {
                let count = i64::try_from(documents.len()).unwrap_or(i64::MAX);
                vec![doc! { field: small(count) }]
            }
            Self::AddFields(fields) => documents.iter().map(|d| fields.apply(d)).collect(),
            Self::Group(id, fields, folds) => grouped(id, fields, *folds, &documents)?,
            Self::Limit(limit) => {
                documents.truncate(*limit);
                documents
            }
            Self::Match(filter) => {
                documents.retain(|document| filter.matches(document));
                documents
            }
            Self::Project(projection) => documents.iter().map(|d| projection.apply(d)).collect(),
            Self::ReplaceRoot(replace) => {
                let each = documents.iter().map(|d| replace.apply(d));
                each.collect::<Result<_>>()?
            }
            Self::Skip(skip) => documents.split_off((*skip).min(documents.len())),
            Self::Sort(sort) => {
                sort.apply(&mut documents);
                documents
            }
            Self::Unwind {
                path,
                keep_empty,
                index,
            } => documents
                .iter()
                .flat_map(|d| unwound(d, path, *keep_empty, index.as_deref()))
                .collect(),
        })
    }
}

/// An integer with 32 bits where it fits.
fn small(n: i64) -> Bson {
    i32::try_from(n).map_or(Bson::Int64(n), Bson::Int32)
}

fn count_of(name: &str, spec: &Bson, code: i32) -> Result<usize> {
    let bad = |what: &str| {
        let shown = show(spec);
        Err(Failure::new(
            code,
            format!("invalid argument to {name} stage: Expected {what} in: {name}: {shown}"),
        ))
    };
    match whole(spec) {
        Some(n) if n >= 0 => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
        Some(_) => bad("a non-negative number"),
        None if float(spec).is_some() => bad("an integer"),
        None => bad("a number"),
    }
}

fn limit(spec: &Bson) -> Result<Stage> {
    match count_of("$limit", spec, 5_107_201)? {
        0 => Err(Failure::new(15958, "the limit must be positive")),
        limit => Ok(Stage::Limit(limit)),
    }
}

fn project(spec: &Bson, scope: &Scope) -> Result<Stage> {
    let Bson::Document(fields) = spec else {
        return Err(Failure::new(
            15969,
            "$project specification must be an object",
        ));
    };
    let invalid = |failure: Failure| Failure {
        message: format!("Invalid $project :: caused by :: {}", failure.message),
        ..failure
    };
    match Projection::parse(fields, scope) {
        Ok(Some(projection)) => Ok(Stage::Project(projection)),
        Ok(None) => Err(invalid(Failure::new(
            51272,
            "projection specification must have at least one field",
        ))),
        Err(failure) if failure.code == crate::failure::NOT_SIMULATED => Err(failure),
        Err(failure) => Err(invalid(failure)),
    }
}

fn group(spec: &Bson, scope: &Scope) -> Result<Stage> {
    let Bson::Document(fields) = spec else {
        return Err(Failure::new(
            15947,
            "a group's fields must be specified in an object",
        ));
    };
    let mut id = None;
    let mut accumulators = Vec::new();
    for (field, value) in fields {
        if field == "_id" {
            id = Some(Expression::parse(value, scope)?);
            continue;
        }
        let not_object = || {
            let message = format!("The field '{field}' must be an accumulator object");
            Failure::new(40234, message)
        };
        let object = value.as_document().ok_or_else(not_object)?;
        if object.is_empty() {
            return Err(not_object());
        }
        let mut operators = object.iter();
        let (Some((operator, operand)), None) = (operators.next(), operators.next()) else {
            let message = format!("The field '{field}' must specify one accumulator");
            return Err(Failure::new(40238, message));
        };
        if ACCUMULATORS_LEFT_OUT.contains(&operator.as_str()) {
            return Err(Failure::not_simulated(operator));
        }
        if !ACCUMULATORS.contains(&operator.as_str()) {
            let message = format!("unknown group operator '{operator}'");
            return Err(Failure::new(15952, message));
        }
        accumulators.push((
            field.clone(),
            operator.clone(),
            Expression::parse(operand, scope)?,
        ));
    }
    match id {
        Some(id) => Ok(Stage::Group(id, accumulators, scope.folds())),
        None => Err(Failure::new(
            15955,
            "a group specification must include an _id",
        )),
    }
}

fn unwind(spec: &Bson) -> Result<Stage> {
    let (path, keep_empty, index) = match spec {
        Bson::String(path) => (path.as_str(), false, None),
        Bson::Document(options) => {
            let known = ["path", "preserveNullAndEmptyArrays", "includeArrayIndex"];
            if let Some(key) = options.keys().find(|key| !known.contains(&key.as_str())) {
                let message = format!("unrecognized option to $unwind stage: {key}");
                return Err(Failure::new(28811, message));
            }
            let Ok(path) = options.get_str("path") else {
                return Err(Failure::new(28812, "no path specified to $unwind stage"));
            };
            let keep = options
                .get_bool("preserveNullAndEmptyArrays")
                .unwrap_or(false);
            let index = options.get_str("includeArrayIndex").ok().map(str::to_owned);
            (path, keep, index)
        }
        _ => {
            let found = type_name(spec);
            let message = format!(
                "expected either a string or an object as specification for $unwind stage, got \
                 {found}"
            );
            return Err(Failure::new(15981, message));
        }
    };
    let Some(path) = path.strip_prefix('$') else {
        return Err(Failure::new(
            28818,
            format!("path option to $unwind stage should be prefixed with a '$': {path}"),
        ));
    };
    Ok(Stage::Unwind {
        path: path.split('.').map(str::to_owned).collect(),
        keep_empty,
        index,
    })
}

fn unwound(
    document: &Document,
    path: &[String],
    keep_empty: bool,
    index: Option<&str>,
) -> Vec<Document> {
    let with = |value: Option<Bson>, at: Bson| {
        let mut out = document.clone();
        put(&mut out, path, value);
        if let Some(index) = index {
            out.insert(index, at);
        }
        out
    };
    match at(document, path) {
        Some(Bson::Array(values)) if values.is_empty() => {
            if keep_empty {
                vec![with(None, Bson::Null)]
            } else {
                Vec::new()
            }
        }
        Some(Bson::Array(values)) => {
            let each = values.iter().enumerate();
            let each = each.map(|(i, v)| with(Some(v.clone()), Bson::Int64(i as i64)));
            each.collect()
        }
        None | Some(Bson::Null | Bson::Undefined) => {
            if !keep_empty {
                return Vec::new();
            }
            let mut out = document.clone();
            if let Some(index) = index {
                out.insert(index, Bson::Null);
            }
            vec![out]
        }
        Some(value) => vec![with(Some(value.clone()), Bson::Null)],
    }
}

fn at<'a>(document: &'a Document, path: &[String]) -> Option<&'a Bson> {
    let (first, rest) = path.split_first()?;
    let value = document.get(first)?;
    if rest.is_empty() {
        return Some(value);
    }
    at(value.as_document()?, rest)
}

fn put(document: &mut Document, path: &[String], value: Option<Bson>) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    match (rest.is_empty(), value) {
        (true, Some(value)) => {
            document.insert(first.clone(), value);
        }
        (true, None) => {
            document.remove(first);
        }
        (false, value) => {
            if let Some(Bson::Document(inner)) = document.get_mut(first) {
                put(inner, rest, value);
            }
        }
    }
}

fn grouped(
    id: &Expression,
    fields: &[(String, String, Expression)],
    folds: bool,
    documents: &[Document],
) -> Result<Vec<Document>> {
    // The real server's groups come in no order; these come in that of their first document.
    let known_as = |key: &Bson| Key(if folds { folded(key) } else { key.clone() });
    let mut order: Vec<Bson> = Vec::new();
    let mut groups: BTreeMap<Key, Vec<&Document>> = BTreeMap::new();
    for document in documents {
        let key = group_key(id, document);
        let members = groups.entry(known_as(&key)).or_default();
        if members.is_empty() {
            order.push(key);
        }
        members.push(document);
    }
    let mut out = Vec::with_capacity(order.len());
    for key in order {
        let members = &groups[&known_as(&key)];
        let mut group = doc! { "_id": key };
        for (field, operator, operand) in fields {
            let values: Vec<Option<Bson>> = members.iter().map(|d| operand.evaluate(d)).collect();
            group.insert(field.clone(), accumulated(operator, &values)?);
        }
        out.push(group);
    }
    Ok(out)
}

/// The key of a document's group; what it lacks is null.
fn group_key(id: &Expression, document: &Document) -> Bson {
    let Expression::Document(fields) = id else {
        return id.evaluate(document).unwrap_or(Bson::Null);
    };
    let value = |field: &Expression| field.evaluate(document).unwrap_or(Bson::Null);
    let fields = fields
        .iter()
        .map(|(name, field)| (name.clone(), value(field)));
    Bson::Document(fields.collect())
}

fn accumulated(operator: &str, values: &[Option<Bson>]) -> Result<Bson> {
    let known = || values.iter().flatten();
    let present = || known().filter(|v| !matches!(v, Bson::Null | Bson::Undefined));
    Ok(match operator {
        "$first" => values.first().cloned().flatten().unwrap_or(Bson::Null),
        "$max" => present()
            .max_by(|a, b| compare(a, b))
            .cloned()
            .unwrap_or(Bson::Null),
        "$min" => present()
            .min_by(|a, b| compare(a, b))
            .cloned()
            .unwrap_or(Bson::Null),
        "$push" => known().cloned().collect(),
        "$avg" => {
            let numbers: Vec<f64> = known().filter_map(float).collect();
            if numbers.is_empty() {
                return Ok(Bson::Null);
            }
            Bson::Double(numbers.iter().sum::<f64>() / numbers.len() as f64)
        }
        _ => {
            let mut sum = Bson::Int32(0);
            for number in known().filter(|v| float(v).is_some()) {
                sum = arithmetic(&sum, number, i64::checked_add, |a, b| a + b)
                    .ok_or_else(|| Failure::not_simulated("sum of this size or type"))?;
            }
            sum
        }
    })
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
