//! Names of files and folders, and what a file is when no suite knows it.
//!
//! Suites are written for the folder names of the fetched distribution. A checkout of the
//! specifications has other names; they are translated here, so that it can be run too.

use std::path::Path;

use serde_json::Value;

use super::SpecFile;

/// Folders of the specifications and what the distribution calls them; longer prefixes first.
const RENAMED: [(&str, &str); 30] = [
    ("auth/tests", "auth"),
    ("bson-binary-vector/tests", "bson_binary_vector"),
    ("bson-corpus/tests", "bson_corpus"),
    ("causal-consistency/tests", "causal_consistency"),
    ("change-streams/tests", "change_streams"),
    ("client-backpressure/tests", "client-backpressure"),
    (
        "client-side-encryption/tests",
        "client-side-encryption/spec",
    ),
    ("client-side-operations-timeout/tests", "csot"),
    ("collection-management/tests", "collection_management"),
    (
        "command-logging-and-monitoring/tests/logging",
        "command_logging",
    ),
    (
        "command-logging-and-monitoring/tests/monitoring",
        "command_monitoring",
    ),
    (
        "connection-monitoring-and-pooling/tests/cmap-format",
        "connection_monitoring",
    ),
    (
        "connection-monitoring-and-pooling/tests/logging",
        "connection_logging",
    ),
    ("connection-string/tests", "connection_string/test"),
    ("crud/tests", "crud"),
    ("gridfs/tests", "gridfs"),
    ("index-management/tests", "index_management"),
    ("initial-dns-seedlist-discovery/tests", "srv_seedlist"),
    ("load-balancers/tests", "load_balancer"),
    ("max-staleness/tests", "max_staleness"),
    ("mongodb-handshake/tests", "handshake"),
    ("read-write-concern/tests", "read_write_concern"),
    ("retryable-reads/tests", "retryable_reads"),
    ("retryable-writes/tests", "retryable_writes"),
    ("run-command/tests", "run_command"),
    (
        "server-discovery-and-monitoring/tests/monitoring",
        "sdam_monitoring",
    ),
    (
        "server-discovery-and-monitoring/tests",
        "discovery_and_monitoring",
    ),
    ("server-selection/tests/logging", "server_selection_logging"),
    ("server-selection/tests", "server_selection"),
    ("uri-options/tests", "uri_options"),
];

/// Folders that keep their name but lose `/tests`.
const KEPT: [&str; 6] = [
    "open-telemetry",
    "sessions",
    "transactions",
    "transactions-convenient-api",
    "unified-test-format",
    "versioned-api",
];

/// The path of a file as the distribution would have it. `dir` is the folder that is run: it may
/// be the whole collection or any folder inside of one.
#[must_use]
pub fn relative(dir: &Path, path: &Path) -> String {
    let parts = |path: &Path| -> Vec<String> {
        path.components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect()
    };
    let (above, all) = (parts(dir), parts(path));
    // The collection begins below `test` (distribution) or `source` (specifications), which may be
    // the first folder inside of `dir`.
    let is_root = |part: &String| part == "test" || part == "source";
    let inside = || all.get(above.len()).is_some_and(is_root);
    let root = above.iter().position(is_root);
    let root = root.or_else(|| inside().then_some(above.len()));
    let start = root.map_or(above.len().saturating_sub(1), |index| index + 1);
    let start = if root.is_none() && above.len() < all.len() && !is_known(&above) {
        above.len()
    } else {
        start
    };
    translated(&all[start.min(all.len())..].join("/"))
}

/// Whether the last part of a folder's path is the name of a suite's folder.
fn is_known(parts: &[String]) -> bool {
    let Some(last) = parts.last() else {
        return false;
    };
    KEPT.contains(&last.as_str())
        || RENAMED.iter().any(|(theirs, ours)| {
            ours.split('/').next() == Some(last) || theirs.split('/').next() == Some(last)
        })
}

fn translated(path: &str) -> String {
    for (theirs, ours) in RENAMED {
        if let Some(rest) = path.strip_prefix(theirs)
            && rest.starts_with('/')
        {
            return format!("{ours}{rest}");
        }
    }
    for name in KEPT {
        if let Some(rest) = path.strip_prefix(&format!("{name}/tests/")) {
            return format!("{name}/{rest}");
        }
    }
    path.to_owned()
}

/// What a file is that no suite runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Documents, keys or schemas that tests use: nothing to run.
    Data,
    /// Tests in a format, with the names of the cases.
    Tests(&'static str, Vec<String>),
}

