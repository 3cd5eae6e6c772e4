//! The verbs: builders that run when they are awaited, or by `run` of the feature `sync`.
//!
//! A verb has two halves. `build` is a pure function from the arguments to a `CommandSpec`;
//! `perform` executes the spec and turns the reply into the result. Nothing is sent before `.await`.
//! The future of a verb that is one command is a [`CommandFuture`] and needs no allocation; the
//! others are boxed.
//!
//! # Errors
//!
//! Every verb can fail with [`ErrorKind::InvalidArgument`](crate::error::ErrorKind) when an option
//! has no meaning, with `ServerSelection` when no suitable server is found in time, with `Io` when
//! the network fails, with `Command` when the server refuses the command, with `Bson` when a
//! document cannot be encoded or decoded, and with `InvalidResponse` when a reply makes no sense.
//!
//! # Cancel safety
//!
//! A verb that was not awaited has no effect. Dropping the future of a verb before it is done
//! abandons the exchange: the client stays usable, but the server may have executed the command.

mod aggregate;
mod body;
mod count;
mod create_collection;
mod create_index;
mod delete;
mod distinct;
mod documents;
mod drop;
mod drop_index;
mod explain;
mod find;
mod find_and_modify;
mod insert_many;
mod insert_one;
mod list_collections;
mod list_databases;
mod list_indexes;
mod listing;
mod map_reduce;
mod modify_collection;
mod open;
mod put;
mod raw_batches;
mod rename;
pub(crate) mod reply;
mod run_command;
mod scope;
mod search_index;
#[cfg(test)]
mod tests;
mod update;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use mongo_client_core::{
    error::{Error, Result},
    op::CommandSpec,
};
use mongo_client_driver::Execution;

pub use mongo_client_core::uri::ParseConnectionString;

pub use self::{
    aggregate::Aggregate,
    count::{Count, CountDocuments, EstimatedDocumentCount},
    create_collection::CreateCollection,
    create_index::{CreateIndex, Multiple, Single},
    delete::Delete,
    distinct::Distinct,
    drop::{DropCollection, DropDatabase},
    drop_index::DropIndex,
    explain::Explain,
    find::{Find, FindOne},
    find_and_modify::{FindOneAndDelete, FindOneAndReplace, FindOneAndUpdate},
    insert_many::InsertMany,
    insert_one::InsertOne,
    list_collections::{ListCollectionNames, ListCollections},
    list_databases::{ListDatabaseNames, ListDatabases},
    list_indexes::{ListIndexNames, ListIndexes},
    map_reduce::MapReduce,
    modify_collection::ModifyCollection,
    raw_batches::RawBatches,
    rename::RenameCollection,
    run_command::{RunCommand, RunCursorCommand},
    search_index::{CreateSearchIndex, DropSearchIndex, ListSearchIndexes, UpdateSearchIndex},
    update::{ReplaceOne, Update},
};
pub(crate) use self::{
    body::Body,
    scope::{Concerns, Place, Scope},
};
pub use crate::client::Fsync;
use crate::{
    client::{Executed, SessionArg},
    session::ClientSession,
};

/// The future of a verb.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What every verb can do besides being awaited.
pub trait Action: Sized {
    /// Applies `f` when there is a value: `verb.optional(limit, |v, limit| v.limit(limit))`.
    #[must_use]
    fn optional<V>(self, value: Option<V>, f: impl FnOnce(Self, V) -> Self) -> Self {
        match value {
            Some(value) => f(self, value),
            None => self,
        }
    }
}

/// Marks a verb that makes a session of its own.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ImplicitSession;

/// Marks a verb that runs in a caller's session.
#[derive(Debug)]
pub struct ExplicitSession<'a>(pub(crate) &'a mut ClientSession);

