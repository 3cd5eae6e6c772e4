//! What a case expects after its operations: events, log messages, and the collections' contents.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{
    Client,
    options::{CollectionOptions, ReadConcern, ReadPreference},
};

use super::{
    Checked, Stop,
    entities::Entities,
    events::{Family, Seen},
    format::{CollectionData, ExpectedEvents, ExpectedLog, ExpectedLogs},
    logs::Message,
    matching::{self, Matcher},
};

/// How long events may be under way: those of the pool and of dropped cursors are told by other
/// tasks than the one that the operation ran in.
const UNDER_WAY: Duration = Duration::from_secs(2);

fn family(expected: &ExpectedEvents) -> Checked<Family> {
    match expected.event_type.as_deref() {
        None | Some("command") => Ok(Family::Command),
        Some("cmap") => Ok(Family::Cmap),
        Some("sdam") => Ok(Family::Sdam),
        Some(other) => Err(Stop::Failed(format!("there are no events {other:?}"))),
    }
}

/// Waits until as many events have come as are expected, if they come at all.
pub(super) async fn settle(entities: &Entities, expected: &ExpectedEvents) -> Checked {
    let (client, family) = (entities.client(&expected.client)?, family(expected)?);
    let enough = || client.recorder.seen(family).len() >= expected.events.len();
    // That too few came is told when they are compared.
    let _ = client.recorder.wait(UNDER_WAY, enough).await;
    Ok(())
}

/// Checks the events of a client.
pub(super) fn events(entities: &Entities, expected: &ExpectedEvents) -> Checked {
    let (client, family) = (entities.client(&expected.client)?, family(expected)?);
    let seen = client.recorder.seen(family);
    let told = || {
        let told: Vec<String> = seen.iter().map(describe).collect();
        format!("; seen: [{}]", told.join(", "))
    };
    let place = |index: usize| format!("expectEvents.{}[{index}]", expected.client);
    for (index, wanted) in expected.events.iter().enumerate() {
        let actual = seen.get(index).ok_or_else(|| {
            Stop::Failed(format!("{}: {wanted} did not come{}", place(index), told()))
        })?;
        is_event(entities, wanted, actual)
            .map_err(|why| Stop::Failed(format!("{}: {why}{}", place(index), told())))?;
    }
    if seen.len() > expected.events.len() && !expected.ignore_extra_events {
        let (got, want) = (seen.len(), expected.events.len());
        return Err(Stop::Failed(format!(
            "expectEvents.{}: {got} events, expected {want}{}",
            expected.client,
            told()
        )));
    }
    Ok(())
}

/// The events of all clients, for the report of a failure.
pub(super) fn story(entities: &Entities) -> String {
    let clients = entities.clients();
    let events = clients.iter().flat_map(|client| client.recorder.all());
    let told: Vec<String> = events.map(|event| describe(&event)).collect();
    format!("; seen: [{}]", told.join(", "))
}

/// An event as a failure shows it.
fn describe(event: &Seen) -> String {
    match event.facts.get_str("commandName") {
        Ok(command) => format!("{} {command}", event.name),
        Err(_) => format!("{} {}", event.name, event.facts),
    }
}

/// Compares an event with one of `expectEvents`, `waitForEvent` or `assertEventCount`.
pub(super) fn is_event(
    entities: &Entities,
    expected: &Document,
    actual: &Seen,
) -> Result<(), String> {
    let Some((name, Bson::Document(wanted))) = expected.iter().next() else {
        return Err(format!("{expected} is no event"));
    };
    if name != actual.name {
        return Err(format!("{}, expected {name}", describe(actual)));
    }
    for (key, value) in wanted {
        let is_root = matches!(
            key.as_str(),
            "command" | "reply" | "previousDescription" | "newDescription"
        );
        Matcher::new(entities)
            .check(value, actual.facts.get(key), is_root)
            .map_err(|why| {
                let facts = actual.facts.get(key).unwrap_or(&Bson::Null);
                format!("{name}.{key}: {why} in {facts}")
            })?;
    }
    Ok(())
}

/// Checks the log messages of a client.
pub(super) fn logs(entities: &Entities, expected: &ExpectedLogs) -> Checked {
    let client = entities.client(&expected.client)?;
    let logs = client
        .logs
        .as_ref()
        .ok_or("expectLogMessages: the client's log is not observed")?;
    let mut messages = Vec::new();
    'messages: for message in logs.messages()? {
        for ignored in &expected.ignore_messages {
            if is_message(entities, ignored, &message).is_ok() {
                continue 'messages;
            }
        }
        messages.push(message);
    }
    let told = || {
        let told = messages
            .iter()
            .map(|m| m.data.get_str("message").unwrap_or_default());
        format!("; seen: {:?}", told.collect::<Vec<_>>())
    };
    for (index, wanted) in expected.messages.iter().enumerate() {
        let place = format!("expectLogMessages.{}[{index}]", expected.client);
        let actual = messages.get(index).ok_or_else(|| {
            Stop::Failed(format!("{place}: {} did not come{}", wanted.data, told()))
        })?;
        is_message(entities, wanted, actual)
            .map_err(|why| Stop::Failed(format!("{place}: {why} in {}{}", actual.data, told())))?;
    }
    if messages.len() > expected.messages.len() && !expected.ignore_extra_messages {
        let (got, want) = (messages.len(), expected.messages.len());
        return Err(Stop::Failed(format!(
            "expectLogMessages.{}: {got} messages, expected {want}{}",
            expected.client,
            told()
        )));
    }
    Ok(())
}

fn is_message(entities: &Entities, expected: &ExpectedLog, actual: &Message) -> Result<(), String> {
    let of = actual.is_of(&expected.component, &expected.level);
    if !of.map_err(|stop| format!("{stop:?}"))? {
        return Err(format!(
            "{} {}, expected {} {}",
            actual.level, actual.target, expected.level, expected.component
        ));
    }
    let data = Bson::Document(actual.data.clone());
    Matcher::new(entities).check(&expected.data.clone().into(), Some(&data), true)?;
    if let Some(wanted) = expected.failure_is_redacted {
        let failure = actual.data.get_str("failure").map_err(|_| "no failure")?;
        // What remains of a server's error is its code; its text is gone.
        if failure.contains("redacted") != wanted {
            return Err(format!("failureIsRedacted: expected {wanted}: {failure}"));
        }
    }
    Ok(())
}

/// Checks what is in a collection.
pub(super) async fn outcome(client: &Client, expected: &CollectionData) -> Checked {
    let mut options = CollectionOptions::default();
    options.read_concern = Some(ReadConcern::local());
    options.selection_criteria = Some(ReadPreference::Primary.into());
    let (database, name) = (&expected.database_name, &expected.collection_name);
    let collection = client
        .database(database)
        .collection_with_options::<Document>(name, options);
    let read = async {
        let cursor = collection.find(Document::new()).sort(doc! { "_id": 1 });
        cursor.await?.try_collect::<Vec<_>>().await
    };
    let place = format!("outcome of {database}.{name}");
    let actual = read
        .await
        .map_err(|error| Stop::Failed(format!("{place}: {error}")))?;
    let list = |documents: &[Document]| {
        Bson::Array(documents.iter().cloned().map(Bson::Document).collect())
    };
    let (actual, wanted) = (list(&actual), list(&expected.documents));
    if matching::same(&wanted, &actual) {
        Ok(())
    } else {
        Err(Stop::Failed(format!(
            "{place}: {actual}, expected {wanted}"
        )))
    }
}
