//! The data of a simulated server: collections in memory, changed by operations that can be undone.
//!
//! Whatever changes a collection is an [`Op`]: it is logged, sent to the other members, and gives an
//! [`Undo`] when it is applied, so that a member can roll it back. Planning (does the key exist
//! already?) is done by the member that accepts a write; applying cannot fail.

pub(crate) mod aggregate;
pub(crate) mod expression;
mod modify;
mod positional;
pub(crate) mod project;
pub(crate) mod query;
mod reshape;
pub(crate) mod scope;
pub(crate) mod sort;
pub(crate) mod target;
pub(crate) mod update;
pub(crate) mod value;

use std::{collections::BTreeMap, fmt, sync::Arc};

use bson::{Bson, Document, doc};

use self::{
    query::Filter,
    value::{Key, compare, show_document},
};
use crate::failure::{DOLLAR_PREFIXED_FIELD, DUPLICATE_KEY, Failure, INVALID_ID_FIELD, Result};

/// A database and a collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Namespace {
    pub(crate) database: Arc<str>,
    pub(crate) collection: Arc<str>,
}

impl Namespace {
    pub(crate) fn new(database: impl Into<Arc<str>>, collection: impl Into<Arc<str>>) -> Self {
        Self {
            database: database.into(),
            collection: collection.into(),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

/// A change of the data.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(Namespace, [u8; 16], Document),
    CreateIndex(Namespace, Index),
    Drop(Namespace),
    DropIndex(Namespace, String),
    /// Changes nothing: it marks a time or the beginning of a term.
    Noop,
    /// Puts a document at a record, or takes it away.
    Put(Namespace, u64, Option<Arc<Document>>),
}

/// What brings back the state before an [`Op`].
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    Collection(Namespace, Option<Box<Collection>>),
    Indexes(Namespace, Vec<Index>),
    Nothing,
    Put(Namespace, u64, Option<Arc<Document>>),
}

impl Undo {
    pub(crate) fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Collection(ns, _) | Self::Indexes(ns, _) | Self::Put(ns, ..) => Some(ns),
            Self::Nothing => None,
        }
    }
}

/// An index. Only unique ones have an effect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Index {
    pub(crate) name: String,
    /// The specification as `listIndexes` shows it.
    pub(crate) spec: Document,
}

impl Index {
    pub(crate) fn new(name: &str, key: &Document) -> Self {
        Self {
            name: name.to_owned(),
            spec: doc! { "v": 2, "key": key.clone(), "name": name },
        }
    }

    pub(crate) fn key(&self) -> Document {
        self.spec.get_document("key").cloned().unwrap_or_default()
    }

    fn is_unique(&self) -> bool {
        self.spec.get_bool("unique").unwrap_or(false)
    }
}

/// Documents as they were before something, by their records; `None` where there was none.
pub(crate) type Before<'a> = BTreeMap<u64, Option<&'a Arc<Document>>>;

/// One collection.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) uuid: [u8; 16],
    pub(crate) options: Document,
    pub(crate) indexes: Vec<Index>,
    /// In the order of insertion.
    documents: BTreeMap<u64, Arc<Document>>,
    by_id: BTreeMap<Key, u64>,
    next_record: u64,
}

impl Collection {
    fn new(uuid: [u8; 16], options: Document) -> Self {
        Self {
            uuid,
            options,
            indexes: vec![Index::new("_id_", &doc! { "_id": 1 })],
            documents: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next_record: 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.documents.len()
    }

    /// All documents in the order of insertion.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.documents.values()
    }

