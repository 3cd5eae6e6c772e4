//! Sorting by keys with dotted paths.

use std::{borrow::Borrow, cmp::Ordering};

use bson::{Bson, Document};

use super::{
    scope::{Scope, folded},
    value::{compare, whole},
};
use crate::failure::{Failure, Result};

/// A parsed sort: paths, and whether each descends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sort {
    keys: Vec<(Vec<String>, bool)>,
    /// Upper and lower case are the same.
    folds: bool,
}

impl Sort {
    pub(crate) fn parse(sort: &Document, scope: &Scope) -> Result<Self> {
        let mut keys = Vec::new();
        for (path, direction) in sort {
            if path.starts_with('$') {
                return Err(Failure::not_simulated(format_args!("sort by {path}")));
            }
            let descends = match (whole(direction), direction) {
                (Some(1), _) => false,
                (Some(-1), _) => true,
                (_, Bson::Document(_)) => {
                    return Err(Failure::not_simulated("sort by $meta"));
                }
                (Some(_), _) => {
                    return Err(Failure::new(
                        15975,
                        "$sort key ordering must be 1 (for ascending) or -1 (for descending)",
                    ));
                }
                (None, other) => {
                    let shown = super::value::show(other);
                    let message = format!("Illegal key in $sort specification: {path}: {shown}");
                    return Err(Failure::new(15974, message));
                }
            };
            keys.push((path.split('.').map(str::to_owned).collect(), descends));
        }
        Ok(Self {
            keys,
            folds: scope.folds(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether everything must be read before the first document is known.
    pub(crate) fn is_blocking(&self) -> bool {
        self.keys
            .first()
            .is_some_and(|(path, _)| path[..] != ["_id"])
    }

    /// Sorts; documents that compare equal keep their order.
    pub(crate) fn apply<D: Borrow<Document>>(&self, documents: &mut [D]) {
        if !self.is_empty() {
            documents.sort_by(|a, b| self.compare(a.borrow(), b.borrow()));
        }
    }

    fn compare(&self, a: &Document, b: &Document) -> Ordering {
        for (path, descends) in &self.keys {
            let order = compare(&self.key(a, path, *descends), &self.key(b, path, *descends));
            if order.is_ne() {
                return if *descends { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    }

    /// The value that a document sorts by: of several the least, or the greatest when descending.
    fn key(&self, document: &Document, path: &[String], descends: bool) -> Bson {
        let mut found = Vec::new();
        collect(document, path, &mut found);
        if self.folds {
            found.iter_mut().for_each(|value| *value = folded(value));
        }
        let best = if descends {
            found.into_iter().max_by(compare)
        } else {
            found.into_iter().min_by(compare)
        };
        best.unwrap_or(Bson::Null)
    }
}

fn collect(document: &Document, path: &[String], found: &mut Vec<Bson>) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    match document.get(first) {
        None => found.push(Bson::Null),
        Some(value) => collect_below(value, rest, found),
    }
}

fn collect_below(value: &Bson, rest: &[String], found: &mut Vec<Bson>) {
    match (value, rest.first()) {
        (Bson::Array(values), None) if values.is_empty() => found.push(Bson::Undefined),
        (Bson::Array(values), None) => found.extend(values.iter().cloned()),
        (value, None) => found.push(value.clone()),
        (Bson::Document(document), Some(_)) => collect(document, rest, found),
        (Bson::Array(values), Some(next)) => {
            if let Some(value) = next.parse::<usize>().ok().and_then(|i| values.get(i)) {
                collect_below(value, &rest[1..], found);
                return;
            }
            for element in values.iter().filter_map(Bson::as_document) {
                collect(element, rest, found);
            }
        }
        _ => found.push(Bson::Null),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn ids(sort: Document, documents: &[Document]) -> Vec<i32> {
        let mut documents = documents.to_vec();
        Sort::parse(&sort, &Scope::default())
            .unwrap()
            .apply(&mut documents);
        documents
            .iter()
            .map(|d| d.get_i32("_id").unwrap())
            .collect()
    }

    #[test]
    fn sorts_by_several_keys_and_by_the_extreme_of_arrays() {
        let documents = [
            doc! { "_id": 1, "a": 2, "t": [5, 1] },
            doc! { "_id": 2, "a": 1, "t": [2, 3] },
            doc! { "_id": 3, "a": 1, "t": [] },
            doc! { "_id": 4, "n": { "x": 1 } },
        ];
        assert_eq!(ids(doc! { "a": 1, "_id": -1 }, &documents), [4, 3, 2, 1]);
        assert_eq!(ids(doc! { "a": 1 }, &documents), [4, 2, 3, 1]);
        assert_eq!(ids(doc! { "t": 1 }, &documents), [3, 4, 1, 2]);
        assert_eq!(ids(doc! { "t": -1 }, &documents), [1, 2, 4, 3]);
        assert_eq!(ids(doc! { "n.x": -1 }, &documents), [4, 1, 2, 3]);
    }

    #[test]
    fn a_direction_is_one_or_minus_one() {
        let code = |sort| Sort::parse(&sort, &Scope::default()).unwrap_err().code;
        assert_eq!(code(doc! { "a": 2 }), 15975);
        assert_eq!(code(doc! { "a": "x" }), 15974);
    }
}
