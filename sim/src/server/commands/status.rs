//! What a server tells of itself: parameters, and commands that only acknowledge.

use bson::{Bson, Document, doc};

use crate::{
    failure::{Failure, Result},
    server::{
        SimServer,
        dispatch::{Call, Done},
    },
    store::value::truthy,
};

/// The parameters that are simulated, of more than a thousand.
pub(crate) const PARAMETERS: &[&str] = &[
    "authenticationMechanisms",
    "enableTestCommands",
    "featureCompatibilityVersion",
    "requireApiVersion",
];

fn parameter(name: &str) -> Bson {
    match name {
        "authenticationMechanisms" => vec!["SCRAM-SHA-1", "SCRAM-SHA-256"].into(),
        "featureCompatibilityVersion" => doc! { "version": "6.0" }.into(),
        "enableTestCommands" => true.into(),
        _ => false.into(),
    }
}

pub(in crate::server) fn get_parameter(_server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let asked = call.command.get("getParameter");
    let options = asked.and_then(Bson::as_document);
    let all = asked.and_then(Bson::as_str) == Some("*")
        || options.is_some_and(|o| o.get("allParameters").is_some_and(truthy));
    if options.is_some_and(|o| o.get("showDetails").is_some_and(truthy)) {
        return Err(Failure::not_simulated("getParameter.showDetails"));
    }
    let wanted = |name: &&&str| all || call.command.contains_key(name);
    let found = PARAMETERS.iter().filter(wanted);
    let reply: Document = found
        .map(|name| ((*name).to_owned(), parameter(name)))
        .collect();
    if reply.is_empty() {
        let own = call.command.keys().skip(1);
        let mut own =
            own.filter(|key| !key.starts_with('$') && *key != "lsid" && *key != "comment");
        return Err(match own.next() {
            Some(name) => Failure::not_simulated(format_args!("parameter {name}")),
            // The real server gives no code here.
            None => Failure::new(0, "no option found to get"),
        });
    }
    Ok(Done::reply(reply))
}

/// Ends the sessions of a list, or all of them. A session is no more than its retryable writes
/// here, which the real server keeps as well.
pub(in crate::server) fn acknowledge_sessions(
    _server: &mut SimServer,
    call: &Call<'_>,
) -> Result<Done> {
    let found = call.command.get(call.name).unwrap_or(&Bson::Null);
    let shown = if call.name == "killAllSessions" {
        "KillAllSessionsCmd"
    } else {
        call.name
    };
    match found {
        Bson::Array(_) => Ok(Done::reply(Document::new())),
        other => Err(super::wrong_type(shown, call.name, other, "array")),
    }
}
