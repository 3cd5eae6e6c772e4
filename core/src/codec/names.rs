//! Names by which the types of the `bson` crate tell (de)serializers of BSON what they are.
//!
//! The crate keeps them private; `codec::tests` fails when one of them changes.

use std::any::type_name;

pub(super) const RAW_BSON: &str = "$__private__bson_RawBson";
pub(super) const RAW_DOCUMENT: &str = "$__private__bson_RawDocument";
pub(super) const RAW_ARRAY: &str = "$__private__bson_RawArray";
pub(super) const UUID: &str = "$__bson_private_uuid";
pub(super) const HUMAN_READABLE: &str = "$__bson_private_human_readable";
pub(super) const UTF8_LOSSY: &str = "$__bson_private_utf8_lossy";

pub(super) const SUBTYPE_GENERIC: u8 = 0;
pub(super) const SUBTYPE_OLD: u8 = 2;
pub(super) const SUBTYPE_UUID: u8 = 4;

/// Whether a visitor is the one behind `Bson`, which takes an `ObjectId` as bytes and a date as a
/// number as well as their long forms of text.
///
/// The name of a type is no promise, so nothing but speed may hang on it: a wrong "no" costs the
/// detour over text, and maps that begin empty.
#[inline]
pub(super) fn is_bson_visitor<V>() -> bool {
    type_name::<V>() == "bson::de::serde::BsonVisitor"
}
