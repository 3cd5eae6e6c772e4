//! Types of documents and of their fields: date-times with and without a zone, and UUIDs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use mongo_client::{
    options::UuidRepresentation,
    serde_helpers::{
        date_time, uuid_csharp_legacy, uuid_java_legacy, uuid_python_legacy, uuid_standard,
    },
};
use mongo_client_tests::live;
use serde::{Deserialize, Serialize};

/// A time with a part of a millisecond, before 1970: 1 ms and a half.
const MILLIS: i64 = -2;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Times {
    #[serde(with = "date_time")]
    system: SystemTime,
    #[serde(with = "date_time")]
    chrono_aware: chrono::DateTime<chrono::Utc>,
    #[serde(with = "date_time")]
    chrono_offset: chrono::DateTime<chrono::FixedOffset>,
    #[serde(with = "date_time")]
    chrono_naive: chrono::NaiveDateTime,
    #[serde(with = "date_time")]
    time_aware: time::OffsetDateTime,
    #[serde(with = "date_time")]
    time_naive: time::PrimitiveDateTime,
    #[serde(with = "date_time")]
    jiff_instant: jiff::Timestamp,
    #[serde(with = "date_time")]
    jiff_zoned: jiff::Zoned,
    #[serde(with = "date_time")]
    jiff_naive: jiff::civil::DateTime,
    #[serde(with = "date_time")]
    own: DateTime,
    #[serde(with = "date_time")]
    some: Option<SystemTime>,
    #[serde(with = "date_time")]
    null: Option<chrono::NaiveDateTime>,
    #[serde(with = "date_time", default)]
    missing: Option<jiff::Timestamp>,
}

/// Of a millisecond and a half before 1970.
fn precise() -> Times {
    let nanos: i64 = -1_500_000;
    let chrono_aware = chrono::DateTime::from_timestamp_nanos(nanos);
    let time_aware = time::OffsetDateTime::from_unix_timestamp_nanos(nanos.into()).unwrap();
    let jiff_instant = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap();
    let jiff_zoned = jiff_instant.to_zoned(jiff::tz::TimeZone::UTC);
    let system = UNIX_EPOCH - Duration::from_nanos(nanos.unsigned_abs());
    Times {
        system,
        chrono_aware,
        chrono_offset: chrono_aware.into(),
        chrono_naive: chrono_aware.naive_utc(),
        time_aware,
        time_naive: time::PrimitiveDateTime::new(time_aware.date(), time_aware.time()),
        jiff_instant,
        jiff_naive: jiff_zoned.datetime(),
        jiff_zoned,
        own: DateTime::from_millis(MILLIS),
        some: Some(system),
        null: None,
        missing: None,
    }
}

#[test]
fn date_times_of_all_crates_are_stored_as_those_of_bson() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let times = db.collection::<Times>("times");
        times.insert_one(precise()).await.unwrap();

        let plain = times.clone_with_type::<Document>();
        let stored = plain.find_one(doc! {}).await.unwrap().unwrap();
        for (name, value) in stored.iter().filter(|(name, _)| *name != "_id") {
            let expected = match name.as_str() {
                "null" | "missing" => Bson::Null,
                _ => Bson::DateTime(DateTime::from_millis(MILLIS)),
            };
            assert_eq!(*value, expected, "{name}");
        }
        let unset = doc! { "$unset": { "missing": "" } };
        plain.update_one(doc! {}, unset).await.unwrap();
        let read = times.find_one(doc! {}).await.unwrap().unwrap();

        let instant = UNIX_EPOCH - Duration::from_millis(2);
        assert_eq!((read.system, read.some), (instant, Some(instant)));
        assert_eq!(read.chrono_aware.timestamp_micros(), MILLIS * 1000);
        assert_eq!(read.chrono_offset, read.chrono_aware);
        assert_eq!(read.chrono_naive, read.chrono_aware.naive_utc());
        assert_eq!(
            read.time_aware.unix_timestamp_nanos(),
            i128::from(MILLIS) * 1_000_000
        );
        assert_eq!(read.time_naive.assume_utc(), read.time_aware);
        assert_eq!(
            read.jiff_instant.as_nanosecond(),
            i128::from(MILLIS) * 1_000_000
        );
        assert_eq!(read.jiff_zoned.timestamp(), read.jiff_instant);
        assert_eq!(read.jiff_naive, read.jiff_zoned.datetime());
        assert_eq!((read.null, read.missing), (None, None));
        live::forget(&db).await;
    });
}

