//! The documents that the cases move.

use bson::{DateTime, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use serde::{Deserialize, Serialize};

/// The database of all cases.
pub const DATABASE: &str = "bench";

/// A document of some 200 bytes: strings, numbers, a date and a short list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Small {
    /// The key.
    pub _id: i64,
    /// A string.
    pub name: String,
    /// A string.
    pub email: String,
    /// A string.
    pub city: String,
    /// An int32.
    pub age: i32,
    /// A double.
    pub score: f64,
    /// A boolean.
    pub active: bool,
    /// A date.
    pub created: DateTime,
    /// Strings in an array.
    pub tags: Vec<String>,
}

/// The small document with this key.
#[must_use]
pub fn small(id: i64) -> Small {
    Small {
        _id: id,
        name: format!("Customer Number {:06}", id % 1_000_000),
        email: format!("customer{:06}@example.com", id % 1_000_000),
        city: "Johannesburg".to_owned(),
        age: 42,
        score: 0.75,
        active: true,
        created: DateTime::from_millis(1_700_000_000_000 + id),
        tags: ["alpha", "beta", "gamma"].map(str::to_owned).into(),
    }
}

/// A document to insert: [`Small`] without a key, so that the driver makes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewSmall {
    /// A string.
    pub name: String,
    /// A string.
    pub email: String,
    /// A string.
    pub city: String,
    /// An int32.
    pub age: i32,
    /// A double.
    pub score: f64,
    /// A boolean.
    pub active: bool,
    /// A date.
    pub created: DateTime,
    /// Strings in an array.
    pub tags: Vec<String>,
}

/// The document number `n` to insert.
#[must_use]
pub fn new_small(n: i64) -> NewSmall {
    let Small {
        name,
        email,
        city,
        age,
        score,
        active,
        created,
        tags,
        ..
    } = small(n);
    NewSmall {
        name,
        email,
        city,
        age,
        score,
        active,
        created,
        tags,
    }
}

/// [`small`], encoded.
#[must_use]
pub fn small_raw(id: i64) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(bson::serialize_to_vec(&small(id)).expect("a plain struct"))
        .expect("just encoded")
}

/// A document of some 4 KiB: an order with its items.
#[must_use]
pub fn big(id: i64) -> Document {
    let items: Vec<Document> = (0..14)
        .map(|n| {
            doc! {
                "sku": format!("SKU-{:08}", id * 31 + n),
                "title": format!("Item number {n} of a rather long order"),
                "description": "An article of this shop, described in one long sentence. ".repeat(2),
                "quantity": 3_i32,
                "price": 19.99,
                "discounted": n % 2 == 0,
                "tags": ["new", "bulk"],
            }
        })
        .collect();
    doc! {
        "_id": id,
        "customer": { "name": "Customer Number 000042", "city": "Johannesburg", "vip": true },
        "created": DateTime::from_millis(1_700_000_000_000),
        "total": 479.76,
        "items": items,
        "note": "n".repeat(40),
    }
}

/// A document of 64 KiB, nearly all of it binary data.
#[must_use]
pub fn kib64() -> RawDocumentBuf {
    let payload = bson::Binary {
        subtype: BinarySubtype::Generic,
        bytes: (0..65_500_u32).map(|n| (n * 31 % 251) as u8).collect(),
    };
    bson::rawdoc! { "payload": payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_have_the_sizes_that_their_cases_promise() {
        let small = small_raw(7).as_bytes().len();
        assert!((195..=220).contains(&small), "{small}");
        let big = bson::serialize_to_vec(&big(7)).unwrap().len();
        assert!((3_900..=4_300).contains(&big), "{big}");
        let large = kib64().as_bytes().len();
        assert!((65_400..=65_536).contains(&large), "{large}");
    }
}
