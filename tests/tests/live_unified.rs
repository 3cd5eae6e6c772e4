//! The runner of the unified format against its own test files, and against itself: it must be
//! able to fail.

mod serial_standalone {
    use std::path::PathBuf;

    use mongo_client_tests::{
        deploy,
        spec::{Outcome, Report, SpecFile, default_dir, load},
        unified::{self, Filter, Kind},
    };
    use serde_json::{Value, json};

    fn filter() -> Filter {
        Filter {
            only: vec![Kind::Standalone],
            ..Filter::default()
        }
    }

    /// Runs files on the shared server; `None` when there is none.
    fn run(files: &[SpecFile]) -> Option<Report> {
        deploy::uri("STANDALONE")?;
        let files: Vec<&SpecFile> = files.iter().collect();
        let rows = unified::run(&files, &filter()).expect("the server is there");
        assert_eq!(rows.len(), 1, "one folder, one row");
        rows.into_iter().next().map(|(_, report)| report)
    }

    fn folder(name: &str) -> Vec<SpecFile> {
        let mut files = load(&default_dir().join("unified-test-format").join(name));
        for file in &mut files {
            file.relative = format!("unified-test-format/{name}/{}", file.relative);
        }
        files
    }

    #[test]
    fn files_that_must_pass_pass() {
        let Some(report) = run(&folder("valid-pass")) else {
            return;
        };
        assert_eq!(report.failures(), Vec::<String>::new());
        assert!(report.passed() > 20, "{} passed", report.passed());
    }

    #[test]
    fn files_that_must_fail_fail_for_their_reasons() {
        let Some(report) = run(&folder("valid-fail")) else {
            return;
        };
        assert_eq!(report.failures(), Vec::<String>::new());
        assert!(report.passed() > 20, "{} passed", report.passed());
    }

    /// A file with a case, which is right unless `change` makes it wrong.
    fn file(change: impl FnOnce(&mut Value)) -> SpecFile {
        let mut json = json!({
            "description": "mine",
            "schemaVersion": "1.13",
            "createEntities": [
                { "client": {
                    "id": "client0",
                    "observeEvents": ["commandStartedEvent", "connectionCheckedOutEvent"],
                    "observeLogMessages": { "command": "debug" },
                } },
                { "database": { "id": "db0", "client": "client0", "databaseName": "runner_itself" } },
                { "collection": { "id": "c0", "database": "db0", "collectionName": "c" } },
            ],
            "initialData": [
                { "databaseName": "runner_itself", "collectionName": "c", "documents": [{ "_id": 1 }] },
            ],
            "tests": [{
                "description": "insertOne",
                "operations": [{
                    "name": "insertOne", "object": "c0", "arguments": { "document": { "_id": 2 } },
                    "expectResult": { "insertedId": 2 },
                }],
                "expectEvents": [
                    { "client": "client0", "events": [{ "commandStartedEvent": {
                        "commandName": "insert",
                        "command": { "insert": "c", "documents": [{ "_id": 2 }] },
                    } }] },
                    { "client": "client0", "eventType": "cmap",
                        "events": [{ "connectionCheckedOutEvent": {} }] },
                ],
                "expectLogMessages": [{ "client": "client0", "messages": [
                    { "level": "debug", "component": "command",
                        "data": { "message": "Command started", "commandName": "insert" } },
                    { "level": "debug", "component": "command",
                        "data": { "message": "Command succeeded", "commandName": "insert" } },
                ] }],
                "outcome": [{ "databaseName": "runner_itself", "collectionName": "c",
                    "documents": [{ "_id": 1 }, { "_id": 2 }] }],
            }],
        });
        change(&mut json["tests"][0]);
        SpecFile {
            path: PathBuf::from("mine.json"),
            relative: "mine/mine.json".to_owned(),
            json,
        }
    }

    #[test]
    fn a_wrong_expectation_of_any_kind_is_red() {
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 9] = [
            ("", |_| {}),
            ("insertedId", |test| {
                test["operations"][0]["expectResult"]["insertedId"] = json!(3);
            }),
            ("an error was expected", |test| {
                let operation = test["operations"][0].as_object_mut().expect("an object");
                operation.remove("expectResult");
                operation.insert("expectError".into(), json!({ "isError": true }));
            }),
            ("documents[0]._id", |test| {
                test["expectEvents"][0]["events"][0]["commandStartedEvent"]["command"]["documents"]
                    [0]["_id"] = json!(3);
            }),
            ("1 events, expected 0", |test| {
                test["expectEvents"][0]["events"] = json!([]);
            }),
            ("did not come", |test| {
                test["expectEvents"][1]["events"] = json!([{ "connectionCheckedOutEvent": {} }, { "connectionCheckedOutEvent": {} }]);
            }),
            ("2 messages, expected 1", |test| {
                let messages = &mut test["expectLogMessages"][0]["messages"];
                messages.as_array_mut().expect("an array").pop();
            }),
            ("expected info", |test| {
                test["expectLogMessages"][0]["messages"][0]["level"] = json!("info");
            }),
            ("outcome of runner_itself.c", |test| {
                test["outcome"][0]["documents"] = json!([{ "_id": 1 }]);
            }),
        ];
        for (why, change) in changes {
            let Some(report) = run(&[file(change)]) else {
                return;
            };
            match &report.cases()[0].1 {
                Outcome::Passed => assert_eq!(why, "", "it passed"),
                Outcome::Failed(text) => {
                    assert!(!why.is_empty() && text.contains(why), "{why:?}: {text}");
                }
                Outcome::Skipped(reason) => panic!("skipped: {reason}"),
            }
        }
    }

    #[test]
    fn an_operation_that_is_not_offered_skips_its_case_under_its_feature() {
        let change = |test: &mut Value| {
            test["operations"] = json!([{ "name": "bulkWrite", "object": "c0", "arguments": {} }]);
        };
        let Some(report) = run(&[file(change)]) else {
            return;
        };
        let reason = "bulkWrite is postponed".to_owned();
        assert_eq!(report.cases()[0].1, Outcome::Skipped(reason));
    }
}
