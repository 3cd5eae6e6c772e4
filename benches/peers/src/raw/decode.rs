//! Just enough BSON by hand to follow a cursor and to decode the small document.

use bson::DateTime;
use mongo_client_bench_harness::{Element, Elements, Small};

/// A batch of a cursor, as a reply has it.
#[derive(Debug, PartialEq)]
pub(super) struct Batch<'a> {
    /// The array's bytes.
    pub(super) documents: &'a [u8],
    /// The cursor; 0 after its last batch.
    pub(super) id: i64,
}

/// The `cursor` of a reply's body.
pub(super) fn cursor(body: &[u8]) -> Option<Batch<'_>> {
    let cursor = Elements::of(body)?.find(|element| element.name == b"cursor")?;
    let mut batch = Batch {
        documents: &[],
        id: 0,
    };
    for element in Elements::of(cursor.value)? {
        match element.name {
            b"id" => batch.id = int64(element.value)?,
            b"firstBatch" | b"nextBatch" => batch.documents = element.value,
            _ => {}
        }
    }
    Some(batch)
}

/// The documents of an array; `None` for what is none.
pub(super) fn documents(array: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let elements = Elements::of(array).into_iter().flatten();
    elements.map(|element| (element.kind == 0x03).then_some(element.value))
}

/// The small document.
pub(super) fn small(document: &[u8]) -> Option<Small> {
    let mut small = Small {
        _id: 0,
        name: String::new(),
        email: String::new(),
        city: String::new(),
        age: 0,
        score: 0.0,
        active: false,
        created: DateTime::MIN,
        tags: Vec::new(),
    };
    for Element { kind, name, value } in Elements::of(document)? {
        match (kind, name) {
            (0x12, b"_id") => small._id = int64(value)?,
            (0x02, b"name") => small.name = string(value)?,
            (0x02, b"email") => small.email = string(value)?,
            (0x02, b"city") => small.city = string(value)?,
            (0x10, b"age") => small.age = i32::from_le_bytes(value.try_into().ok()?),
            (0x01, b"score") => small.score = f64::from_le_bytes(value.try_into().ok()?),
            (0x08, b"active") => small.active = value == [1],
            (0x09, b"created") => small.created = DateTime::from_millis(int64(value)?),
            (0x04, b"tags") => {
                for tag in Elements::of(value)? {
                    small.tags.push(string(tag.value)?);
                }
            }
            _ => return None,
        }
    }
    Some(small)
}

fn int64(value: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(value.try_into().ok()?))
}

/// A string without its length and its terminator, which its element has checked.
fn string(value: &[u8]) -> Option<String> {
    let text = value.get(4..value.len() - 1)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use mongo_client_bench_harness as harness;

    use super::*;

    #[test]
    fn the_small_document_is_decoded_as_by_serde() {
        let raw = harness::small_raw(7);
        assert_eq!(small(raw.as_bytes()), Some(harness::small(7)));
        for end in 0..raw.as_bytes().len() {
            assert_ne!(small(&raw.as_bytes()[..end]), Some(harness::small(7)));
        }
    }

    #[test]
    fn a_batch_and_its_cursor_are_found() {
        let reply = doc! {
            "$clusterTime": { "signature": 1 },
            "cursor": { "nextBatch": [{ "a": 1 }, { "b": 2 }], "id": 77_i64, "ns": "a.b" },
            "ok": 1.0,
        };
        let bytes = reply.to_vec().unwrap();
        let batch = cursor(&bytes).unwrap();
        assert_eq!(batch.id, 77);
        assert_eq!(documents(batch.documents).flatten().count(), 2);
        assert_eq!(cursor(&doc! { "ok": 1 }.to_vec().unwrap()), None);
    }
}
