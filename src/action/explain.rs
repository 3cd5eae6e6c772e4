//! `explain` of the verbs on collections (specification: "CRUD", "Explain").

use bson::{Document, RawArrayBuf, RawDocument, raw::CStr};
use mongo_client_core::{
    codec,
    error::{Error, Result},
    op::{CommandSpec, Retryability},
};

use super::{
    Aggregate, CountDocuments, Delete, Distinct, ExplicitSession, Find, FindOne, FindOneAndDelete,
    FindOneAndReplace, FindOneAndUpdate, ImplicitSession, Place, ReplaceOne, Update, action,
    aggregate, body::Body, count, delete, distinct, find, find_and_modify, session_arg,
    session_setter, update,
};
use crate::{
    options::{ExplainOptions, explain_setters},
    session::ClientSession,
};

/// Says how the server would execute a verb, or did; made by `explain` of the verbs. Nothing is
/// written.
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct Explain<'a> {
    place: &'a Place,
    command: Result<CommandSpec>,
    options: Option<Box<ExplainOptions>>,
    session: Option<&'a mut ClientSession>,
}

explain_setters!(impl ['a] Explain<'a>);
session_setter!(impl ['a] Explain<'a>);

impl Explain<'_> {
    async fn perform(self) -> Result<Document> {
        let spec = build(self.command?, self.options.as_deref())?;
        let client = &self.place.client;
        let executed = client.execute(spec, session_arg(self.session)).await?;
        codec::to_document(executed.reply.document())
    }
}

action!(impl ['a] Explain<'a> => Document);

/// Gives a verb its `explain`.
macro_rules! explained {
    (impl [$($generics:tt)*] $target:ty, |$verb:ident| $build:expr, $session:expr) => {
        impl<'a, $($generics)*> $target {
            /// Asks how the server would execute the verb, or did, in place of its results: awaiting
            /// gives the server's document. The verb's own `max_time` limits the verb; that of
            /// [`Explain`] limits the explanation.
            pub fn explain(self) -> Explain<'a> {
                let $verb = self;
                Explain {
                    place: $verb.place,
                    command: $build,
                    options: None,
                    session: $session,
                }
            }
        }
    };
}

explained!(impl [T] Find<'a, T, ImplicitSession>, |verb| {
    find::build(&verb.place.scope, &verb.filter, verb.options.as_deref()).map(first)
}, None);
explained!(impl [T] Find<'a, T, ExplicitSession<'a>>, |verb| {
    find::build(&verb.place.scope, &verb.filter, verb.options.as_deref()).map(first)
}, Some(verb.session.0));
explained!(impl [T] FindOne<'a, T>, |verb| {
    find::build_one(&verb.place.scope, &verb.filter, verb.options.as_deref())
}, verb.session);
explained!(impl [T] Aggregate<'a, ImplicitSession, T>, |verb| {
    aggregate::build(&verb.place.scope, &verb.pipeline, verb.options.as_deref()).map(first)
}, None);
explained!(impl [T] Aggregate<'a, ExplicitSession<'a>, T>, |verb| {
    aggregate::build(&verb.place.scope, &verb.pipeline, verb.options.as_deref()).map(first)
}, Some(verb.session.0));
explained!(impl [] CountDocuments<'a>, |verb| {
    count::build(&verb.place.scope, verb.filter, verb.options.as_deref())
}, verb.session);
explained!(impl [] Distinct<'a>, |verb| {
    let options = verb.options.as_deref();
    distinct::build(&verb.place.scope, &verb.field_name, &verb.filter, options)
}, verb.session);
explained!(impl [] Delete<'a>, |verb| {
    delete::build(&verb.place.scope, &verb.query, verb.multi, verb.options.as_deref())
}, verb.session);
explained!(impl [] Update<'a>, |verb| {
    let options = verb.options.as_deref();
    update::build(&verb.place.scope, &verb.query, &verb.update, verb.multi, options)
}, verb.session);
explained!(impl [] ReplaceOne<'a>, |verb| {
    let options = verb.options.as_deref();
    verb.replacement.and_then(|replacement| {
        update::build_replace(&verb.place.scope, &verb.query, &replacement, options)
    })
}, verb.session);
explained!(impl [T] FindOneAndDelete<'a, T>, |verb| {
    let options = verb.options.as_deref();
    find_and_modify::build_delete(&verb.place.scope, &verb.filter, (), options)
}, verb.session);
explained!(impl [T] FindOneAndReplace<'a, T>, |verb| {
    let options = verb.options.as_deref();
    find_and_modify::build_replace(&verb.place.scope, &verb.filter, verb.change, options)
}, verb.session);
explained!(impl [T] FindOneAndUpdate<'a, T>, |verb| {
    let options = verb.options.as_deref();
    find_and_modify::build_update(&verb.place.scope, &verb.filter, verb.change, options)
}, verb.session);

fn first<T>((spec, _): (CommandSpec, T)) -> CommandSpec {
    spec
}

/// Wraps a command into `explain`, together with the documents beside it.
pub(super) fn build(command: CommandSpec, options: Option<&ExplainOptions>) -> Result<CommandSpec> {
    let mut inner = (*command.body).to_owned();
    for sequence in command.sequences.iter() {
        let mut documents = RawArrayBuf::new();
        for piece in sequence.documents.iter() {
            let mut rest: &[u8] = piece;
            while let Some(len) = rest.first_chunk() {
                let len = usize::try_from(i32::from_le_bytes(*len)).unwrap_or(0);
                let (document, after) = rest
                    .split_at_checked(len)
                    .filter(|(document, _)| !document.is_empty())
                    .ok_or_else(|| Error::internal("a sequence without whole documents"))?;
                documents.push(RawDocument::from_bytes(document)?.to_owned());
                rest = after;
            }
        }
        inner.append(<&CStr>::try_from(sequence.identifier)?, documents);
    }
    let mut body = Body::with_document("explain", &inner);
    if let Some(o) = options {
        if let Some(verbosity) = &o.verbosity {
            body.str("verbosity", verbosity.as_str());
        }
        body.opt_max_time(o.max_time)?;
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let mut spec = CommandSpec::new("explain", command.db, body.finish()?);
    spec.target = command.target;
    spec.retryability = Retryability::None;
    spec.requirement = command.requirement;
    Ok(spec)
}
