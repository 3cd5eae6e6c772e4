//! Which case runs where, and what came of it.
//!
//! Each case runs on the first deployment that meets its requirements. Deployments run side by
//! side, the cases of one after each other: fail points belong to a server, not to a test. A case
//! that holds up commands for some milliseconds runs alone: the others would delay its timers. Where
//! it fails and the machine stood still meanwhile, that proves nothing, and it runs again.

use std::{collections::BTreeMap, sync::Arc};

use bson::Document;
use tokio::sync::RwLock;

use super::{
    Checked, Deployment, Kind, Stop, Version,
    case::run_case,
    format::{Case, TestFile},
    must_fail,
    operations::waits_for,
    postponed,
    requirements::{Unmet, check_any},
};
use crate::{
    spec::{Outcome, Report, SpecFile, in_folder},
    witness::Witness,
};

/// The rows whose cases run on simulated servers too.
pub const SIMULATED: [&str; 4] = [
    "crud (unified)",
    "retryable_reads (unified)",
    "retryable_writes (unified)",
    "sessions (unified)",
];

/// How many simulated sets are used at a time: most cases wait for half a second.
const SIMULATED_SETS: usize = 6;

/// How often a case that measures time is run at most, where the machine stood still.
const ATTEMPTS: usize = 5;

/// Which cases are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A part of the path of the file.
    pub file: Option<String>,
    /// A part of the case's description.
    pub case: Option<String>,
    /// Each case on every deployment that meets its requirements.
    pub full: bool,
    /// Only these deployments; all when there are none.
    pub only: Vec<Kind>,
    /// Tell each case as it ends.
    pub verbose: bool,
}

/// Whether a file is one of this format that can be run. Those that must be rejected are not.
#[must_use]
pub fn is_unified(file: &SpecFile) -> bool {
    file.json.get("schemaVersion").is_some()
        && file.json["tests"].is_array()
        && !(in_folder(file, "unified-test-format") && in_folder(file, "invalid"))
}

/// The row of the table that a file's cases belong to.
#[must_use]
pub fn row(file: &SpecFile) -> String {
    let folder = file.relative.split('/').next().unwrap_or_default();
    format!("{folder} (unified)")
}

/// A case and where it stands.
struct Planned {
    suite: String,
    relative: String,
    file: Arc<TestFile>,
    index: usize,
    must_fail: bool,
    /// Whether it measures time.
    timed: bool,
}

impl Planned {
    fn case(&self) -> &Case {
        &self.file.tests[self.index]
    }

    fn name(&self) -> String {
        format!("{}: {}", self.relative, self.case().description)
    }
}

type Results = Vec<(usize, String, Outcome)>;

/// Runs the cases of files and gives a row per folder. Blocks.
///
/// # Errors
///
/// When a deployment cannot be started.
pub fn run(files: &[&SpecFile], filter: &Filter) -> Result<Vec<(String, Report)>, String> {
    let mut outcomes = Vec::new();
    let mut planned = Vec::new();
    for file in files {
        plan(file, filter, &mut planned, &mut outcomes);
    }
    let results = crate::rt::tokio_runtime().block_on(run_all(&planned, filter))?;
    for (index, suffix, outcome) in results {
        let case = &planned[index];
        outcomes.push((case.suite.clone(), case.name() + &suffix, outcome));
    }
    let mut rows: BTreeMap<String, Report> = BTreeMap::new();
    for (suite, name, outcome) in outcomes {
        rows.entry(suite).or_default().record(name, outcome);
    }
    Ok(rows.into_iter().collect())
}

fn plan(
    file: &SpecFile,
    filter: &Filter,
    planned: &mut Vec<Planned>,
    outcomes: &mut Vec<(String, String, Outcome)>,
) {
    let wanted = |part: &Option<String>, text: &str| {
        part.as_ref()
            .is_none_or(|part| text.contains(part.as_str()))
    };
    if !wanted(&filter.file, &file.relative) {
        return;
    }
    let suite = row(file);
    let must_fail = in_folder(file, "valid-fail");
    let loaded = match TestFile::load(&file.json) {
        Ok(loaded) => Arc::new(loaded),
        Err(why) => {
            let outcome = verdict(Err(Stop::Failed(why)), &file.relative, must_fail);
            let cases = file.json["tests"].as_array().into_iter().flatten();
            for case in cases {
                let description = case["description"].as_str().unwrap_or_default();
                if wanted(&filter.case, description) {
                    let name = format!("{}: {description}", file.relative);
                    outcomes.push((suite.clone(), name, outcome.clone()));
                }
            }
            return;
        }
    };
    for (index, case) in loaded.tests.iter().enumerate() {
        if wanted(&filter.case, &case.description) {
            planned.push(Planned {
                suite: suite.clone(),
                relative: file.relative.clone(),
                file: Arc::clone(&loaded),
                index,
                must_fail,
                timed: file.json["tests"][index]
                    .to_string()
                    .contains("blockTimeMS"),
            });
        }
    }
}