    /// The records and documents that a filter matches.
    pub(crate) fn find<'a>(
        &'a self,
        filter: &'a Filter,
    ) -> impl Iterator<Item = (u64, &'a Arc<Document>)> {
        let (some, all) = match filter.id() {
            Some(id) => (self.record(id), None),
            None => (None, Some(self.documents.iter())),
        };
        let some = some.and_then(|record| self.documents.get_key_value(&record));
        let all = some.into_iter().chain(all.into_iter().flatten());
        let found = all.map(|(record, document)| (*record, document));
        found.filter(|(_, document)| filter.matches(document))
    }

    /// The documents that a filter matches, as they were before something.
    pub(crate) fn find_before(&self, filter: &Filter, before: &Before<'_>) -> Vec<Arc<Document>> {
        let now = self.find(filter);
        let mut found: Vec<(u64, &Arc<Document>)> = now
            .filter(|(record, _)| !before.contains_key(record))
            .collect();
        let then = before
            .iter()
            .filter_map(|(record, d)| Some((*record, (*d)?)));
        found.extend(then.filter(|(_, document)| filter.matches(document)));
        found.sort_unstable_by_key(|(record, _)| *record);
        found
            .into_iter()
            .map(|(_, document)| Arc::clone(document))
            .collect()
    }

    fn record(&self, id: &Bson) -> Option<u64> {
        self.by_id.get(&Key(id.clone())).copied()
    }

    fn put(&mut self, record: u64, document: Option<Arc<Document>>) -> Option<Arc<Document>> {
        match document {
            Some(document) => {
                self.next_record = self.next_record.max(record + 1);
                if let Some(id) = document.get("_id") {
                    self.by_id.insert(Key(id.clone()), record);
                }
                self.documents.insert(record, document)
            }
            None => {
                let before = self.documents.remove(&record);
                if let Some(id) = before.as_ref().and_then(|d| d.get("_id")) {
                    self.by_id.remove(&Key(id.clone()));
                }
                before
            }
        }
    }

    /// Fails when another record has the same key in a unique index.
    fn check_unique(&self, ns: &Namespace, record: Option<u64>, new: &Document) -> Result<()> {
        let id = new.get("_id").cloned().unwrap_or(Bson::Null);
        let same_id = self.by_id.get(&Key(id));
        if same_id.is_some_and(|other| Some(*other) != record) {
            return Err(duplicate(ns, &self.indexes[0], new));
        }
        for index in self.indexes.iter().filter(|index| index.is_unique()) {
            let key = index_key(index, new);
            let clashes = |(other, document): (&u64, &Arc<Document>)| {
                Some(*other) != record && same_key(&index_key(index, document), &key)
            };
            if self.documents.iter().any(clashes) {
                return Err(duplicate(ns, index, new));
            }
        }
        Ok(())
    }

    /// Fails when a unique index cannot be built over the documents.
    pub(crate) fn check_index(&self, ns: &Namespace, index: &Index) -> Result<()> {
        if !index.is_unique() {
            return Ok(());
        }
        let mut seen: Vec<Document> = Vec::new();
        for document in self.documents.values() {
            let key = index_key(index, document);
            if seen.iter().any(|other| same_key(other, &key)) {
                return Err(duplicate(ns, index, document));
            }
            seen.push(key);
        }
        Ok(())
    }
}

fn index_key(index: &Index, document: &Document) -> Document {
    let mut key = Document::new();
    for path in index.key().keys() {
        let mut value = Some(document);
        let mut found = Bson::Null;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let next = value.and_then(|d| d.get(part));
            if parts.peek().is_none() {
                found = next.cloned().unwrap_or(Bson::Null);
            }
            value = next.and_then(Bson::as_document);
        }
        key.insert(path.clone(), found);
    }
    key
}

fn same_key(a: &Document, b: &Document) -> bool {
    a.values()
        .zip(b.values())
        .all(|(a, b)| compare(a, b).is_eq())
}

fn duplicate(ns: &Namespace, index: &Index, document: &Document) -> Failure {
    let value = index_key(index, document);
    let shown = show_document(&value);
    let message = format!(
        "E11000 duplicate key error collection: {ns} index: {} dup key: {shown}",
        index.name
    );
    Failure::new(DUPLICATE_KEY, message)
        .with("keyPattern", index.key())
        .with("keyValue", value)
}

