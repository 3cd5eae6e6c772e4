//! A command that fails in one way first, and in another from the next attempt on.

use std::sync::atomic::{AtomicBool, Ordering};

use bson::{Bson, Document, doc};
use mongo_client::{
    Client,
    event::{EventHandler, command::CommandEvent},
    options::ServerAddress,
};
use mongo_client_tests::live::{self, FailPoint, Recorder};
use xtask::wire::Wire;

/// Labels of an error that an overloaded server sends.
pub(super) const OVERLOADED: [&str; 2] = ["RetryableError", "SystemOverloadedError"];

/// What a fail point does to a command.
pub(super) fn failure(command: &str, code: i32, labels: &[&str]) -> Document {
    let labels: Vec<Bson> = labels.iter().copied().map(Bson::from).collect();
    doc! { "failCommands": [command], "errorCode": code, "errorLabels": labels }
}

/// A client whose first such command has the first failure; the fail point for the second is set
/// by the listener, so before the client can try again.
pub(super) async fn client(
    uri: &str,
    first: Document,
    second: Document,
    mode: impl Into<Bson>,
) -> (Client, Recorder, FailPoint) {
    let mut options = live::options(uri);
    let recorder = Recorder::attach(&mut options);
    let app_name = live::app_name(&options);
    let record = options.command_event_handler.take().unwrap();
    let mut data = second;
    data.insert("appName", &app_name);
    let failing = data.get_array("failCommands").unwrap()[0].clone();
    let command = doc! {
        "configureFailPoint": "failCommand", "mode": mode.into(), "data": data,
    };
    let done = AtomicBool::new(false);
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        let answered = match &event {
            CommandEvent::Succeeded(e) => Some((&e.command_name, &e.connection)),
            CommandEvent::Failed(e) => Some((&e.command_name, &e.connection)),
            _ => None,
        };
        if let Some((name, connection)) = answered
            && failing.as_str() == Some(name)
            && !done.swap(true, Ordering::Relaxed)
        {
            let mut wire = Wire::connect(port(&connection.address), live::PATIENCE).unwrap();
            wire.admin(command.clone()).unwrap();
        }
        record.handle(event);
    }));
    let client = live::build(options);
    let point = FailPoint::set(&client, 1, &app_name, first).await;
    (client, recorder, point)
}

fn port(address: &ServerAddress) -> u16 {
    match address {
        ServerAddress::Tcp { port, .. } => port.unwrap_or(27017),
        other => panic!("{other} has no port"),
    }
}
