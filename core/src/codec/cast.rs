//! Hands a [`Bson`] that is finished to a caller who does not know that this is what it wants.
//!
//! The visitor behind `Document` and `Bson` begins every map empty, allocates each name twice and
//! takes no finished value. What it makes of the bytes is a `Bson` all the same, so where a
//! visitor's value *is* a `Bson`, one that was built directly can take its place.
//!
//! Nothing safe recognises that: [`Any`](std::any::Any) and [`TypeId::of`] want `'static`, which
//! generic callers of a collection do not write. So this module is the one place of the workspace
//! with `unsafe` code in what applications link.

#![expect(
    unsafe_code,
    reason = "recognising a type without 'static; see the comments"
)]

use std::{
    any::TypeId,
    marker::PhantomData,
    mem::{self, ManuallyDrop},
};

use bson::Bson;

/// Something of which the type can be told, were it to live for ever.
trait Typed {
    fn id(&self) -> TypeId
    where
        Self: 'static;
}

impl<T> Typed for PhantomData<T> {
    fn id(&self) -> TypeId
    where
        Self: 'static,
    {
        TypeId::of::<T>()
    }
}

/// The [`TypeId`] of `T` with all its lifetimes replaced by `'static`.
fn id<T>() -> TypeId {
    let marker = PhantomData::<T>;
    let marker: &dyn Typed = &marker;
    // SAFETY: the two types differ in a lifetime only, so they have the same layout. `marker` is a
    // `PhantomData`, which holds no reference that could dangle; and its method, which promises of
    // itself to read nothing but a constant, is called while `marker` is still there.
    let marker = unsafe { mem::transmute::<&dyn Typed, &(dyn Typed + 'static)>(marker) };
    marker.id()
}

/// Whether `T` is `Bson`.
#[inline]
pub(super) fn is_bson<T>() -> bool {
    id::<T>() == TypeId::of::<Bson>()
}

/// The value as a `T`, if that is what `Bson` is called where it is wanted.
#[inline]
pub(super) fn bson_as<T>(value: Bson) -> Option<T> {
    if !is_bson::<T>() {
        return None;
    }
    let value = ManuallyDrop::new(value);
    // SAFETY: `T` is `Bson` but for lifetimes, and `Bson` has none: so they are the same type. The
    // original is never dropped, so that the value has one owner.
    Some(unsafe { mem::transmute_copy::<ManuallyDrop<Bson>, T>(&value) })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use bson::{Document, bson};

    use super::*;

    /// A generic caller whose type need not live for ever.
    fn handed<T>(value: &Bson) -> Option<T> {
        bson_as(value.clone())
    }

    #[test]
    fn a_value_is_handed_over_as_what_it_is() {
        let value = bson!({ "a": [1, { "b": "text" }], "c": null });
        assert_eq!(handed::<Bson>(&value), Some(value));
    }

    #[test]
    fn a_value_is_not_handed_over_as_anything_else() {
        let value = bson!({ "a": "text" });
        let text = String::from("not 'static");
        let borrowed = text.as_str();
        assert!(handed::<Document>(&value).is_none());
        assert!(handed::<Option<Bson>>(&value).is_none());
        assert!(handed::<ManuallyDrop<Bson>>(&value).is_none());
        assert!(handed::<(Bson, &str)>(&value).is_none_or(|(_, kept)| kept == borrowed));
        assert!(handed::<Cow<'_, str>>(&value).is_none());
    }
}