/// All collections of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    collections: BTreeMap<Namespace, Collection>,
}

impl Store {
    pub(crate) fn collection(&self, ns: &Namespace) -> Option<&Collection> {
        self.collections.get(ns)
    }

    /// The collections of a database, by name.
    pub(crate) fn collections(&self, database: &str) -> Vec<(&str, &Collection)> {
        let of_database = |(ns, _): &(&Namespace, &Collection)| *ns.database == *database;
        let all = self.collections.iter().filter(of_database);
        all.map(|(ns, c)| (&*ns.collection, c)).collect()
    }

    pub(crate) fn databases(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.collections.keys().map(|ns| &*ns.database).collect();
        names.dedup();
        names
    }

    /// The operation that inserts a document, whose `_id` is set and comes first.
    pub(crate) fn plan_insert(&self, ns: &Namespace, document: Arc<Document>) -> Result<Op> {
        check_id_type(&document)?;
        let record = match self.collections.get(ns) {
            Some(collection) => {
                collection.check_unique(ns, None, &document)?;
                collection.next_record
            }
            None => 1,
        };
        Ok(Op::Put(ns.clone(), record, Some(document)))
    }

    /// The operation that replaces the document at a record.
    pub(crate) fn plan_replace(
        &self,
        ns: &Namespace,
        record: u64,
        new: Arc<Document>,
    ) -> Result<Op> {
        if let Some(collection) = self.collections.get(ns) {
            collection.check_unique(ns, Some(record), &new)?;
        }
        Ok(Op::Put(ns.clone(), record, Some(new)))
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Undo {
        match op {
            Op::Noop => Undo::Nothing,
            Op::Create(ns, uuid, options) => {
                let collection = Collection::new(*uuid, options.clone());
                let before = self.collections.insert(ns.clone(), collection);
                Undo::Collection(ns.clone(), before.map(Box::new))
            }
            Op::Drop(ns) => {
                let before = self.collections.remove(ns);
                Undo::Collection(ns.clone(), before.map(Box::new))
            }
            Op::CreateIndex(ns, index) => self.reindex(ns, |all| all.push(index.clone())),
            Op::DropIndex(ns, name) => self.reindex(ns, |all| all.retain(|i| i.name != *name)),
            Op::Put(ns, record, document) => {
                let Some(collection) = self.collections.get_mut(ns) else {
                    return Undo::Nothing;
                };
                let before = collection.put(*record, document.clone());
                Undo::Put(ns.clone(), *record, before)
            }
        }
    }

    fn reindex(&mut self, ns: &Namespace, change: impl FnOnce(&mut Vec<Index>)) -> Undo {
        let Some(collection) = self.collections.get_mut(ns) else {
            return Undo::Nothing;
        };
        let before = collection.indexes.clone();
        change(&mut collection.indexes);
        Undo::Indexes(ns.clone(), before)
    }

    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Collection(ns, Some(before)) => {
                self.collections.insert(ns, *before);
            }
            Undo::Collection(ns, None) => {
                self.collections.remove(&ns);
            }
            Undo::Indexes(ns, before) => {
                if let Some(collection) = self.collections.get_mut(&ns) {
                    collection.indexes = before;
                }
            }
            Undo::Put(ns, record, before) => {
                if let Some(collection) = self.collections.get_mut(&ns) {
                    collection.put(record, before);
                }
            }
        }
    }

    /// A store with this collection alone.
    pub(crate) fn only(&self, ns: &Namespace) -> Self {
        let collection = self.collections.get(ns).cloned();
        let collections = collection.map(|c| (ns.clone(), c)).into_iter().collect();
        Self { collections }
    }
}

/// A field of an id that may not be stored, at any depth.
fn dollar_prefixed(value: &Bson) -> Option<&str> {
    let mut fields = value.as_document()?.iter();
    fields.find_map(|(key, value)| match key.starts_with('$') {
        true => Some(key.as_str()),
        false => dollar_prefixed(value),
    })
}

