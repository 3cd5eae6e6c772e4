//! Projections of find and of `$project`: inclusion, exclusion, and fields computed from paths.

use bson::{Bson, Document};

use super::{
    expression::Expression,
    scope::Scope,
    value::{float, truthy},
};
use crate::failure::{Failure, Result};

/// A parsed projection.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    /// Whether `tree` names what stays (or what goes).
    inclusive: bool,
    tree: Tree,
    id: bool,
}

/// Fields by name; leaves end a path.
type Tree = Vec<(String, Node)>;

#[derive(Clone, Debug)]
enum Node {
    Branch(Tree),
    Computed(Expression),
    Leaf,
}

impl Projection {
    /// Parses; `None` for an empty specification, which keeps everything.
    pub(crate) fn parse(specification: &Document, scope: &Scope) -> Result<Option<Self>> {
        let mut this = Self {
            inclusive: false,
            tree: Vec::new(),
            id: true,
        };
        let mut decided = None;
        for (path, value) in specification {
            check_path(path)?;
            let is_flag = float(value).is_some() || matches!(value, Bson::Boolean(_));
            if path == "_id" && is_flag {
                this.id = truthy(value);
                continue;
            }
            let (keep, node) = if is_flag {
                (truthy(value), Node::Leaf)
            } else {
                (true, computed(path, value, scope)?)
            };
            match decided {
                None => decided = Some(keep),
                Some(decided) if decided != keep => return Err(mixed(path, keep)),
                Some(_) => {}
            }
            let parts: Vec<&str> = path.split('.').collect();
            insert(&mut this.tree, &parts, path, node)?;
        }
        if specification.is_empty() {
            return Ok(None);
        }
        // A lone `_id: 1` includes; a lone `_id: 0` excludes.
        this.inclusive = decided.unwrap_or(this.id);
        Ok(Some(this))
    }

    pub(crate) fn apply(&self, document: &Document) -> Document {
        if self.inclusive {
            let mut out = Document::new();
            if self.id
                && let Some(id) = document.get("_id")
                && !self.tree.iter().any(|(name, _)| name == "_id")
            {
                out.insert("_id", id.clone());
            }
            include(document, &self.tree, &mut out);
            compute(document, &self.tree, &mut out);
            return out;
        }
        let mut out = exclude(document, &self.tree);
        if !self.id {
            out.remove("_id");
        }
        out
    }
}

pub(super) fn check_path(path: &str) -> Result<()> {
    if path.split('.').any(|part| part == "$") {
        return Err(Failure::not_simulated("positional projection"));
    }
    if path.split('.').any(|part| part.starts_with('$')) {
        return Err(Failure::new(
            16410,
            "FieldPath field names may not start with '$'. Consider using $getField or $setField.",
        ));
    }
    if path.is_empty() || path.split('.').any(str::is_empty) {
        let message = "FieldPath must not end with a '.'.";
        return Err(Failure::new(40353, message));
    }
    Ok(())
}

fn computed(path: &str, value: &Bson, scope: &Scope) -> Result<Node> {
    match value {
        Bson::Document(document) if !document.keys().any(|k| k.starts_with('$')) => Err(
            Failure::not_simulated(format_args!("sub-projection of {path}")),
        ),
        other => Ok(Node::Computed(Expression::parse(other, scope)?)),
    }
}

fn mixed(path: &str, keep: bool) -> Failure {
    let (code, message) = if keep {
        (
            31253,
            format!("Cannot do inclusion on field {path} in exclusion projection"),
        )
    } else {
        (
            31254,
            format!("Cannot do exclusion on field {path} in inclusion projection"),
        )
    };
    Failure::new(code, message)
}

fn insert(tree: &mut Tree, parts: &[&str], whole: &str, node: Node) -> Result<()> {
    let Some((first, rest)) = parts.split_first() else {
        return Ok(());
    };
    let place = tree.iter_mut().find(|(name, _)| name == first);
    match place {
        None if rest.is_empty() => tree.push(((*first).to_owned(), node)),
        None => {
            let mut branch = Vec::new();
            insert(&mut branch, rest, whole, node)?;
            tree.push(((*first).to_owned(), Node::Branch(branch)));
        }
        Some((_, Node::Branch(branch))) if !rest.is_empty() => insert(branch, rest, whole, node)?,
        Some((_, Node::Branch(_))) => {
            return Err(Failure::new(31250, format!("Path collision at {whole}")));
        }
        Some(_) if rest.is_empty() => {
            return Err(Failure::new(31250, format!("Path collision at {whole}")));
        }
        Some(_) => {
            let rest = rest.join(".");
            let message = format!("Path collision at {whole} remaining portion {rest}");
            return Err(Failure::new(31249, message));
        }
    }
    Ok(())
}

