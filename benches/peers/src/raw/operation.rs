//! The requests of a case, encoded once, and what a reply leads to.

use bson::{Binary, Document, RawDocumentBuf, doc, oid::ObjectId, spec::BinarySubtype};
use mongo_client_bench_harness::{Case, DATABASE, MANY, Result, kib64, new_small, small};

use super::decode;

/// Longer messages are not valid.
pub(super) const MESSAGE_LEN_MAX: usize = 48_000_000;

const HEADER_LEN: usize = 16;
const OP_MSG: i32 = 2013;
/// After the header, the flags and the kind of the first section.
const BODY: usize = HEADER_LEN + 5;
/// Where an id stands in a request until the first operation.
const MARKER: i64 = 0x5ca1_ab1e_0b5e_55ed;
/// Where the id of a document that begins with `_id` stands in it.
const ID_OFFSET: usize = 4 + 1 + "_id\0".len();

/// One caller's requests of a case.
pub(super) struct Operation {
    case: Case,
    request: Vec<u8>,
    /// Where the key of the document stands that is looked for.
    keys: Vec<usize>,
    /// Where the ids of inserted documents stand.
    ids: Vec<usize>,
    /// Makes inserted ids differ from other callers' and processes'.
    salt: [u8; 4],
    get_more: Vec<u8>,
    /// The documents of the cursor so far, where they are decoded.
    decoded: i64,
    checked: bool,
}

impl Operation {
    pub(super) fn new(case: Case, caller: usize) -> Self {
        let lsid = doc! { "id": Binary {
            subtype: BinarySubtype::Uuid,
            bytes: [ObjectId::new().bytes(), ObjectId::new().bytes()].concat()[..16].to_vec(),
        } };
        let ending = doc! { "lsid": lsid, "$db": DATABASE };
        let (request, ids) = encode(case, &ending);
        let marker = MARKER.to_le_bytes();
        let keys = (0..request.len().min(4_096))
            .filter(|at| request[*at..].starts_with(&marker))
            .collect();
        let mut get_more = doc! { "getMore": MARKER, "collection": "small" };
        get_more.extend(ending);
        let salt = (std::process::id() << 12 | caller as u32 & 0xfff).to_le_bytes();
        Self {
            case,
            request,
            keys,
            ids,
            salt,
            get_more: message(&get_more, None).0,
            decoded: 0,
            checked: false,
        }
    }

    /// The request of the operation number `n`.
    pub(super) fn request(&mut self, n: i64) -> &[u8] {
        self.decoded = 0;
        let key = match self.case {
            Case::FindOneBigDocument | Case::FindOneBigRaw => 1,
            _ => n % MANY,
        };
        for at in &self.keys {
            self.request[*at..at + 8].copy_from_slice(&key.to_le_bytes());
        }
        let first = n * self.ids.len() as i64;
        for (id, at) in (first..).zip(&self.ids) {
            self.request[*at..at + 8].copy_from_slice(&id.to_be_bytes());
            self.request[at + 8..at + 12].copy_from_slice(&self.salt);
        }
        &self.request
    }

    /// Takes a reply; gives the next request when the operation has not ended. Only the first
    /// reply is decoded, to be sure that the server understands the requests at all.
    pub(super) fn next(&mut self, reply: &[u8]) -> Result<Option<&[u8]>> {
        if !self.checked {
            check(self.case, reply)?;
            self.checked = true;
        }
        match self.case {
            Case::FindManyRaw | Case::FindManyTyped | Case::FindManyDocument => self.batch(reply),
            _ => Ok(None),
        }
    }

    fn batch(&mut self, reply: &[u8]) -> Result<Option<&[u8]>> {
        let body = reply.get(BODY..).ok_or("a short reply")?;
        let batch = decode::cursor(body).ok_or("a reply without a cursor")?;
        if self.case == Case::FindManyTyped {
            for document in decode::documents(batch.documents) {
                let small = document.and_then(decode::small).ok_or("not a document")?;
                self.decoded += i64::from(small.active);
            }
        }
        if batch.id == 0 {
            if self.case == Case::FindManyTyped && self.decoded != MANY {
                return Err(format!("{} documents instead of {MANY}", self.decoded).into());
            }
            return Ok(None);
        }
        let at = BODY + 4 + 1 + "getMore\0".len();
        self.get_more[at..at + 8].copy_from_slice(&batch.id.to_le_bytes());
        Ok(Some(&self.get_more))
    }
}

