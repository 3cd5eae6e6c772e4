//! `find_one_and_delete`, `find_one_and_replace` and `find_one_and_update` (specification: "CRUD").

use std::{borrow::Borrow, marker::PhantomData};

use bson::{Document, RawDocumentBuf};
use mongo_client_core::{
    concern::WriteConcern,
    error::Result,
    op::{CommandSpec, Retryability, parse_find_and_modify},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    CommandFuture, Place, Scope, action,
    body::Body,
    delete::check_hint,
    reply, running, session_setter,
    update::{encode_replacement, put_update},
};
use crate::{
    client::Executed,
    collection::Collection,
    options::{
        FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions, ReturnDocument,
        UpdateModifications, find_one_and_delete_setters, find_one_and_replace_setters,
        find_one_and_update_setters,
    },
    session::ClientSession,
};

impl<T: Send + Sync + DeserializeOwned> Collection<T> {
    /// Deletes the first document that matches, and returns it. Retried once.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn find_one_and_delete(&self, filter: Document) -> FindOneAndDelete<'_, T> {
        FindOneAndDelete {
            place: self.place(),
            filter,
            change: (),
            options: None,
            session: None,
            item: PhantomData,
        }
    }

    /// Updates the first document that matches, and returns it as it was before (or after, see
    /// [`FindOneAndUpdate::return_document`]). Retried once.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn find_one_and_update(
        &self,
        filter: Document,
        update: impl Into<UpdateModifications>,
    ) -> FindOneAndUpdate<'_, T> {
        FindOneAndUpdate {
            place: self.place(),
            filter,
            change: update.into(),
            options: None,
            session: None,
            item: PhantomData,
        }
    }
}

impl<T: Send + Sync + Serialize + DeserializeOwned> Collection<T> {
    /// Replaces the first document that matches, and returns it as it was before (or after, see
    /// [`FindOneAndReplace::return_document`]). Retried once.
    ///
    /// See [the module](crate::action) for errors and cancellation.
    pub fn find_one_and_replace(
        &self,
        filter: Document,
        replacement: impl Borrow<T>,
    ) -> FindOneAndReplace<'_, T> {
        FindOneAndReplace {
            place: self.place(),
            filter,
            change: encode_replacement(replacement.borrow()),
            options: None,
            session: None,
            item: PhantomData,
        }
    }
}

