//! Compares the codec with the `bson` crate: the same bytes, values and errors for the same input.
//!
//! The comparisons call the fast halves by themselves: what falls back to the `bson` crate agrees
//! with it anyway, so a comparison that went through the fallback would show nothing.

mod documents;
mod mutations;
mod structs;
mod trees;
mod types;

use std::fmt::Debug;

use bson::{Bson, Document};
use serde::{Deserialize, Serialize};

use super::*;

/// Reads in both ways. Where the fast one succeeds, the `bson` crate must, with the same value.
/// Returns whether the fast one did.
#[track_caller]
fn agree<'de, T: Deserialize<'de> + Debug>(bytes: &'de [u8]) -> bool {
    let Ok(fast) = de::from_slice::<T>(bytes, LEVELS_MAX) else {
        return false;
    };
    match bson::deserialize_from_slice::<T>(bytes) {
        // The text of values holds every bit of them, and NaN is equal to itself in it.
        Ok(slow) => assert_eq!(format!("{fast:?}"), format!("{slow:?}")),
        Err(error) => panic!("{fast:?}, but: {error}"),
    }
    true
}

/// Reads in both ways, and both must give a value.
#[track_caller]
fn both_read<'de, T: Deserialize<'de> + Debug>(bytes: &'de [u8]) {
    assert!(
        agree::<T>(bytes),
        "the fast way fails; the other gives {:?}",
        bson::deserialize_from_slice::<T>(bytes)
    );
}

/// Reads in both ways, and neither may give a value.
#[track_caller]
fn neither_reads<'de, T: Deserialize<'de> + Debug>(bytes: &'de [u8]) {
    assert!(!agree::<T>(bytes));
    let error = bson::deserialize_from_slice::<T>(bytes).unwrap_err();
    assert_eq!(from_slice::<T>(bytes).unwrap_err().to_string(), {
        crate::error::Error::from(error).to_string()
    });
}

/// Writes in both ways; the bytes must be the same.
#[track_caller]
fn both_write<T: Serialize + Debug + ?Sized>(value: &T) -> Vec<u8> {
    let mut fast = b"before".to_vec();
    ser::append(value, &mut fast).unwrap_or_else(|Fail| panic!("the fast way fails: {value:?}"));
    let slow = bson::serialize_to_vec(&value).unwrap();
    assert_eq!(fast[6..], slow, "{value:?}");
    slow
}

/// Writes in both ways, and neither may succeed.
#[track_caller]
fn neither_writes<T: Serialize + Debug + ?Sized>(value: &T) {
    assert_eq!(ser::append(value, &mut Vec::new()), Err(Fail));
    let slow = bson::serialize_to_vec(&value).unwrap_err();
    let mut out = b"before".to_vec();
    let error = append(value, &mut out).unwrap_err();
    assert_eq!(out, b"before");
    assert_eq!(
        error.to_string(),
        crate::error::Error::from(slow).to_string()
    );
}
