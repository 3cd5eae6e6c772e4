//! What the tests of logins and transports share: who a client is, why it is refused, and that no
//! error shows a password.

use std::{
    error::Error as _,
    fmt::Write as _,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongo_client::{
    Client,
    error::Error,
    event::sdam::SdamEvent,
    options::{ClientOptions, Credential},
};

use crate::live::{self, Event, PATIENCE, Recorder};

/// The reply to `ping`.
///
/// # Errors
///
/// As the client says.
pub async fn ping(client: &Client) -> Result<Document, Error> {
    let admin = client.database("admin");
    admin.run_command(doc! { "ping": 1 }).await
}

/// Who the client is, as the server says: `user@database`, or nobody.
///
/// # Errors
///
/// As the client says.
///
/// # Panics
///
/// When the server's answer has another form.
pub async fn whoami(client: &Client) -> Result<Option<String>, Error> {
    let admin = client.database("admin");
    let status = admin.run_command(doc! { "connectionStatus": 1 }).await?;
    let users = status
        .get_document("authInfo")
        .and_then(|info| info.get_array("authenticatedUsers"))
        .expect("connectionStatus lists users");
    let first = users.first().and_then(|user| user.as_document());
    Ok(first.map(|user| {
        let text = |field| user.get_str(field).expect("users have names");
        format!("{}@{}", text("user"), text("db"))
    }))
}

/// A credential of the database `admin`.
#[must_use]
pub fn credential(user: &str, password: &str) -> Credential {
    let credential = Credential::builder().username(user).password(password);
    credential.source("admin")
}

/// Everything that an error shows, through `Display` and `Debug`, of itself and all its sources.
#[must_use]
pub fn shown(error: &Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, "\n{error}\n{error:?}").expect("writing into a string cannot fail");
        source = error.source();
    }
    text
}

/// Panics if an error shows one of these texts.
///
/// # Panics
///
/// See above.
pub fn assert_hides(error: &Error, secrets: &[&str]) {
    let shown = shown(error);
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret:?} shows in {shown}");
    }
}

/// How a client learns that its server cannot be used.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The failure of the monitor's first check.
    pub check: Error,
    /// What an operation says that waits for a server in vain.
    pub operation: Error,
}

impl Refusal {
    /// Both errors name the server, and the failed check is one of the network.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub fn assert_names(&self, host: &str) {
        assert!(self.check.is_network(), "{:?}", self.check);
        assert!(self.operation.is_server_selection(), "{:?}", self.operation);
        for error in [&self.check, &self.operation] {
            assert!(error.to_string().contains(host), "{host}: {error}");
        }
    }

    /// The text of the failed check, which is repeated by the operation's error.
    ///
    /// # Panics
    ///
    /// When it is not repeated.
    #[must_use]
    pub fn why(&self) -> String {
        let (check, operation) = (self.check.kind.to_string(), self.operation.to_string());
        assert!(operation.contains(&check), "{check:?} in {operation:?}");
        check
    }
}

/// Why the first server of these options cannot be used.
///
/// # Panics
///
/// When it can be used.
pub async fn refusal(mut options: ClientOptions) -> Refusal {
    options.server_selection_timeout = Some(Duration::from_millis(50));
    let recorder = Recorder::attach(&mut options);
    let client = live::build(options);
    let mut failure = None;
    recorder
        .wait("a check of the server", |events| {
            for event in events {
                match event {
                    Event::Sdam(SdamEvent::ServerHeartbeatFailed(e)) => {
                        failure = Some(e.failure.clone());
                    }
                    Event::Sdam(SdamEvent::ServerHeartbeatSucceeded(_)) => {
                        panic!("the server can be used");
                    }
                    _ => {}
                }
            }
            failure.is_some()
        })
        .await;
    let check = failure.expect("was waited for");
    // The failure is published right after the event, but by another thread.
    let mut operation = ping(&client).await.expect_err("no server can be used");
    let deadline = Instant::now() + PATIENCE;
    while !operation.to_string().contains(&check.kind.to_string()) && Instant::now() < deadline {
        operation = ping(&client).await.expect_err("no server can be used");
    }
    Refusal { check, operation }
}