fn check_id_type(document: &Document) -> Result<()> {
    if let Some(field) = document.get("_id").and_then(dollar_prefixed) {
        let message = format!(
            "_id fields may not contain '$'-prefixed fields: {field} is not valid for storage."
        );
        return Err(Failure::new(DOLLAR_PREFIXED_FIELD, message));
    }
    let kind = match document.get("_id") {
        Some(Bson::Array(_)) => "array",
        Some(Bson::RegularExpression(_)) => "regex",
        Some(Bson::Undefined) => "undefined",
        _ => return Ok(()),
    };
    Err(Failure::new(
        INVALID_ID_FIELD,
        format!("The '_id' value cannot be of type {kind}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns() -> Namespace {
        Namespace::new("db", "c")
    }

    fn store() -> Store {
        let mut store = Store::default();
        store.apply(&Op::Create(ns(), [0; 16], Document::new()));
        for id in 1..=3 {
            let op = store
                .plan_insert(&ns(), doc! { "_id": id, "u": id }.into())
                .unwrap();
            store.apply(&op);
        }
        store
    }

    fn all(store: &Store) -> Vec<Arc<Document>> {
        store
            .collection(&ns())
            .unwrap()
            .documents()
            .cloned()
            .collect()
    }

    #[test]
    fn every_operation_can_be_undone_in_reverse() {
        let mut store = store();
        let before = all(&store);
        let index = Index::new("u_1", &doc! { "u": 1 });
        let ops = [
            Op::Put(ns(), 2, Some(doc! { "_id": 2, "u": 9 }.into())),
            Op::Put(ns(), 1, None),
            Op::CreateIndex(ns(), index),
            Op::DropIndex(ns(), "u_1".to_owned()),
            Op::Put(ns(), 4, Some(doc! { "_id": 4 }.into())),
            Op::Noop,
            Op::Drop(ns()),
        ];
        let mut undos: Vec<Undo> = ops.iter().map(|op| store.apply(op)).collect();
        assert!(store.collection(&ns()).is_none());
        while let Some(undo) = undos.pop() {
            store.undo(undo);
        }
        assert_eq!(all(&store), before);
        assert_eq!(store.collection(&ns()).unwrap().indexes.len(), 1);
        let again = store.plan_insert(&ns(), doc! { "_id": 1 }.into());
        assert_eq!(again.unwrap_err().code, DUPLICATE_KEY);
        assert!(store.plan_insert(&ns(), doc! { "_id": 4 }.into()).is_ok());
    }

    #[test]
    fn a_duplicate_key_is_refused_with_the_servers_words() {
        let store = store();
        let failure = store
            .plan_insert(&ns(), doc! { "_id": 1.0 }.into())
            .unwrap_err();
        let message =
            "E11000 duplicate key error collection: db.c index: _id_ dup key: { _id: 1.0 }";
        assert_eq!(failure.message, message);
        assert_eq!(
            failure.extra,
            doc! { "keyPattern": { "_id": 1 }, "keyValue": { "_id": 1.0 } }
        );
        assert_eq!(
            store
                .plan_insert(&ns(), doc! { "_id": [1] }.into())
                .unwrap_err()
                .code,
            53
        );
    }

    #[test]
    fn unique_indexes_hold_for_updates_too() {
        let mut store = store();
        let mut index = Index::new("u_1", &doc! { "u": 1 });
        index.spec.insert("unique", true);
        store.apply(&Op::CreateIndex(ns(), index));
        let clash = store.plan_replace(&ns(), 1, doc! { "_id": 1, "u": 2 }.into());
        assert_eq!(clash.unwrap_err().code, DUPLICATE_KEY);
        assert!(
            store
                .plan_replace(&ns(), 1, doc! { "_id": 1, "u": 1 }.into())
                .is_ok()
        );
    }
}