fn verdict(result: Result<(), Stop>, relative: &str, must_fail: bool) -> Outcome {
    match result {
        result if must_fail => must_fail::verdict(relative, result),
        Ok(()) => Outcome::Passed,
        Err(Stop::Failed(why)) => Outcome::Failed(why),
        Err(Stop::Skipped(why)) => Outcome::Skipped(why),
    }
}

/// Why a case cannot run at all, for a reason that it names itself.
fn unrunnable(case: &Planned) -> Option<String> {
    let (file, test) = (&case.file, case.case());
    if let Some(reason) = &test.skip_reason {
        return Some(format!("skipReason: {reason}"));
    }
    if let Some(reason) = postponed::reason(&case.relative, &test.description) {
        return Some(reason.into());
    }
    if case.relative.starts_with("data_lake/") {
        return Some("Atlas Data Lake".into());
    }
    if test.expect_tracing_messages.is_some() {
        return Some("open telemetry is postponed".into());
    }
    let client_has = |name: &str| {
        file.create_entities
            .iter()
            .filter_map(|entity| entity.get_document("client").ok())
            .any(|client| client.contains_key(name))
    };
    if client_has("autoEncryptOpts") {
        return Some("encryption".into());
    }
    let has_timeout = |document: &Document| {
        let options = document
            .get_document("client")
            .and_then(|c| c.get_document("uriOptions"));
        options.is_ok_and(|options| options.contains_key("timeoutMS"))
    };
    let created = test.operations.iter().flat_map(|operation| {
        let entities = operation.arguments.get_array("entities");
        entities
            .into_iter()
            .flatten()
            .filter_map(|e| e.as_document())
    });
    if file.create_entities.iter().any(has_timeout) || created.into_iter().any(has_timeout) {
        return Some("timeoutMS is postponed".into());
    }
    None
}

async fn run_all(planned: &[Planned], filter: &Filter) -> Result<Results, String> {
    let mut results = Results::new();
    let mut wanting = Vec::new();
    for (index, case) in planned.iter().enumerate() {
        match unrunnable(case) {
            Some(reason) => results.push((index, String::new(), Outcome::Skipped(reason))),
            None => wanting.push(index),
        }
    }
    if wanting.is_empty() {
        return Ok(results);
    }
    if crate::deploy::skips_live() && filter.only != [Kind::Simulated] {
        let skipped = Outcome::Skipped("MONGO_CLIENT_SKIP_LIVE=1".into());
        results.extend(
            wanting
                .into_iter()
                .map(|i| (i, String::new(), skipped.clone())),
        );
        return Ok(results);
    }
    // All deployments have the same servers: one is asked before the others are started.
    let asked = match filter.only[..] {
        [Kind::Simulated] => Kind::Simulated,
        _ => Kind::Standalone,
    };
    let first = start(asked).await?;
    let (version, parameters) = first.ask().await.map_err(|stop| format!("{stop:?}"))?;
    let mut lists: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
    for index in wanting {
        match place(&planned[index], version, &parameters, filter) {
            Ok(Ok(kinds)) => {
                // What the runner would only find out in the middle of the case.
                let mut operations = planned[index].case().operations.iter();
                if let Some(reason) = operations.find_map(waits_for) {
                    results.push((index, String::new(), Outcome::Skipped(reason)));
                    continue;
                }
                for kind in kinds {
                    lists.entry(kind).or_default().push(index);
                }
            }
            Ok(Err(unmet)) => {
                let skipped = Outcome::Skipped(unmet.to_string());
                results.push((index, String::new(), skipped));
            }
            Err(why) => results.push((index, String::new(), Outcome::Failed(why))),
        }
    }
    let mut first = Some(first);
    let alone = RwLock::new(());
    let runs = lists.into_iter().flat_map(shares).map(|(kind, list)| {
        let ready = if kind == asked { first.take() } else { None };
        run_on(kind, ready, planned, list, filter, &alone)
    });
    for part in futures_util::future::join_all(runs).await {
        results.extend(part?);
    }
    results.sort_by_key(|(index, ..)| *index);
    Ok(results)
}