/// Makes a builder a verb: `perform` is what its two finishers, `.await` and `.run()`, do.
///
/// What is a cursor to `.await` is the cursor of the same name in `sync` to `.run()`.
macro_rules! action {
    (impl [$($generics:tt)*] $target:ty => Cursor<$item:ty>) => {
        $crate::action::action!(
            impl [$($generics)*] $target => Cursor<$item>, $crate::sync::Cursor<$item>
        );
    };
    (impl [$($generics:tt)*] $target:ty => SessionCursor<$item:ty>) => {
        $crate::action::action!(
            impl [$($generics)*] $target => SessionCursor<$item>, $crate::sync::SessionCursor<$item>
        );
    };
    (impl [$($generics:tt)*] $target:ty => $output:ty) => {
        $crate::action::action!(impl [$($generics)*] $target => $output, $output);
    };
    (impl [$($generics:tt)*] $target:ty => $output:ty, $blocking:ty) => {
        impl<$($generics)*> std::future::IntoFuture for $target {
            type Output = mongo_client_core::error::Result<$output>;
            type IntoFuture = $crate::action::BoxFuture<'a, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.perform())
            }
        }

        $crate::action::action!(finish [$($generics)*] $target => $blocking);
    };
    // The verb is one command, whose reply is read with a value of the type `$with`.
    (impl [$($generics:tt)*] $target:ty => $output:ty; command with $with:ty) => {
        impl<$($generics)*> std::future::IntoFuture for $target {
            type Output = mongo_client_core::error::Result<$output>;
            type IntoFuture = $crate::action::CommandFuture<'a, $output, $with>;

            #[inline]
            fn into_future(self) -> Self::IntoFuture {
                self.perform()
            }
        }

        $crate::action::action!(finish [$($generics)*] $target => $output);
    };
    (finish [$($generics:tt)*] $target:ty => $blocking:ty) => {
        impl<$($generics)*> $crate::action::Action for $target {}

        #[cfg(feature = "sync")]
        impl<$($generics)*> $target {
            /// Runs the verb and blocks this thread until it is done; see
            /// [`sync`](crate::sync).
            ///
            /// # Errors
            ///
            /// Those of the verb when it is awaited.
            pub fn run(self) -> mongo_client_core::error::Result<$blocking> {
                $crate::sync::wait(self.perform()).map(<$blocking>::from)
            }
        }
    };
}

/// The future of a verb that is one command.
///
/// It holds the command and is about 1 KiB large; box it where that is too much.
#[must_use = "futures do nothing unless they are awaited"]
pub struct CommandFuture<'a, T, With = ()> {
    execution: Execution<'a>,
    /// How the reply is read.
    read: fn(With, &Executed) -> Result<T>,
    /// What it is read with; `None` once it was.
    with: Option<With>,
}

impl<T, With> std::fmt::Debug for CommandFuture<'_, T, With> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CommandFuture")
    }
}

/// Executes a command, unless it could not be built.
#[inline]
fn running<'a, T, With>(
    place: &'a Place,
    spec: Result<CommandSpec>,
    session: Option<&'a mut ClientSession>,
    with: With,
    read: fn(With, &Executed) -> Result<T>,
) -> CommandFuture<'a, T, With> {
    let execution = match spec {
        Ok(spec) => place.client.execute(spec, session_arg(session)),
        Err(error) => Execution::failed(error),
    };
    CommandFuture {
        execution,
        read,
        with: Some(with),
    }
}

impl<T, With: Unpin> Future for CommandFuture<'_, T, With> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let executed = ready!(Pin::new(&mut self.execution).poll(cx));
        let read = self.read;
        Poll::Ready(match (executed, self.with.take()) {
            (Ok(executed), Some(with)) => {
                let result = read(with, &executed);
                executed.recycle();
                result
            }
            (Err(error), Some(_)) => Err(error),
            (_, None) => Err(Error::internal(
                "the future of a verb was polled after its end",
            )),
        })
    }
}

/// Gives a verb that returns a plain result its `session` setter.
macro_rules! session_setter {
    (impl [$($generics:tt)*] $target:ty) => {
        impl<$($generics)*> $target {
            /// Runs in a session of the caller's.
            pub fn session(
                mut self,
                value: impl Into<&'a mut $crate::session::ClientSession>,
            ) -> Self {
                self.session = Some(value.into());
                self
            }
        }
    };
}

pub(crate) use action;
use session_setter;

/// The session of an execution: the caller's, or one of its own.
fn session_arg(session: Option<&mut ClientSession>) -> SessionArg<'_> {
    session.map_or(SessionArg::Implicit, SessionArg::Explicit)
}
