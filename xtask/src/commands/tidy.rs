//! `cargo xtask tidy`: rules that the compiler does not check.

mod features;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;
use xtask::{Context, Result, fixtures, process};

use super::spec::cargo;

const FILE_LINES_MAX: usize = 800;
const DEFAULT_CRATES_MAX: usize = 85;

/// Names, or prefixes that end in `-`, of crates that do I/O or are async.
const ASYNC_OR_IO: [&str; 12] = [
    "async-",
    "futures",
    "futures-",
    "hyper",
    "mio",
    "polling",
    "reqwest",
    "smol",
    "socket2",
    "tokio",
    "tokio-",
    "rustls-native-certs",
];

/// A package, and what it must not depend on directly.
const FORBIDDEN: [(&str, &[&str]); 7] = [
    ("mongo-client-core", &ASYNC_OR_IO),
    (
        "mongo-client-driver",
        &[
            "tokio",
            "tokio-",
            "async-std",
            "async-io",
            "smol",
            "socket2",
            "mio",
        ],
    ),
    ("mongo-client-runtime-tokio", &["mongo-client"]),
    ("mongo-client-runtime-async-io", &["mongo-client"]),
    ("mongo-client-runtime-async-std", &["mongo-client"]),
    ("mongo-client-runtime-smol", &["mongo-client"]),
    ("mongo-client-sim", &["mongo-client-runtime-"]),
];

/// The only files of packages that applications link which may except themselves from the lint
/// against unsafe code.
const MAY_BE_UNSAFE: [&str; 1] = ["core/src/codec/cast.rs"];

/// Where those packages are.
const LINKED: [&str; 4] = ["core/src/", "driver/src/", "runtime-", "src/"];

/// What core and driver must not call: the clock, entropy and output of the process.
const BANNED: [&str; 12] = [
    "DateTime::now(",
    "Instant::now(",
    "ObjectId::new()",
    "SystemTime::now(",
    "Uuid::new()",
    "dbg!(",
    "print!(",
    "println!(",
    "thread::sleep(",
    "thread_rng(",
    "todo!(",
    "unimplemented!(",
];

/// What core must not touch besides. The public error types are excepted from the rule on hash
/// tables: they have the shape of the official driver, and nothing decides by their order.
const BANNED_IN_CORE: [&str; 6] = [
    "HashMap",
    "HashSet",
    "std::env::",
    "std::fs::",
    "std::process::",
    "std::thread",
];

pub(crate) fn run() -> Result<ExitCode> {
    let mut complaints = Vec::new();
    check_dependencies(&mut complaints)?;
    check_core_tree(&mut complaints)?;
    check_crate_count(&mut complaints)?;
    features::check(&mut complaints)?;
    check_files(&mut complaints)?;
    for complaint in &complaints {
        println!("tidy: {complaint}");
    }
    if complaints.is_empty() {
        println!("tidy: nothing to complain about");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn check_dependencies(complaints: &mut Vec<String>) -> Result {
    let mut command = in_workspace();
    let text = process::run(command.args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text).context(|| "cargo metadata".to_owned())?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        for (owner, forbidden) in FORBIDDEN {
            if owner != name {
                continue;
            }
            for dependency in package["dependencies"].as_array().into_iter().flatten() {
                let other = dependency["name"].as_str().unwrap_or_default();
                // The tests of a package may use what the package may not.
                if dependency["kind"] != "dev" && matches(other, forbidden) {
                    complaints.push(format!("{name} must not depend on {other}"));
                }
            }
        }
    }
    Ok(())
}

fn check_core_tree(complaints: &mut Vec<String>) -> Result {
    let features = "tls,cert-key-password,snappy,zlib,zstd";
    for (name, _) in tree("mongo-client-core", &["--features", features])? {
        if matches(&name, &ASYNC_OR_IO) {
            complaints.push(format!("mongo-client-core must not pull in {name}"));
        }
    }
    Ok(())
}

fn check_crate_count(complaints: &mut Vec<String>) -> Result {
    let count = tree("mongo-client", &[])?.len();
    println!("tidy: the default build has {count} crates (at most {DEFAULT_CRATES_MAX})");
    if count > DEFAULT_CRATES_MAX {
        complaints.push(format!("the default build has {count} crates"));
    }
    Ok(())
}

/// The crates of a package's build, itself included, as name and version.
fn tree(package: &str, more: &[&str]) -> Result<BTreeSet<(String, String)>> {
    let mut command = in_workspace();
    command.args([
        "tree",
        "--package",
        package,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ]);
    let text = process::run(command.args(more))?;
    let words = text.lines().map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        )
    });
    Ok(words.filter(|(name, _)| !name.is_empty()).collect())
}

fn matches(name: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| {
        name == *entry
            || (entry.ends_with('-') && name.starts_with(entry) && !allowed_exception(name))
    })
}

