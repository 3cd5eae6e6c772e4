//! Logins that are refused: what the error is, that it shows no password, and that nothing stays
//! broken.

use std::{error::Error as _, fmt::Write as _};

use bson::doc;
use mongo_client::{
    error::{Error, ErrorKind},
    options::{AuthMechanism, ClientOptions},
};
use mongo_client_tests::{
    deploy, live, rt,
    secure::{assert_hides, ping},
};

use crate::passwords::Users;

/// Every byte that is not a letter or digit, percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b if b.is_ascii_alphanumeric() => out.push(char::from(b)),
            b => write!(out, "%{b:02X}").unwrap(),
        }
        out
    })
}

/// The server (named in the error) refused a login with its code 18 (11 for a certificate of
/// nobody), and no secret shows.
pub(crate) fn assert_refused(error: &Error, server: &str, secrets: &[&str]) {
    assert!(
        matches!(&*error.kind, ErrorKind::Authentication { .. }),
        "{error:?}"
    );
    assert!(error.is_authentication());
    assert!(error.to_string().contains(server), "{error}");
    let answer = error.source().and_then(|e| e.downcast_ref::<Error>());
    let code = answer.and_then(Error::code);
    assert!(matches!(code, Some(18 | 11)), "{error:?}");
    assert_hides(error, secrets);
}

#[test]
fn refused_login_names_the_server_but_not_the_password() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        let all = ["SCRAM-SHA-1", "SCRAM-SHA-256"];
        users.create("both", "right-0ne", &all).await;
        users.create("one", "right-0ne", &all[..1]).await;
        users.create("two", "right-0ne", &all[1..]).await;
        let (sha1, sha256) = (AuthMechanism::ScramSha1, AuthMechanism::ScramSha256);
        for (name, password, mechanism, source) in [
            ("both", "wr0ng-0ne", None, None),
            ("both", "wr0ng-0ne", Some(sha1), None),
            ("both", "wr0ng-0ne", Some(sha256), None),
            ("one", "wr0ng-0ne", None, None),
            ("nobody", "right-0ne", None, None),
            ("nobody", "right-0ne", Some(sha1), None),
            ("one", "right-0ne", Some(sha256), None),
            ("two", "right-0ne", Some(sha1), None),
            ("two", "right-0ne", None, Some("no_such_database")),
            ("two", "right-0ne", None, Some("admin")),
            ("Both", "right-0ne", None, None),
            ("both", "right-0ne ", None, None),
            ("both", "", None, None),
        ] {
            let mut options = users.options_as(name, password);
            let credential = options.credential.as_mut().unwrap();
            credential.mechanism = mechanism;
            if let Some(source) = source {
                credential.source = Some(source.to_owned());
            }
            let client = live::build(options);
            for _ in 0..2 {
                let error = ping(&client).await.expect_err(name);
                assert_refused(&error, &users.primary, &["right-0ne", "wr0ng-0ne"]);
            }
            // Of the same server, at the same time.
            let right = live::build(users.options_as("both", "right-0ne"));
            ping(&right).await.unwrap();
        }
        users.forget().await;
    });
}

#[test]
fn client_recovers_when_its_password_becomes_right_and_outlives_a_change() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        users.create("late", "first", &["SCRAM-SHA-256"]).await;
        let early = live::build(users.options_as("late", "first"));
        let late = live::build(users.options_as("late", "second"));
        ping(&early).await.unwrap();
        assert!(ping(&late).await.unwrap_err().is_authentication());

        users
            .run(doc! { "updateUser": "late", "pwd": "second" })
            .await;

        // Salt and key are new, so what the first client derived fits no more.
        ping(&late).await.unwrap();
        ping(&early).await.unwrap();
        let again = live::build(users.options_as("late", "first"));
        assert!(ping(&again).await.unwrap_err().is_authentication());
        users.forget().await;
    });
}

