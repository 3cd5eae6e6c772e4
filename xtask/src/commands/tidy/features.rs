//! What the features of the client bring along, and that every choice of runtimes compiles.

use std::path::Path;

use xtask::{Context, Result, process};

use super::{in_workspace, tree};

const WASM: &str = "wasm32-unknown-unknown";

/// The features that add a runtime, and the crates that come with one of them only: names, or
/// prefixes that end in `-`.
const RUNTIMES: [(&str, &[&str]); 3] = [
    (
        "tokio",
        &["mio", "mongo-client-runtime-tokio", "tokio", "tokio-"],
    ),
    (
        "async-std",
        &[
            "async-global-executor",
            "async-std",
            "mongo-client-runtime-async-std",
        ],
    ),
    ("smol", &["async-net", "mongo-client-runtime-smol", "smol"]),
];

/// What smol and async-std share.
const REACTOR: [&str; 6] = [
    "async-executor",
    "async-io",
    "async-task",
    "blocking",
    "mongo-client-runtime-async-io",
    "polling",
];

pub(super) fn check(complaints: &mut Vec<String>) -> Result {
    for choice in 0..1_usize << RUNTIMES.len() {
        let on = |at: usize| choice & (1 << at) != 0;
        let chosen: Vec<&str> = (0..RUNTIMES.len())
            .filter(|at| on(*at))
            .map(|at| RUNTIMES[at].0)
            .collect();
        let features = format!("tls,{}", chosen.join(","));
        let features = features.trim_end_matches(',');
        let crates = names(&["--no-default-features", "--features", features])?;
        complaints.extend(unfit(&chosen, &crates));
        compile(features, complaints);
    }
    // The blocking API brings smol's crates, and no runtime's besides.
    for (features, chosen) in [
        ("sync", &["smol"][..]),
        ("tls,sync", &["smol"]),
        ("tls,tokio,sync", &["tokio", "smol"]),
    ] {
        let crates = names(&["--no-default-features", "--features", features])?;
        complaints.extend(unfit(chosen, &crates));
        compile(features, complaints);
    }
    let crates = names(&[])?;
    complaints.extend(unfit(&["tokio"], &crates));
    core_without_a_system(complaints)
}

/// The crates of the client's build with these arguments.
fn names(arguments: &[&str]) -> Result<Vec<String>> {
    let crates = tree("mongo-client", arguments)?;
    Ok(crates.into_iter().map(|(name, _)| name).collect())
}

/// What is wrong with the crates of a build that has these runtimes.
fn unfit(chosen: &[&str], crates: &[String]) -> Vec<String> {
    let label = format!("with the runtimes [{}]", chosen.join(", "));
    let mut out = Vec::new();
    for (feature, own) in RUNTIMES {
        let adapter = format!("mongo-client-runtime-{feature}");
        if chosen.contains(&feature) {
            if !crates.contains(&adapter) {
                out.push(format!("{label}, mongo-client lacks {adapter}"));
            }
            continue;
        }
        let stray = crates.iter().filter(|name| super::matches(name, own));
        out.extend(stray.map(|name| format!("{label}, mongo-client must not pull in {name}")));
    }
    if !chosen.contains(&"smol") && !chosen.contains(&"async-std") {
        let stray = crates.iter().filter(|name| super::matches(name, &REACTOR));
        out.extend(stray.map(|name| format!("{label}, mongo-client must not pull in {name}")));
    }
    out
}

fn compile(features: &str, complaints: &mut Vec<String>) {
    let mut command = in_workspace();
    command.args(["check", "--quiet", "--package", "mongo-client"]);
    command.args(["--no-default-features", "--features", features]);
    if let Err(error) = process::run(&mut command) {
        complaints.push(format!(
            "mongo-client with {features} does not compile: {error}"
        ));
    }
}

/// The core needs no operating system, which this target does not have.
fn core_without_a_system(complaints: &mut Vec<String>) -> Result {
    let mut rustc = std::process::Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM]);
    let libraries = process::run(&mut rustc).context(|| "rustc".to_owned())?;
    if !Path::new(libraries.trim()).is_dir() {
        println!("tidy: skipped: target {WASM} is not installed");
        return Ok(());
    }
    let mut command = in_workspace();
    command.args(["check", "--quiet", "--package", "mongo-client-core"]);
    command.args(["--target", WASM]);
    if let Err(error) = process::run(&mut command) {
        complaints.push(format!("the core does not compile for {WASM}: {error}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(chosen: &[&str], crates: &[&str]) -> usize {
        let crates: Vec<String> = crates.iter().map(|name| (*name).to_owned()).collect();
        unfit(chosen, &crates).len()
    }

    #[test]
    fn runtimes_come_with_their_feature_only() {
        let tokio = ["mongo-client-runtime-tokio", "tokio", "mio", "bson"];
        assert_eq!(complaints(&["tokio"], &tokio), 0);
        assert_eq!(complaints(&[], &tokio), 3);
        assert_eq!(complaints(&["tokio"], &["bson"]), 1);
    }

    #[test]
    fn reactor_belongs_to_smol_and_async_std() {
        let smol = ["mongo-client-runtime-smol", "smol", "async-io", "polling"];
        assert_eq!(complaints(&["smol"], &smol), 0);
        assert_eq!(complaints(&[], &["async-io"]), 1);
        let both = ["mongo-client-runtime-async-std", "async-std", "async-io"];
        assert_eq!(complaints(&["async-std"], &both), 0);
        assert_eq!(complaints(&["smol", "async-std"], &both), 1);
    }
}
