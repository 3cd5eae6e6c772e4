//! Logging in with passwords to a replica set whose members share a key file.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongo_client::{
    Client,
    error::{Error, ErrorKind},
    options::{AuthMechanism, ClientOptions, Credential},
};
use mongo_client_tests::{deploy::PASSWORD, live, rt};

/// The options of the set with another user.
fn options_as(uri: &str, credential: Credential) -> ClientOptions {
    let mut options = live::options(uri);
    options.credential = Some(credential.source("admin"));
    options
}

fn credential(user: &str, password: &str) -> Credential {
    Credential::builder().username(user).password(password)
}

/// Who the client is, as the server says.
async fn whoami(client: &Client) -> Result<Option<String>, Error> {
    let admin = client.database("admin");
    let status = admin.run_command(doc! { "connectionStatus": 1 }).await?;
    let users = status
        .get_document("authInfo")
        .and_then(|info| info.get_array("authenticatedUsers"));
    let first = users.ok().and_then(|users| users.first()?.as_document());
    Ok(first.map(|user| user.get_str("user").unwrap().to_owned()))
}

#[test]
fn user_of_each_mechanism_logs_in_with_it() {
    live::on("AUTH", async |uri| {
        for (user, mechanism) in [
            ("sha1", AuthMechanism::ScramSha1),
            ("sha256", AuthMechanism::ScramSha256),
            ("both", AuthMechanism::ScramSha1),
            ("both", AuthMechanism::ScramSha256),
        ] {
            let credential = credential(user, PASSWORD).mechanism(mechanism);
            let client = live::build(options_as(&uri, credential));
            let db = live::database(&client);
            let people = db.collection::<Document>("people");

            people
                .insert_one(doc! { "_id": 1 })
                .await
                .unwrap_or_else(|e| panic!("{user} {mechanism:?}: {e}"));

            assert_eq!(whoami(&client).await.unwrap().as_deref(), Some(user));
            people.drop().await.unwrap();
        }
    });
}

#[test]
fn mechanism_is_negotiated_when_none_is_given() {
    live::on("AUTH", async |uri| {
        for user in ["sha1", "sha256", "both"] {
            let client = live::build(options_as(&uri, credential(user, PASSWORD)));
            let who = whoami(&client).await;
            assert_eq!(
                who.unwrap_or_else(|e| panic!("{user}: {e}")).as_deref(),
                Some(user)
            );
        }
    });
}

#[test]
fn credentials_come_from_the_connection_string() {
    live::on("AUTH", async |uri| {
        for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256"] {
            let uri = uri.replace("root:", "both:") + "&authMechanism=" + mechanism;
            let client = live::client(&uri);
            assert_eq!(
                whoami(&client).await.unwrap().as_deref(),
                Some("both"),
                "{mechanism}"
            );
        }
    });
}

#[test]
fn wrong_password_is_an_authentication_error_at_once() {
    live::on("AUTH", async |uri| {
        for (user, mechanism) in [
            ("sha1", Some(AuthMechanism::ScramSha1)),
            ("sha256", Some(AuthMechanism::ScramSha256)),
            ("both", None),
            ("nobody", None),
        ] {
            let mut credential = credential(user, "wrong");
            credential.mechanism = mechanism;
            let client = live::build(options_as(&uri, credential));
            let start = Instant::now();

            let error = whoami(&client).await.unwrap_err();

            let took = start.elapsed();
            assert!(took < Duration::from_secs(10), "{user}: {took:?}");
            assert!(
                matches!(&*error.kind, ErrorKind::Authentication { .. }),
                "{user}: {error:?}"
            );
            assert!(error.is_authentication());
            let text = format!("{error} {error:?}");
            assert!(!text.contains("wrong"), "the password shows: {text}");
        }
    });
}

#[test]
fn mechanism_that_the_user_lacks_is_an_authentication_error() {
    live::on("AUTH", async |uri| {
        for (user, mechanism) in [
            ("sha1", AuthMechanism::ScramSha256),
            ("sha256", AuthMechanism::ScramSha1),
        ] {
            let credential = credential(user, PASSWORD).mechanism(mechanism);
            let client = live::build(options_as(&uri, credential));
            let error = whoami(&client).await.unwrap_err();
            assert!(error.is_authentication(), "{user}: {error}");
        }
    });
}

#[test]
fn client_that_was_refused_recovers_when_the_user_is_created() {
    live::on("AUTH", async |uri| {
        let root = live::client(&uri);
        let user = live::unique("late");
        let client = live::build(options_as(&uri, credential(&user, "pwd")));
        assert!(whoami(&client).await.unwrap_err().is_authentication());

        let admin = root.database("admin");
        let create = doc! {
            "createUser": &user, "pwd": "pwd", "roles": [], "writeConcern": { "w": "majority" },
        };
        admin.run_command(create).await.unwrap();

        assert_eq!(whoami(&client).await.unwrap(), Some(user.clone()));
        admin.run_command(doc! { "dropUser": &user }).await.unwrap();
    });
}

#[test]
fn without_credentials_the_server_is_reached_but_refuses() {
    live::on("AUTH", async |uri| {
        let mut options = live::options(&uri);
        options.credential = None;
        let client = live::build(options);

        assert_eq!(whoami(&client).await.unwrap(), None);
        let error = client.list_database_names().await.unwrap_err();

        assert_eq!(error.code(), Some(13), "{error}");
    });
}

#[test]
fn password_is_prepared_and_the_users_database_is_asked() {
    live::on("AUTH", async |uri| {
        let root = live::client(&uri);
        let db = live::database(&root);
        let create = doc! {
            "createUser": "IX", "pwd": "IX", "mechanisms": ["SCRAM-SHA-256"],
            "roles": ["readWrite"], "writeConcern": { "w": "majority" },
        };
        db.run_command(create).await.unwrap();

        // SASLprep maps the soft hyphen to nothing and the ninth numeral sign to its letters.
        for password in ["IX", "I\u{AD}X", "\u{2168}"] {
            let mut options = live::options(&uri);
            options.credential = Some(credential("IX", password).source(db.name()));
            let client = live::build(options);
            let people = client.database(db.name()).collection::<Document>("people");
            people
                .insert_one(doc! { "_id": password })
                .await
                .unwrap_or_else(|e| panic!("{password:?}: {e}"));
        }

        db.run_command(doc! { "dropUser": "IX" }).await.unwrap();
        live::forget(&db).await;
    });
}

#[test]
fn every_connection_of_a_busy_pool_is_logged_in() {
    live::on("AUTH", async |uri| {
        let client = live::client(&uri);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let client = client.clone();
                rt::spawn(async move { whoami(&client).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().as_deref(), Some("root"));
        }
    });
}