#[derive(Debug, Deserialize, Serialize)]
struct Naive {
    #[serde(with = "date_time")]
    at: time::PrimitiveDateTime,
}

#[test]
fn date_times_that_a_type_cannot_express_are_errors() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let plain = db.collection::<Document>("times");
        for (at, why) in [
            (Bson::DateTime(DateTime::MAX), "too late"),
            (Bson::Null, "not null"),
        ] {
            plain.insert_one(doc! { "at": at }).await.unwrap();
            let typed = plain.clone_with_type::<Naive>();
            let error = typed.find_one(doc! {}).await.unwrap_err();
            assert!(format!("{error:?} {error}").contains(why), "{error:?}");
            plain.delete_many(doc! {}).await.unwrap();
        }
        live::forget(&db).await;
    });
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Ids {
    #[serde(with = "uuid_standard")]
    standard: bson::Uuid,
    #[serde(with = "uuid_java_legacy")]
    java: bson::Uuid,
    #[serde(with = "uuid_csharp_legacy")]
    csharp: uuid::Uuid,
    #[serde(with = "uuid_python_legacy")]
    python: Option<uuid::Uuid>,
    #[serde(with = "uuid_standard", default)]
    none: Option<bson::Uuid>,
}

#[test]
fn uuids_are_stored_and_read_in_the_representation_of_their_field() {
    live::on("STANDALONE", async |uri| {
        let options = live::options(&format!("{uri}?uuidRepresentation=javaLegacy"));
        let representation = options.uuid_representation.unwrap();
        assert_eq!(representation, UuidRepresentation::JavaLegacy);
        let client = live::build(options);
        let db = live::database(&client);
        let ids = db.collection::<Ids>("ids");
        let bytes: [u8; 16] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let written = Ids {
            standard: bson::Uuid::from_bytes(bytes),
            java: bson::Uuid::from_bytes(bytes),
            csharp: uuid::Uuid::from_bytes(bytes),
            python: Some(uuid::Uuid::from_bytes(bytes)),
            none: None,
        };
        ids.insert_one(&written).await.unwrap();

        assert_eq!(ids.find_one(doc! {}).await.unwrap(), Some(written.clone()));
        let plain = ids.clone_with_type::<Document>();
        let stored = plain.find_one(doc! {}).await.unwrap().unwrap();
        let old = |bytes: [u8; 16]| {
            Bson::Binary(Binary {
                subtype: BinarySubtype::UuidOld,
                bytes: bytes.to_vec(),
            })
        };
        let standard = Binary::from(written.standard);
        assert_eq!(stored.get("standard"), Some(&Bson::Binary(standard)));
        assert_eq!(stored.get("python"), Some(&old(bytes)));
        let java = [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8];
        assert_eq!(stored.get("java"), Some(&old(java)));
        let csharp = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        assert_eq!(stored.get("csharp"), Some(&old(csharp)));
        assert_eq!(stored.get("none"), Some(&Bson::Null));
        let Some(Bson::Binary(java)) = stored.get("java") else {
            panic!("{stored}");
        };
        assert_eq!(representation.to_uuid(java).unwrap(), written.java);

        // What is of another representation is no UUID of this field.
        let swapped = doc! { "$set": { "java": stored.get("standard").cloned() } };
        plain.update_one(doc! {}, swapped).await.unwrap();
        let error = ids.find_one(doc! {}).await.unwrap_err();
        assert!(format!("{error:?}").contains("JavaLegacy"), "{error:?}");
        live::forget(&db).await;
    });
}

#[test]
fn documents_are_of_the_type_of_their_collection() {
    live::on("STANDALONE", async |uri| {
        let client = live::client(&uri);
        let db = live::database(&client);
        let plain = db.collection::<Document>("people");
        plain
            .insert_one(doc! { "_id": 1, "name": "Ada" })
            .await
            .unwrap();

        #[derive(Debug, Deserialize)]
        struct Person {
            name: String,
        }
        let typed = db.collection::<Person>("people").find_one(doc! {}).await;
        assert_eq!(typed.unwrap().unwrap().name, "Ada");
        let raw = db
            .collection::<RawDocumentBuf>("people")
            .find_one(doc! {})
            .await;
        assert_eq!(raw.unwrap().unwrap().get_str("name").unwrap(), "Ada");
        let untyped = plain.find_one(doc! {}).await.unwrap();
        assert_eq!(untyped, Some(doc! { "_id": 1, "name": "Ada" }));
        live::forget(&db).await;
    });
}