#[test]
fn operations_that_wait_for_a_login_all_get_its_error() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        let client = live::build(users.options_as("nobody", "wr0ng-0ne"));
        let pings: Vec<_> = (0..16)
            .map(|_| {
                let client = client.clone();
                rt::spawn(async move { ping(&client).await })
            })
            .collect();
        for ping in pings {
            let error = ping.await.unwrap().unwrap_err();
            assert_hides(&error, &["wr0ng-0ne"]);
            let cleared = matches!(&*error.kind, ErrorKind::ConnectionPoolCleared { .. });
            assert!(cleared || error.is_authentication(), "{error:?}");
        }
        users.forget().await;
    });
}

#[test]
fn credentials_that_fit_no_mechanism_are_refused_before_anything_is_sent() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let h = "127.0.0.1:1";
        for (uri, names) in [
            (
                format!("mongodb://u@{h}/?authMechanism=SCRAM-SHA-256"),
                "password",
            ),
            (format!("mongodb://u@{h}/?authMechanism=PLAIN"), "password"),
            (
                format!("mongodb://{h}/?authMechanism=SCRAM-SHA-1"),
                "user name",
            ),
            (format!("mongodb://:pa55@{h}/"), "user name"),
            (
                format!("mongodb://u:pa55@{h}/?authMechanism=MONGODB-X509"),
                "password",
            ),
            (
                format!("mongodb://u:pa55@{h}/?authMechanism=SCRAM-SHA-512"),
                "authMechanism",
            ),
            (
                format!("mongodb://u:pa55@{h}/?authMechanism=MONGODB-CR"),
                "authMechanism",
            ),
            (format!("mongodb://u:pa55@{h}/?authSource="), "authSource"),
            (
                format!("mongodb://u@{h}/?authMechanism=MONGODB-X509&authSource=admin"),
                "authSource",
            ),
        ] {
            let error = ClientOptions::parse_uri(&uri).expect_err(&uri);
            let kind = matches!(&*error.kind, ErrorKind::InvalidArgument { .. });
            assert!(kind && error.to_string().contains(names), "{uri}: {error}");
            assert_hides(&error, &["pa55"]);
        }
    });
}

#[test]
fn password_that_cannot_be_prepared_is_named_and_not_shown() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        // SASLprep prohibits control characters; a password for SCRAM-SHA-1 may have them.
        let password = "pa55\u{7}w0rd";
        users.create("bell", password, &["SCRAM-SHA-1"]).await;
        let mut options = users.options_as("bell", password);
        ping(&live::build(options.clone())).await.unwrap();

        options.credential.as_mut().unwrap().mechanism = Some(AuthMechanism::ScramSha256);
        let error = ping(&live::build(options)).await.unwrap_err();

        let kind = matches!(&*error.kind, ErrorKind::InvalidArgument { .. });
        assert!(kind && error.to_string().contains("password"), "{error:?}");
        assert_hides(&error, &["pa55", "w0rd"]);
        users.forget().await;
    });
}

#[test]
fn reserved_characters_must_be_escaped_and_the_error_says_so() {
    for (userinfo, names) in [
        ("us/er:s3cret", "percent"),
        ("user:s3c/ret", "percent"),
        ("user:s3c?ret", "percent"),
        ("user:s3c#ret", "percent"),
        ("user:s3c[ret", "percent"),
        ("user:s3c]ret", "percent"),
        ("user:s3c@ret", "percent"),
        ("user:s3c:ret", "percent"),
        ("user:s3cret%", "percent"),
        ("user:s3c%zzret", "percent"),
        ("us%er:s3cret", "percent"),
        ("user:s3cret%FF", "UTF-8"),
    ] {
        let uri = format!("mongodb://{userinfo}@localhost/");
        let error = ClientOptions::parse_uri(&uri).expect_err(userinfo);
        let kind = matches!(&*error.kind, ErrorKind::InvalidArgument { .. });
        assert!(
            kind && error.to_string().contains(names),
            "{userinfo}: {error}"
        );
        assert_hides(&error, &["s3c", "ret"]);
    }
}