/// Pure trait definitions and macros.
fn allowed_exception(name: &str) -> bool {
    matches!(name, "async-trait")
}

fn check_files(complaints: &mut Vec<String>) -> Result {
    let root = fixtures::workspace();
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    for path in files {
        let text = fs::read_to_string(&path).context(|| format!("{}", path.display()))?;
        let relative = path
            .strip_prefix(&root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        check_file(&relative, &text, complaints);
    }
    Ok(())
}

fn check_file(relative: &str, text: &str, complaints: &mut Vec<String>) {
    // This file names what it looks for.
    if relative == "xtask/src/commands/tidy.rs" {
        return;
    }
    let lines = text.lines().count();
    if relative.ends_with(".rs") && lines > FILE_LINES_MAX {
        complaints.push(format!(
            "{relative}: {lines} lines, more than {FILE_LINES_MAX}"
        ));
    }
    for (number, line) in (1..).zip(text.lines()) {
        for mark in ["TODO", "FIXME"] {
            // `TODO(name-of-the-issue)` says who looks after it.
            let bare = |(at, _): (usize, &str)| !line[at + mark.len()..].starts_with('(');
            if line.match_indices(mark).any(bare) {
                complaints.push(format!(
                    "{relative}:{number}: {mark} without the name of an issue"
                ));
            }
        }
    }
    let linked = LINKED.iter().any(|place| relative.starts_with(place));
    if linked && !MAY_BE_UNSAFE.contains(&relative) && text.contains("unsafe_code") {
        complaints.push(format!("{relative}: no unsafe code here"));
    }
    let core = relative.starts_with("core/src/");
    if !(core || relative.starts_with("driver/src/")) || is_test_file(relative) {
        return;
    }
    let mut test_next = false;
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        // Tests stand at the end of a file.
        if test_next && code.starts_with("mod ") && code.ends_with('{') {
            break;
        }
        test_next = code.starts_with("#[cfg(") && code.contains("test");
        if code.starts_with("//") {
            continue;
        }
        let more: &[&str] = if core { &BANNED_IN_CORE } else { &[] };
        let banned = BANNED.iter().chain(more);
        for call in banned.filter(|call| code.contains(**call)) {
            if call.starts_with("Hash") && relative.starts_with("core/src/error") {
                continue;
            }
            complaints.push(format!("{relative}:{number}: `{call}` is banned here"));
        }
    }
}

fn is_test_file(relative: &str) -> bool {
    relative.ends_with("/tests.rs") || relative.contains("/tests/")
}

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "target" || (name.starts_with('.') && name != ".ci" && name != ".config") {
            continue;
        }
        if path.is_dir() {
            collect(&path, out);
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "toml" || end == "md")
        {
            out.push(path);
        }
    }
}

fn in_workspace() -> Command {
    let mut command = cargo();
    command.current_dir(fixtures::workspace());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(relative: &str, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        check_file(relative, text, &mut out);
        out
    }

    #[test]
    fn clock_is_banned_in_core_but_not_in_its_tests() {
        assert_eq!(
            complaints("core/src/a.rs", "let t = Instant::now();").len(),
            1
        );
        assert_eq!(
            complaints("core/src/a/tests.rs", "let t = Instant::now();").len(),
            0
        );
        let inline = "#[cfg(test)]\nmod tests {\n    Instant::now();\n}";
        assert_eq!(complaints("core/src/a.rs", inline).len(), 0);
        assert_eq!(
            complaints("tests/src/a.rs", "let t = Instant::now();").len(),
            0
        );
    }

    #[test]
    fn unsafe_code_has_one_place() {
        let text = "#![expect(unsafe_code)]";
        assert_eq!(complaints("core/src/codec/cast.rs", text).len(), 0);
        for place in [
            "core/src/codec/de.rs",
            "src/lib.rs",
            "runtime-smol/src/io.rs",
        ] {
            assert_eq!(complaints(place, text).len(), 1, "{place}");
        }
        assert_eq!(complaints("tests/tests/hot_path.rs", text).len(), 0);
    }

    #[test]
    fn long_file_is_named() {
        let text = "x\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(complaints("sim/src/a.rs", &text).len(), 1);
        assert_eq!(complaints("sim/src/a.rs", &text[2..]).len(), 0);
    }

    #[test]
    fn mark_needs_the_name_of_an_issue() {
        let mark = concat!("TO", "DO");
        assert_eq!(
            complaints("sim/src/a.rs", &format!("// {mark}: x")).len(),
            1
        );
        assert_eq!(
            complaints("sim/src/a.rs", &format!("// {mark}(pool): x")).len(),
            0
        );
    }

    #[test]
    fn prefix_rules_need_the_dash() {
        assert!(matches("tokio-util", &ASYNC_OR_IO));
        assert!(matches("mio", &ASYNC_OR_IO));
        assert!(!matches("miow", &ASYNC_OR_IO));
    }
}
