//! Operations of the runner itself: fail points, threads, waiting, and assertions.

use std::{sync::Arc, time::Duration};

use bson::{Bson, Document};
use futures_util::TryStreamExt;
use mongo_client::{ServerType, topology::TopologyDescription};

use super::missing;
use crate::unified::{
    Checked, Stop,
    arguments::Args,
    case::Run,
    client::ClientEntity,
    entities::Entity,
    events::{Family, Seen},
    expectations::is_event,
    format::Operation,
};

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn execute(run: &Arc<Run>, name: &str, mut args: Args) -> Checked {
    match name {
        "failPoint" => {
            let client = client(run, &mut args)?;
            let command: Document = args.required("failPoint")?;
            // Two tests of the transactions name a session that is not used.
            args.raw("session");
            args.finish()?;
            run.set_fail_point(&client.client, command).await
        }
        "createEntities" => {
            let entities: Vec<Document> = args.required("entities")?;
            args.finish()?;
            for entity in &entities {
                run.entities.create(&run.deployment, entity).await?;
            }
            Ok(())
        }
        "runOnThread" => {
            let thread = run.entities.thread(&args.required::<String>("thread")?)?;
            let operation: Operation = args.required("operation")?;
            args.finish()?;
            thread.run(run, operation)
        }
        "waitForThread" => {
            let thread = run.entities.thread(&args.required::<String>("thread")?)?;
            args.finish()?;
            thread.join().await
        }
        "wait" => {
            let time = args.millis("ms")?.ok_or("wait: argument ms: missing")?;
            args.finish()?;
            tokio::time::sleep(time).await;
            Ok(())
        }
        "waitForEvent" | "assertEventCount" => events(run, name, args).await,
        "recordTopologyDescription" => {
            let client = client(run, &mut args)?;
            let id: String = args.required("id")?;
            args.finish()?;
            let topology = client.client.topology_description().await;
            let topology = topology.map_err(|e| Stop::Failed(format!("{name}: {e}")))?;
            run.entities.insert(&id, Entity::Topology(topology))
        }
        "assertTopologyType" => {
            let topology: String = args.required("topologyDescription")?;
            let topology = run.entities.topology(&topology)?;
            let wanted: String = args.required("topologyType")?;
            args.finish()?;
            let is = topology.topology_type.as_str();
            holds(is == wanted, || format!("{name}: {is}, expected {wanted}"))
        }
        "waitForPrimaryChange" => wait_for_primary_change(run, args).await,
        "assertNumberConnectionsCheckedOut" => {
            let client = client(run, &mut args)?;
            let wanted: i64 = args.required("connections")?;
            args.finish()?;
            let is = client.recorder.checked_out();
            holds(is == wanted, || format!("{name}: {is}, expected {wanted}"))
        }
        "assertSameLsidOnLastTwoCommands" | "assertDifferentLsidOnLastTwoCommands" => {
            let client = client(run, &mut args)?;
            args.finish()?;
            lsids(name, &client.recorder.seen(Family::Command))
        }
        "assertSessionDirty" | "assertSessionNotDirty" => {
            let session = run.entities.session(&args.required::<String>("session")?)?;
            args.finish()?;
            let guard = session.session.lock().await;
            let is = guard.as_ref().ok_or("the session was ended")?.is_dirty();
            let wanted = name == "assertSessionDirty";
            holds(is == wanted, || format!("{name}: it is {is}"))
        }
        _ => assert_contents(run, name, args).await,
    }
}

fn holds(is: bool, why: impl FnOnce() -> String) -> Checked {
    if is { Ok(()) } else { Err(Stop::Failed(why())) }
}

fn client(run: &Run, args: &mut Args) -> Checked<Arc<ClientEntity>> {
    run.entities.client(&args.required::<String>("client")?)
}

async fn events(run: &Run, name: &str, mut args: Args) -> Checked {
    let client = client(run, &mut args)?;
    let event: Document = args.required("event")?;
    let wanted: usize = args.required("count")?;
    args.finish()?;
    let count = || -> usize {
        let families = [Family::Command, Family::Cmap, Family::Sdam];
        let seen = families.into_iter().flat_map(|f| client.recorder.seen(f));
        seen.filter(|seen| is_event(&run.entities, &event, seen).is_ok())
            .count()
    };
    let why = || format!("{name}: {event} came {} times, expected {wanted}", count());
    if name == "assertEventCount" {
        return holds(count() == wanted, why);
    }
    let came = client.recorder.wait(PATIENCE, || count() >= wanted).await;
    holds(came, why)
}

fn lsids(name: &str, seen: &[Seen]) -> Checked {
    let started = seen
        .iter()
        .rev()
        .filter(|e| e.name == "commandStartedEvent");
    let lsids = started.take(2).map(|event| {
        let command = event.facts.get_document("command").ok()?;
        command.get_document("lsid").ok()
    });
    let [Some(last), Some(before)] = lsids.collect::<Vec<_>>()[..] else {
        return Err(Stop::Failed(format!(
            "{name}: there are no two commands with lsid"
        )));
    };
    let same = name == "assertSameLsidOnLastTwoCommands";
    holds((last == before) == same, || {
        format!("{name}: {before} and {last}")
    })
}

fn primary(topology: &TopologyDescription) -> Option<String> {
    let mut servers = topology.servers.values();
    let primary = servers.find(|s| s.server_type == ServerType::RsPrimary);
    primary.map(|server| server.address.to_string())
}

async fn wait_for_primary_change(run: &Run, mut args: Args) -> Checked {
    let client = client(run, &mut args)?;
    let prior: String = args.required("priorTopologyDescription")?;
    let prior = primary(&*run.entities.topology(&prior)?);
    let limit = args.millis("timeoutMS")?.unwrap_or(PATIENCE);
    args.finish()?;
    let changed = || {
        let now = client.client.primary().map(|address| address.to_string());
        now.is_some() && now != prior
    };
    let changed = client.recorder.wait(limit, changed).await;
    holds(changed, || {
        "waitForPrimaryChange: it has not changed in time".to_owned()
    })
}

/// Assertions about collections and indexes.
async fn assert_contents(run: &Run, name: &str, mut args: Args) -> Checked {
    let wanted = match name {
        "assertCollectionExists" | "assertIndexExists" => true,
        "assertCollectionNotExists" | "assertIndexNotExists" => false,
        _ => return Err(missing(name, "test runner")),
    };
    let database: String = args.required("databaseName")?;
    let collection: String = args.required("collectionName")?;
    let index: Option<String> = args.opt("indexName")?;
    args.finish()?;
    let database = run.deployment.internal().database(&database);
    let failed = |error| Stop::Failed(format!("{name}: {error}"));
    let exists = match &index {
        None => {
            let names = database.list_collection_names().await.map_err(failed)?;
            names.contains(&collection)
        }
        Some(index) => {
            let command = bson::doc! { "listIndexes": &collection };
            let listed = async {
                let cursor = database.run_cursor_command(command).await?;
                cursor.try_collect::<Vec<Document>>().await
            };
            match listed.await {
                Ok(indexes) => indexes
                    .iter()
                    .any(|i| i.get("name") == Some(&Bson::String(index.clone()))),
                // The collection is not there.
                Err(error) if error.code() == Some(26) => false,
                Err(error) => return Err(failed(error)),
            }
        }
    };
    holds(exists == wanted, || {
        format!(
            "{name}: {collection} {}: {exists}",
            index.unwrap_or_default()
        )
    })
}