/// Recognises a file by its content, and by its folder where the content does not tell.
#[must_use]
pub fn classify(file: &SpecFile) -> Unknown {
    let json = &file.json;
    let has = |name: &str| json.get(name).is_some();
    let folder = |name: &str| super::in_folder(file, name);
    let one = |format| Unknown::Tests(format, vec![description(json, "the file")]);
    let list = |format| {
        let tests = json["tests"].as_array().into_iter().flatten().zip(1..);
        let names = tests
            .map(|(test, number)| description(test, &format!("case {number}")))
            .collect();
        Unknown::Tests(format, names)
    };
    if folder("unified-test-format") && folder("invalid") {
        return one("unified schema check");
    }
    if has("schemaVersion") && json["tests"].is_array() {
        return list("unified");
    }
    if has("bson_type")
        && ["valid", "decodeErrors", "parseErrors"]
            .iter()
            .any(|k| has(k))
    {
        let mut names = Vec::new();
        for kind in ["valid", "decodeErrors", "parseErrors"] {
            for case in json[kind].as_array().into_iter().flatten() {
                names.push(description(case, kind));
            }
        }
        return Unknown::Tests("BSON corpus", names);
    }
    if json["tests"].is_array() {
        let legacy = folder("client-side-encryption");
        return list(if legacy {
            "legacy client-side encryption"
        } else {
            "list of cases"
        });
    }
    if has("phases") {
        return one("server discovery phases");
    }
    if has("style") && has("operations") {
        return one("pool operations");
    }
    if has("topology_description") {
        return one("server selection");
    }
    if has("avg_rtt_ms") {
        return one("round-trip time");
    }
    if has("uri")
        && ["seeds", "hosts", "error", "numSeeds"]
            .iter()
            .any(|k| has(k))
    {
        return one("seed list");
    }
    Unknown::Data
}

fn description(json: &Value, otherwise: &str) -> String {
    let text = json.get("description").and_then(Value::as_str);
    text.unwrap_or(otherwise).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(relative: &str, json: Value) -> SpecFile {
        SpecFile {
            path: relative.into(),
            relative: relative.to_owned(),
            json,
        }
    }

    #[test]
    fn path_is_that_of_the_distribution_whatever_folder_is_run() {
        let cases = [
            (
                "/a/pymongo/test",
                "/a/pymongo/test/crud/unified/find.json",
                "crud/unified/find.json",
            ),
            (
                "/a/pymongo/test/crud",
                "/a/pymongo/test/crud/find.json",
                "crud/find.json",
            ),
            (
                "/s/source",
                "/s/source/server-discovery-and-monitoring/tests/rs/x.json",
                "discovery_and_monitoring/rs/x.json",
            ),
            (
                "/s/source/server-discovery-and-monitoring/tests/monitoring",
                "/s/source/server-discovery-and-monitoring/tests/monitoring/x.json",
                "sdam_monitoring/x.json",
            ),
            (
                "/s/source",
                "/s/source/sessions/tests/x.json",
                "sessions/x.json",
            ),
            ("/s", "/s/source/sessions/tests/x.json", "sessions/x.json"),
            (
                "/a/pymongo",
                "/a/pymongo/test/crud/unified/find.json",
                "crud/unified/find.json",
            ),
            (
                "/tmp/uri_options",
                "/tmp/uri_options/x.json",
                "uri_options/x.json",
            ),
            (
                "/tmp/mine",
                "/tmp/mine/uri_options/x.json",
                "uri_options/x.json",
            ),
        ];
        for (dir, path, want) in cases {
            assert_eq!(
                relative(Path::new(dir), Path::new(path)),
                want,
                "{path} below {dir}"
            );
        }
    }

    #[test]
    fn data_file_is_no_test() {
        let data = file(
            "client-side-encryption/limits/a.json",
            json!({ "_id": 1, "foo": 2 }),
        );
        assert_eq!(classify(&data), Unknown::Data);
        assert_eq!(classify(&file("x/a.json", json!([1, 2]))), Unknown::Data);
    }

    #[test]
    fn unified_file_counts_its_cases() {
        let json = json!({ "schemaVersion": "1.0", "tests": [{ "description": "a" }, {}] });
        let want = Unknown::Tests("unified", vec!["a".into(), "case 2".into()]);
        assert_eq!(classify(&file("crud/a.json", json.clone())), want);
        let Unknown::Tests(format, cases) =
            classify(&file("unified-test-format/invalid/a.json", json))
        else {
            panic!("not data");
        };
        assert_eq!((format, cases.len()), ("unified schema check", 1));
    }
}