fn include(document: &Document, tree: &Tree, out: &mut Document) {
    for (key, value) in document {
        let kept = match tree.iter().find(|(name, _)| name == key) {
            Some((_, Node::Leaf)) => Some(value.clone()),
            Some((_, Node::Branch(branch))) => include_below(value, branch),
            Some((_, Node::Computed(_))) | None => None,
        };
        if let Some(kept) = kept {
            out.insert(key.clone(), kept);
        }
    }
}

fn include_below(value: &Bson, tree: &Tree) -> Option<Bson> {
    match value {
        Bson::Document(document) => {
            let mut out = Document::new();
            include(document, tree, &mut out);
            Some(Bson::Document(out))
        }
        Bson::Array(values) => {
            let kept = values.iter().filter_map(|v| include_below(v, tree));
            Some(Bson::Array(kept.collect()))
        }
        _ => None,
    }
}

fn compute(document: &Document, tree: &Tree, out: &mut Document) {
    for (name, node) in tree {
        match node {
            Node::Computed(expression) => {
                if let Some(value) = expression.evaluate(document) {
                    out.insert(name.clone(), value);
                }
            }
            Node::Branch(branch) if has_computed(branch) => {
                let mut inner = match out.get(name) {
                    Some(Bson::Document(inner)) => inner.clone(),
                    _ => Document::new(),
                };
                compute(document, branch, &mut inner);
                out.insert(name.clone(), inner);
            }
            Node::Branch(_) | Node::Leaf => {}
        }
    }
}

fn has_computed(tree: &Tree) -> bool {
    tree.iter().any(|(_, node)| match node {
        Node::Branch(branch) => has_computed(branch),
        Node::Computed(_) => true,
        Node::Leaf => false,
    })
}

fn exclude(document: &Document, tree: &Tree) -> Document {
    let mut out = Document::new();
    for (key, value) in document {
        match tree.iter().find(|(name, _)| name == key) {
            None => {
                out.insert(key.clone(), value.clone());
            }
            Some((_, Node::Branch(branch))) => {
                out.insert(key.clone(), exclude_below(value, branch));
            }
            Some(_) => {}
        }
    }
    out
}

fn exclude_below(value: &Bson, tree: &Tree) -> Bson {
    match value {
        Bson::Document(document) => Bson::Document(exclude(document, tree)),
        Bson::Array(values) => values.iter().map(|v| exclude_below(v, tree)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn project(specification: Document, document: &Document) -> Document {
        let parsed = Projection::parse(&specification, &Scope::default()).unwrap();
        parsed.map_or_else(|| document.clone(), |p| p.apply(document))
    }

    #[test]
    fn includes_excludes_and_computes() {
        let document =
            doc! { "_id": 1, "a": 1, "n": { "x": 1, "y": 2 }, "t": [{ "x": 1, "y": 2 }, 5] };
        for (specification, expected) in [
            (doc! { "a": 1 }, doc! { "_id": 1, "a": 1 }),
            (doc! { "a": 1, "_id": 0 }, doc! { "a": 1 }),
            (doc! { "_id": 1 }, doc! { "_id": 1 }),
            (doc! { "n.x": 1 }, doc! { "_id": 1, "n": { "x": 1 } }),
            (doc! { "t.x": 1 }, doc! { "_id": 1, "t": [{ "x": 1 }] }),
            (
                doc! { "a": 0, "t.x": 0, "n": 0 },
                doc! { "_id": 1, "t": [{ "y": 2 }, 5] },
            ),
            (
                doc! { "b": "$n.x", "c": "$none" },
                doc! { "_id": 1, "b": 1 },
            ),
        ] {
            assert_eq!(
                project(specification.clone(), &document),
                expected,
                "{specification}"
            );
        }
    }

    #[test]
    fn mixtures_and_collisions_are_refused() {
        let code = |s: Document| Projection::parse(&s, &Scope::default()).unwrap_err().code;
        assert_eq!(code(doc! { "a": 1, "b": 0 }), 31254);
        assert_eq!(code(doc! { "a": 0, "b": 1 }), 31253);
        assert_eq!(code(doc! { "n": 1, "n.x": 1 }), 31249);
        assert_eq!(code(doc! { "$x": 1 }), 16410);
        assert_eq!(
            code(doc! { "a": { "$slice": 1 } }),
            crate::failure::NOT_SIMULATED
        );
    }
}