/// One of the three verbs: they differ in what they change and in their options.
macro_rules! find_and_modify {
    ($(#[$doc:meta])* $name:ident, $change:ty, $options:ident, $setters:ident, $build:ident) => {
        $(#[$doc])*
        #[must_use = "verbs do nothing unless awaited or run"]
        #[derive(Debug)]
        pub struct $name<'a, T> {
            pub(super) place: &'a Place,
            pub(super) filter: Document,
            pub(super) change: $change,
            pub(super) options: Option<Box<$options>>,
            pub(super) session: Option<&'a mut ClientSession>,
            item: PhantomData<fn() -> T>,
        }

        $setters!(impl ['a, T] $name<'a, T>);
        session_setter!(impl ['a, T] $name<'a, T>);
        action!(impl ['a, T: DeserializeOwned + 'a] $name<'a, T> => Option<T>; command with ());

        impl<'a, T: DeserializeOwned + 'a> $name<'a, T> {
            fn perform(self) -> CommandFuture<'a, Option<T>> {
                let (scope, options) = (&self.place.scope, self.options.as_deref());
                let spec = $build(scope, &self.filter, self.change, options);
                running(self.place, spec, self.session, (), modified)
            }
        }
    };
}

find_and_modify! {
    /// Deletes and returns a document; made by [`Collection::find_one_and_delete`].
    FindOneAndDelete, (), FindOneAndDeleteOptions, find_one_and_delete_setters, build_delete
}
find_and_modify! {
    /// Replaces and returns a document; made by [`Collection::find_one_and_replace`].
    FindOneAndReplace,
    Result<RawDocumentBuf>,
    FindOneAndReplaceOptions,
    find_one_and_replace_setters,
    build_replace
}
find_and_modify! {
    /// Updates and returns a document; made by [`Collection::find_one_and_update`].
    FindOneAndUpdate,
    UpdateModifications,
    FindOneAndUpdateOptions,
    find_one_and_update_setters,
    build_update
}

fn modified<T: DeserializeOwned>((): (), executed: &Executed) -> Result<Option<T>> {
    parse_find_and_modify(executed.reply.document())?
        .value
        .map(reply::decode)
        .transpose()
}

fn start(scope: &Scope, filter: &Document) -> Result<Body> {
    let mut body = Body::new("findAndModify", &scope.name);
    body.document("query", filter)?;
    Ok(body)
}

fn finish(scope: &Scope, body: Body, concern: Option<&WriteConcern>) -> Result<CommandSpec> {
    scope.write(
        "findAndModify",
        body.finish()?,
        Retryability::Write,
        concern,
    )
}

/// Appends the options that all three verbs have.
macro_rules! put_common {
    ($body:ident, $o:ident) => {
        $body.opt_document("sort", $o.sort.as_ref())?;
        $body.opt_document("fields", $o.projection.as_ref())?;
        $body.opt("collation", $o.collation.as_ref())?;
        $body.opt("hint", $o.hint.as_ref())?;
        $body.opt_max_time($o.max_time)?;
        $body.opt_document("let", $o.let_vars.as_ref())?;
        $body.opt_bson("comment", $o.comment.as_ref())?;
    };
}

/// Appends the options that updates and replacements have.
macro_rules! put_update_options {
    ($body:ident, $o:ident) => {
        if $o.return_document == Some(ReturnDocument::After) {
            $body.bool("new", true);
        }
        $body.opt_bool("upsert", $o.upsert);
        $body.opt_bool("bypassDocumentValidation", $o.bypass_document_validation);
        put_common!($body, $o);
    };
}

/// Builds the command that deletes.
pub(super) fn build_delete(
    scope: &Scope,
    filter: &Document,
    (): (),
    options: Option<&FindOneAndDeleteOptions>,
) -> Result<CommandSpec> {
    let mut body = start(scope, filter)?;
    body.bool("remove", true);
    if let Some(o) = options {
        put_common!(body, o);
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = finish(scope, body, concern)?;
    if let Some(o) = options {
        spec.raw_data = o.raw_data == Some(true);
        check_hint(&mut spec, o.hint.as_ref());
    }
    Ok(spec)
}

/// Builds the command that replaces.
pub(super) fn build_replace(
    scope: &Scope,
    filter: &Document,
    replacement: Result<RawDocumentBuf>,
    options: Option<&FindOneAndReplaceOptions>,
) -> Result<CommandSpec> {
    let mut body = start(scope, filter)?;
    body.raw("update", &replacement?);
    if let Some(o) = options {
        put_update_options!(body, o);
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = finish(scope, body, concern)?;
    if let Some(o) = options {
        spec.raw_data = o.raw_data == Some(true);
        check_hint(&mut spec, o.hint.as_ref());
    }
    Ok(spec)
}

/// Builds the command that updates.
pub(super) fn build_update(
    scope: &Scope,
    filter: &Document,
    update: UpdateModifications,
    options: Option<&FindOneAndUpdateOptions>,
) -> Result<CommandSpec> {
    let mut body = start(scope, filter)?;
    put_update(&mut body, "update", &update)?;
    if let Some(o) = options {
        body.opt("arrayFilters", o.array_filters.as_ref())?;
        put_update_options!(body, o);
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let mut spec = finish(scope, body, concern)?;
    if let Some(o) = options {
        spec.raw_data = o.raw_data == Some(true);
        check_hint(&mut spec, o.hint.as_ref());
    }
    Ok(spec)
}
