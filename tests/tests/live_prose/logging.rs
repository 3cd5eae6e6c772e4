//! Command logging: `command-logging-and-monitoring/tests/README.md`. Lengths are in bytes.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::Client;
use mongo_client_tests::{
    deploy, live,
    logs::{Entry, Logs},
    rt,
};
use tracing::Level;

const MARK: usize = "...".len();

/// Runs a test's section with a client whose commands are logged.
fn heard(limit: Option<usize>, section: impl AsyncFnOnce(&Client, &Logs)) {
    let logs = Logs::of("mongo_client::command", Level::DEBUG);
    logs.listen(|| {
        rt::block_on(async {
            let Some(uri) = deploy::uri("STANDALONE") else {
                return;
            };
            let mut options = live::options(&uri);
            options.tracing_max_document_length_bytes = limit;
            section(&live::build(options), &logs).await;
        });
    });
}

/// The only message of this text for a command of this name.
fn one(logs: &Logs, message: &str, command: &str) -> Entry {
    let mut found = logs.with_message(message);
    found.retain(|entry| entry.text("commandName") == command);
    assert_eq!(found.len(), 1, "{message}: {:?}", logs.events());
    found.remove(0)
}

#[test]
fn test_1_documents_are_cut_at_1000_bytes_by_default() {
    heard(None, async |client, logs| {
        let db = live::database(client);
        let things = db.collection::<Document>("things");
        let docs = vec![doc! { "x": "y" }; 100];
        things.insert_many(&docs).await.unwrap();
        let started = one(logs, "Command started", "insert");
        assert_eq!(started.text("command").len(), 1_000 + MARK);
        let succeeded = one(logs, "Command succeeded", "insert");
        assert!(succeeded.text("reply").len() <= 1_000 + MARK);

        let found = things.find(doc! {}).await.unwrap();
        let found: Vec<Document> = found.try_collect().await.unwrap();
        assert_eq!(found.len(), 100);
        let succeeded = one(logs, "Command succeeded", "find");
        assert_eq!(succeeded.text("reply").len(), 1_000 + MARK);
        live::forget(&db).await;
    });
}

#[test]
fn test_2_documents_are_cut_at_the_length_of_the_option() {
    heard(Some(5), async |client, logs| {
        let admin = client.database("admin");
        admin.run_command(doc! { "hello": true }).await.unwrap();
        let started = one(logs, "Command started", "hello");
        assert_eq!(started.text("command").len(), 5 + MARK);
        let succeeded = one(logs, "Command succeeded", "hello");
        assert_eq!(succeeded.text("reply").len(), 5 + MARK);

        let unknown = admin.run_command(doc! { "notARealCommand": true }).await;
        unknown.unwrap_err();
        let failed = one(logs, "Command failed", "notARealCommand");
        assert_eq!(failed.text("failure").len(), 5 + MARK);
    });
}

/// A server echoes the names of commands that it does not know.
#[test]
fn test_3_no_character_is_split() {
    let text = "漢".repeat(20);
    for limit in 40..=43 {
        heard(Some(limit), async |client, logs| {
            let db = live::database(client);
            let names = db.collection::<Document>("names");
            names.insert_one(doc! { "_id": &text }).await.unwrap();
            names.find_one(doc! {}).await.unwrap();
            db.run_command(doc! { text.as_str(): 1 }).await.unwrap_err();
            let command = one(logs, "Command started", &text);
            let reply = one(logs, "Command succeeded", "find");
            let failure = one(logs, "Command failed", &text);
            for text in [
                command.text("command"),
                reply.text("reply"),
                failure.text("failure"),
            ] {
                let shown = text.strip_suffix("...").expect("a mark at the end");
                assert!(
                    shown.len() <= limit && shown.len() + 3 > limit,
                    "{limit}: {text}"
                );
            }
            // `{"` is 2 bytes long, a character 3.
            let shown = command.text("command").len() - MARK;
            assert_eq!(shown, 2 + (limit - 2) / 3 * 3, "{limit}");
            live::forget(&db).await;
        });
    }
}
