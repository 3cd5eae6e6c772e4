//! Runs the MongoDB driver specification's JSON files.
//!
//! A [`Suite`] recognises its files by folder and content and runs each case of a file through a
//! [`Report`]. `spec-runner` (used by `cargo xtask spec`) prints a row per suite.

pub mod auth_uri;
pub mod bson_corpus;
pub mod bson_vector;
pub mod cmap;
pub mod connection_string;
pub mod document;
pub mod layout;
pub mod max_staleness;
mod overrides;
mod report;
pub mod rtt;
pub mod rw_concern;
pub mod sdam;
pub mod selection;
pub mod srv;
pub mod uri_options;
pub mod value;

use std::path::{Path, PathBuf};

pub use report::{Outcome, Report};

/// One JSON file of the specifications.
#[derive(Debug)]
pub struct SpecFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path as in the fetched distribution (`crud/unified/find.json`), with `/` separators.
    pub relative: String,
    /// Its contents.
    pub json: serde_json::Value,
}

/// A group of specification files with one format.
#[derive(Clone, Copy)]
pub struct Suite {
    /// The name in the table and for `--suite`.
    pub name: &'static str,
    /// Whether a file belongs to the suite, by relative path and content.
    pub matches: fn(&SpecFile) -> bool,
    /// Runs the cases of a file.
    pub run: fn(&SpecFile, &mut Report),
}

/// All suites, in the order of the table. The first that matches a file runs it.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![
        connection_string::SUITE,
        uri_options::SUITE,
        auth_uri::SUITE,
        rw_concern::CONNECTION_STRING,
        rw_concern::DOCUMENT,
        srv::SUITE,
        sdam::DISCOVERY,
        sdam::MONITORING,
        bson_corpus::SUITE,
        bson_vector::SUITE,
        cmap::UNIT,
        cmap::INTEGRATION,
        max_staleness::SUITE,
        rtt::SUITE,
        selection::LOGIC,
        selection::IN_WINDOW,
        crate::unified::schema::SUITE,
    ]
}

/// Whether the file is in a folder of that name (any component of the relative path).
#[must_use]
pub fn in_folder(file: &SpecFile, folder: &str) -> bool {
    let mut parts: Vec<&str> = file.relative.split('/').collect();
    parts.pop();
    parts.contains(&folder)
}

/// The folder with the fetched specification files: `MONGO_CLIENT_SPEC_DIR`, otherwise
/// `target/fixtures/pymongo-4.20.0/test` of the workspace.
#[must_use]
pub fn default_dir() -> PathBuf {
    std::env::var_os("MONGO_CLIENT_SPEC_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fixtures/pymongo-4.20.0/test"),
        PathBuf::from,
    )
}

/// Loads every `.json` file below a folder, in path order; fetched files with the corrections of
/// `tests/spec-overrides`.
///
/// # Panics
///
/// When a file cannot be read or is not JSON, or a correction does not fit: the fixtures are
/// broken then.
#[must_use]
pub fn load(dir: &Path) -> Vec<SpecFile> {
    let mut paths = Vec::new();
    collect(dir, &mut paths);
    paths.sort();
    let fetched = matches!(
        (dir.canonicalize(), default_dir().canonicalize()),
        (Ok(dir), Ok(default)) if dir.starts_with(&default)
    );
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a readable specification file");
            let mut json = serde_json::from_str(&text)
                .unwrap_or_else(|e| panic!("{}: not JSON: {e}", path.display()));
            let relative = layout::relative(dir, &path);
            if fetched && let Err(why) = overrides::apply(&relative, &mut json) {
                panic!("{why}");
            }
            SpecFile {
                path,
                relative,
                json,
            }
        })
        .collect()
}

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|e| e == "json") {
            out.push(path);
        }
    }
}

/// Runs one suite over the default folder and panics with the failures: for `cargo test`.
///
/// # Panics
///
/// When a case fails, or when no case ran.
pub fn assert_suite(suite: &Suite) {
    let mut report = Report::default();
    for file in load(&default_dir()).iter().filter(|f| (suite.matches)(f)) {
        report.enter(&file.relative);
        (suite.run)(file, &mut report);
    }
    assert!(
        report.passed() > 0,
        "{}: no case ran; run `cargo xtask setup`",
        suite.name
    );
    assert!(
        report.failures().is_empty(),
        "{}:\n{}",
        suite.name,
        report.failures().join("\n")
    );
}