/// The request of a case, and where the ids of its documents stand.
fn encode(case: Case, ending: &Document) -> (Vec<u8>, Vec<usize>) {
    let find_one = |collection: &str| {
        doc! { "find": collection, "filter": { "_id": MARKER }, "limit": 1_i64, "singleBatch": true }
    };
    let insert = |documents| {
        let command = doc! { "insert": "sink", "ordered": true };
        (command, Some(("documents", documents)))
    };
    let update = |update: Document| {
        let command = doc! { "update": "small", "ordered": true };
        let update = raw(&doc! { "q": { "_id": MARKER }, "u": update });
        (command, Some(("updates", vec![update])))
    };
    let (mut command, sequence) = match case {
        Case::Ping => (doc! { "ping": 1 }, None),
        Case::FindOneTyped | Case::FindOneRaw | Case::FindOneDocument => (find_one("small"), None),
        Case::FindOneBigDocument | Case::FindOneBigRaw => (find_one("big"), None),
        Case::InsertOne => insert(vec![with_id(1)]),
        Case::UpdateOne => update(doc! { "$set": { "age": 7 } }),
        Case::ReplaceOne => update(bson::serialize_to_document(&small(MARKER)).unwrap_or_default()),
        Case::FindManyRaw | Case::FindManyTyped | Case::FindManyDocument => {
            (doc! { "find": "small", "filter": {} }, None)
        }
        Case::InsertMany => insert((0..MANY).map(with_id).collect()),
        Case::InsertManyLarge => {
            let mut document = doc! { "_id": ObjectId::new() };
            document.extend(Document::try_from(&*kib64()).unwrap_or_default());
            insert(vec![raw(&document); 64])
        }
    };
    command.extend(ending.clone());
    if case == Case::Ping {
        command.insert("$db", "admin");
    }
    let (request, starts) = message(&command, sequence);
    match case {
        Case::InsertOne | Case::InsertMany | Case::InsertManyLarge => {
            (request, starts.iter().map(|at| at + ID_OFFSET).collect())
        }
        _ => (request, Vec::new()),
    }
}

/// A new small document as a driver sends it: with an id in front.
fn with_id(n: i64) -> RawDocumentBuf {
    let mut document = doc! { "_id": ObjectId::new() };
    document.extend(bson::serialize_to_document(&new_small(n)).unwrap_or_default());
    raw(&document)
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap_or_default()
}

/// A message, and where the documents of its sequence start.
fn message(
    body: &Document,
    sequence: Option<(&str, Vec<RawDocumentBuf>)>,
) -> (Vec<u8>, Vec<usize>) {
    let mut out = Vec::new();
    for field in [0, 1, 0, OP_MSG, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(raw(body).as_bytes());
    let mut starts = Vec::new();
    if let Some((identifier, documents)) = sequence {
        out.push(1);
        let size: usize = documents.iter().map(|d| d.as_bytes().len()).sum();
        let size = 4 + identifier.len() + 1 + size;
        out.extend_from_slice(&(size as i32).to_le_bytes());
        out.extend_from_slice(identifier.as_bytes());
        out.push(0);
        for document in documents {
            starts.push(out.len());
            out.extend_from_slice(document.as_bytes());
        }
    }
    let len = out.len() as i32;
    out[..4].copy_from_slice(&len.to_le_bytes());
    (out, starts)
}

fn check(case: Case, reply: &[u8]) -> Result {
    let reply = Document::from_reader(reply.get(BODY..).ok_or("a short reply")?)?;
    let text = || {
        format!("{case}: {reply}")
            .chars()
            .take(400)
            .collect::<String>()
    };
    if reply.get_f64("ok").ok() != Some(1.0) || reply.contains_key("writeErrors") {
        return Err(text().into());
    }
    if reply
        .get_i32("n")
        .is_ok_and(|n| n as u64 != case.documents())
    {
        return Err(text().into());
    }
    if let Ok(cursor) = reply.get_document("cursor") {
        let batch = cursor.get_array("firstBatch")?;
        if batch.is_empty() {
            return Err(text().into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_the_ids_that_change() {
        for case in Case::ALL {
            let operation = Operation::new(*case, 3);
            let keys = match case {
                Case::ReplaceOne => 2,
                Case::UpdateOne
                | Case::FindOneTyped
                | Case::FindOneRaw
                | Case::FindOneDocument
                | Case::FindOneBigDocument
                | Case::FindOneBigRaw => 1,
                _ => 0,
            };
            assert_eq!(operation.keys.len(), keys, "{case}");
            let ids = match case {
                Case::InsertOne | Case::InsertMany | Case::InsertManyLarge => case.documents(),
                _ => 0,
            };
            assert_eq!(operation.ids.len() as u64, ids, "{case}");
        }
    }

    #[test]
    fn the_inserted_documents_get_ids_of_their_own() {
        let mut operation = Operation::new(Case::InsertMany, 0);
        let mut ids = std::collections::BTreeSet::new();
        for n in [0, 1, 17] {
            operation.request(n);
            for at in &operation.ids {
                ids.insert(operation.request[*at..at + 12].to_vec());
            }
        }
        assert_eq!(ids.len(), 30_000);
        let start = operation.ids[5_000] - ID_OFFSET;
        let len = i32::from_le_bytes(*operation.request[start..].first_chunk().unwrap());
        let document = &operation.request[start..start + len as usize];
        let document = Document::from_reader(document).unwrap();
        assert_eq!(document.get_str("city").unwrap(), "Johannesburg");
        assert_eq!(document.keys().next().unwrap(), "_id");
    }
}
