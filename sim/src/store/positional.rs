//! Paths of updates that name elements of arrays: `$`, `$[]` and `$[name]` with array filters.
//!
//! For each document such a path becomes the paths of the elements that it means.

use std::collections::BTreeMap;

use bson::{Bson, Document};

use super::{query::Filter, scope::Scope, update::Path, value::show};
use crate::failure::{BAD_VALUE, FAILED_TO_PARSE, Failure, Result};

/// The array filters of an update, by their names. Each tests an element as the field of its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArrayFilters(BTreeMap<String, Filter>);

impl ArrayFilters {
    pub(crate) fn parse(filters: &[Document], scope: &Scope) -> Result<Self> {
        let mut all = BTreeMap::new();
        for filter in filters {
            let name = top_level_name(filter)?;
            let parsed = Filter::parse(filter, scope)?;
            if all.insert(name.clone(), parsed).is_some() {
                let message = format!(
                    "Found multiple array filters with the same top-level field name {name}"
                );
                return Err(Failure::new(FAILED_TO_PARSE, message));
            }
        }
        Ok(Self(all))
    }

    /// Fails for a path that names a filter which is not there.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        for part in path {
            if let Some(name) = identifier(part).filter(|name| !name.is_empty())
                && !self.0.contains_key(name)
            {
                let shown = path.join(".");
                let message =
                    format!("No array filter found for identifier '{name}' in path '{shown}'");
                return Err(Failure::new(BAD_VALUE, message));
            }
        }
        Ok(())
    }

    /// The first filter that no path names.
    pub(super) fn unused<'a>(&self, paths: impl Iterator<Item = &'a Path> + Clone) -> Option<&str> {
        let used = |name: &&String| {
            let mut parts = paths.clone().flatten();
            parts.any(|part| identifier(part) == Some(name))
        };
        let unused = self.0.keys().find(|name| !used(name));
        unused.map(String::as_str)
    }
}

/// The one field that an array filter is about.
fn top_level_name(filter: &Document) -> Result<String> {
    let error = |what: String| {
        let message = format!("Error parsing array filter :: caused by :: {what}");
        Failure::new(FAILED_TO_PARSE, message)
    };
    let mut names: Vec<&str> = Vec::new();
    for key in filter.keys() {
        if key.starts_with('$') {
            return Err(Failure::not_simulated(format_args!(
                "{key} of an array filter"
            )));
        }
        let name = key.split('.').next().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names[..] {
        [] => {
            let message = "Cannot use an expression without a top-level field name in arrayFilters";
            Err(Failure::new(FAILED_TO_PARSE, message))
        }
        [name] if is_identifier(name) => Ok(name.to_owned()),
        [name] => {
            let mut failure = error(format!(
                "The top-level field name must be an alphanumeric string beginning with a lowercase \
                 letter, found '{name}'"
            ));
            failure.code = BAD_VALUE;
            Err(failure)
        }
        [first, second, ..] => Err(error(format!(
            "Expected a single top-level field name, found '{first}' and '{second}'"
        ))),
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The name between `$[` and `]`, empty for all elements.
fn identifier(part: &str) -> Option<&str> {
    part.strip_prefix("$[")?.strip_suffix(']')
}

/// Whether a part of a path stands for elements.
pub(super) fn is_positional(part: &str) -> bool {
    part == "$" || identifier(part).is_some()
}

/// The paths that a path means in a document, whose element `position` the filter has matched.
pub(super) fn expanded(
    path: &Path,
    document: &Document,
    filters: &ArrayFilters,
    position: Option<usize>,
) -> Result<Vec<Path>> {
    let mut found = Vec::new();
    let whole = Bson::Document(document.clone());
    let mut done = Path::new();
    expand(path, Some(&whole), filters, position, &mut done, &mut found)?;
    Ok(found)
}

fn expand(
    rest: &[String],
    value: Option<&Bson>,
    filters: &ArrayFilters,
    position: Option<usize>,
    done: &mut Path,
    found: &mut Vec<Path>,
) -> Result<()> {
    let Some((part, after)) = rest.split_first() else {
        found.push(done.clone());
        return Ok(());
    };
    let indexes: Vec<String> = if part == "$" {
        let message = "The positional operator did not find the match needed from the query.";
        let position = position.ok_or_else(|| Failure::new(BAD_VALUE, message))?;
        vec![position.to_string()]
    } else if let Some(name) = identifier(part) {
        let elements = elements(value, done)?;
        let wanted = |(index, element): (usize, &Bson)| {
            let filter = filters.0.get(name);
            let chosen = filter.is_none_or(|filter| {
                let mut field = Document::new();
                field.insert(name, element.clone());
                filter.matches(&field)
            });
            chosen.then(|| index.to_string())
        };
        elements.iter().enumerate().filter_map(wanted).collect()
    } else {
        vec![part.clone()]
    };
    for step in indexes {
        let next = match value {
            Some(Bson::Document(inner)) => inner.get(&step),
            Some(Bson::Array(values)) => step.parse::<usize>().ok().and_then(|i| values.get(i)),
            _ => None,
        };
        done.push(step);
        expand(after, next, filters, position, done, found)?;
        done.pop();
    }
    Ok(())
}

fn elements<'a>(value: Option<&'a Bson>, path: &Path) -> Result<&'a [Bson]> {
    let message = match value {
        Some(Bson::Array(values)) => return Ok(values),
        None => format!(
            "The path '{}' must exist in the document in order to apply array updates.",
            path.join(".")
        ),
        Some(other) => {
            let name = path.last().map_or("", String::as_str);
            let shown = show(other);
            format!("Cannot apply array updates to non-array element {name}: {shown}")
        }
    };
    Err(Failure::new(BAD_VALUE, message))
}