/// The lists of cases that run side by side: simulated sets cost next to nothing.
fn shares((kind, list): (Kind, Vec<usize>)) -> Vec<(Kind, Vec<usize>)> {
    if kind != Kind::Simulated {
        return vec![(kind, list)];
    }
    let mut shares = vec![(kind, Vec::new()); SIMULATED_SETS.min(list.len())];
    for (index, share) in list.into_iter().zip((0..shares.len()).cycle()) {
        shares[share].1.push(index);
    }
    shares
}

/// The deployments on which a case can run: the first one, or all.
fn place(
    case: &Planned,
    version: Version,
    parameters: &Document,
    filter: &Filter,
) -> Result<Result<Vec<Kind>, Unmet>, String> {
    let mut kinds = Vec::new();
    let mut nearest: Option<Unmet> = None;
    let wanted = match filter.only[..] {
        [] => &Kind::ALL,
        _ => &filter.only[..],
    };
    for kind in wanted.iter().copied() {
        let facts = kind.facts(version, parameters.clone());
        let file = check_any(case.file.run_on_requirements.as_deref(), &facts)?;
        let own = check_any(case.case().run_on_requirements.as_deref(), &facts)?;
        match file.err().max(own.err()) {
            None => kinds.push(kind),
            Some(unmet) => {
                nearest = Some(nearest.map_or(unmet.clone(), |nearest| nearest.min(unmet)));
            }
        }
    }
    // Routers of a sort stand in only where nothing real will do.
    if kinds.len() > 1 {
        kinds.retain(|kind| !matches!(kind, Kind::Routers | Kind::LoadBalancer));
    }
    if !filter.full {
        kinds.truncate(1);
    }
    Ok(match nearest {
        Some(unmet) if kinds.is_empty() => Err(unmet),
        _ => Ok(kinds),
    })
}

async fn start(kind: Kind) -> Result<Arc<Deployment>, String> {
    let started = tokio::task::spawn_blocking(move || {
        let _runtime = tokio::runtime::Handle::current();
        Deployment::start(kind)
    });
    let ready = match started.await {
        Ok(Ok(deployment)) => {
            let times = deployment.await_times().await;
            times.map(|()| Arc::new(deployment))
        }
        Ok(Err(stop)) => Err(stop),
        Err(error) => return Err(error.to_string()),
    };
    ready.map_err(|stop| match stop {
        Stop::Failed(why) | Stop::Skipped(why) => why,
    })
}

/// Runs a case; one that measures time, and that failed while the machine stood still, again.
async fn run_until_judged(deployment: &Arc<Deployment>, case: &Planned) -> Checked {
    for _ in 1..ATTEMPTS {
        let witness = case.timed.then(Witness::new);
        let result = run_once(deployment, case).await;
        let doubtful = witness.is_some_and(|witness| witness.saw_stall());
        match &result {
            Err(Stop::Failed(why)) if doubtful && !case.must_fail => {
                println!("AGAIN {}: the machine stood still, and: {why}", case.name());
            }
            _ => return result,
        }
    }
    run_once(deployment, case).await
}

/// Runs a case in a task of its own: a panic is a failure of that case alone.
async fn run_once(deployment: &Arc<Deployment>, case: &Planned) -> Checked {
    let (deployment, file, at) = (Arc::clone(deployment), Arc::clone(&case.file), case.index);
    let run = tokio::spawn(async move { run_case(&deployment, &file, &file.tests[at]).await });
    run.await
        .unwrap_or_else(|error| Err(Stop::Failed(format!("panicked: {error}"))))
}

async fn run_on(
    kind: Kind,
    ready: Option<Arc<Deployment>>,
    planned: &[Planned],
    list: Vec<usize>,
    filter: &Filter,
    alone: &RwLock<()>,
) -> Result<Results, String> {
    let deployment = match ready {
        Some(deployment) => deployment,
        None => start(kind).await?,
    };
    let mut results = Results::new();
    for index in list {
        let case = &planned[index];
        let (_alone, _together) = if case.timed {
            (Some(alone.write().await), None)
        } else {
            (None, Some(alone.read().await))
        };
        let begin = std::time::Instant::now();
        let result = run_until_judged(&deployment, case).await;
        if filter.verbose {
            let took = begin.elapsed().as_millis();
            println!("{} {took} ms {}: {result:?}", kind.name(), case.name());
        }
        let suffix = if filter.full {
            format!(" on {}", kind.name())
        } else {
            String::new()
        };
        results.push((
            index,
            suffix,
            verdict(result, &case.relative, case.must_fail),
        ));
    }
    deployment.internal().close().await;
    Ok(results)
}
