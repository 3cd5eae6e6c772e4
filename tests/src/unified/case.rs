//! One case on one deployment: prepare, operate, compare, clean up.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongo_client::{
    Client,
    options::{InsertManyOptions, WriteConcern},
};

use super::{
    Checked, Stop,
    deployment::{Deployment, Kind},
    entities::Entities,
    errors, expectations,
    format::{Case, CollectionData, TestFile},
    operations,
};

/// How long a case may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fail point that was set.
#[derive(Debug)]
struct FailPoint {
    name: String,
    /// The commands that it holds up, which clients may have given up.
    held: Vec<String>,
}

impl FailPoint {
    fn of(command: &Document) -> Checked<Self> {
        let name = command
            .get_str("configureFailPoint")
            .map_err(|e| Stop::Failed(format!("failPoint: {e}")))?;
        let data = command.get_document("data").ok();
        let data = data.filter(|data| data.get_bool("blockConnection").unwrap_or(false));
        let held = data.and_then(|data| data.get_array("failCommands").ok());
        let held = held.into_iter().flatten().filter_map(|c| c.as_str());
        Ok(Self {
            name: name.to_owned(),
            held: held.map(str::to_owned).collect(),
        })
    }
}

/// A case that runs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) deployment: Arc<Deployment>,
    pub(super) entities: Entities,
    /// The fail points that were set.
    fail_points: Mutex<Vec<FailPoint>>,
}

impl Run {
    /// Sets a fail point, which is switched off after the case.
    pub(super) async fn set_fail_point(&self, client: &Client, command: Document) -> Checked {
        self.fail_points().push(FailPoint::of(&command)?);
        let set = client.database("admin").run_command(command).await;
        set.map(drop)
            .map_err(|error| Stop::Failed(format!("failPoint: {error}")))
    }

    fn fail_points(&self) -> MutexGuard<'_, Vec<FailPoint>> {
        self.fail_points
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn clear_fail_points(&self) -> Checked {
        let fail_points = std::mem::take(&mut *self.fail_points());
        let admin = self.deployment.internal().database("admin");
        for FailPoint { name, held } in fail_points {
            // It breaks connections while the server goes on with the command, which must fail too.
            if name == "onPrimaryTransactionalWrite" {
                let writes = ["insert", "update", "delete", "findAndModify"];
                self.await_end(&writes.map(str::to_owned)).await?;
            }
            let command = doc! { "configureFailPoint": &name, "mode": "off" };
            let off = admin.run_command(command).await;
            off.map_err(|error| Stop::Failed(format!("switching {name} off: {error}")))?;
            self.await_end(&held).await?;
        }
        Ok(())
    }

    /// Waits until the server has nothing left of commands that were held up: one whose client has
    /// given up goes on, and would use up a part of the next case's fail point.
    async fn await_end(&self, commands: &[String]) -> Checked {
        // Simulated servers forget a command when its connection ends.
        if commands.is_empty() || self.deployment.kind == Kind::Simulated {
            return Ok(());
        }
        let running = commands
            .iter()
            .map(|name| doc! { format!("command.{name}"): { "$exists": true } });
        let stages = [
            doc! { "$currentOp": { "allUsers": true } },
            doc! { "$match": { "active": true, "$or": running.collect::<Vec<_>>() } },
            // This command is one of those that run, and members always read the oplog.
            doc! { "$match": {
                "command.pipeline.0.$currentOp": { "$exists": false },
                "ns": { "$ne": "local.oplog.rs" },
            } },
        ];
        let admin = self.deployment.internal().database("admin");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let found = async {
                let cursor = admin.aggregate(stages.clone()).await?;
                cursor.try_collect::<Vec<Document>>().await
            };
            let found = found
                .await
                .map_err(|error| Stop::Failed(format!("$currentOp: {error}")))?;
            // A monitor's hello waits for changes of the server, not for the fail point.
            let waits = |op: &Document| {
                let command = op.get_document("command");
                command.is_ok_and(|command| command.contains_key("topologyVersion"))
            };
            if found.iter().all(waits) {
                return Ok(());
            }
        }
        Err("a command that a fail point held up did not end".into())
    }
}

/// Runs a case; its requirements are met.
///
/// # Errors
///
/// What was not as expected, or what the client does not offer.
pub async fn run_case(deployment: &Arc<Deployment>, file: &TestFile, case: &Case) -> Checked {
    let run = Arc::new(Run {
        deployment: Arc::clone(deployment),
        entities: Entities::default(),
        fail_points: Mutex::default(),
    });
    let body = tokio::time::timeout(PATIENCE, body(&run, file, case));
    let result = body
        .await
        .unwrap_or_else(|_| Err("the case took longer than a minute".into()));
    for client in run.entities.clients() {
        client.recorder.stop();
    }
    let cleared = run.clear_fail_points().await;
    // A test that hung must not make its end hang too.
    let closed = tokio::time::timeout(PATIENCE, run.entities.close()).await;
    result.map_err(|stop| simulated(deployment, stop))?;
    cleared?;
    closed.map_err(|_| Stop::from("the entities could not be closed within a minute"))
}

/// What a simulated server leaves out ends a case, but is no failure.
fn simulated(deployment: &Deployment, stop: Stop) -> Stop {
    match stop {
        Stop::Failed(why) if deployment.kind == Kind::Simulated => {
            match errors::not_simulated(&why) {
                Some(what) => Stop::Skipped(what),
                None => Stop::Failed(why),
            }
        }
        other => other,
    }
}

async fn body(run: &Arc<Run>, file: &TestFile, case: &Case) -> Checked {
    let internal = run.deployment.internal();
    for data in &file.initial_data {
        prepare(internal, data).await?;
    }
    if file.initial_data.is_empty() {
        for (database, collection) in collections(file) {
            empty(internal, database, collection).await?;
        }
    }
    for (index, entity) in file.create_entities.iter().enumerate() {
        run.entities
            .create(&run.deployment, entity)
            .await
            .map_err(|stop| stop.at(format_args!("createEntities[{index}]")))?;
    }
    for (index, operation) in case.operations.iter().enumerate() {
        operations::execute(run, operation).await.map_err(|stop| {
            let place = format!("operations[{index}] ({})", operation.name);
            stop.at(place).with(&expectations::story(&run.entities))
        })?;
    }
    for expected in &case.expect_events {
        expectations::settle(&run.entities, expected).await?;
    }
    for client in run.entities.clients() {
        client.recorder.stop();
    }
    // A fail point must not hit what looks at the outcome.
    run.clear_fail_points().await?;
    for expected in &case.expect_events {
        expectations::events(&run.entities, expected)?;
    }
    for expected in &case.expect_log_messages {
        expectations::logs(&run.entities, expected)?;
    }
    for expected in &case.outcome {
        expectations::outcome(run.deployment.internal(), expected).await?;
    }
    Ok(())
}

/// The collections that a file works with. One that says nothing of their contents is written for
/// a fresh server, where they do not exist.
fn collections(file: &TestFile) -> impl Iterator<Item = (&str, &str)> {
    let entities = |kind: &'static str| {
        let entities = file.create_entities.iter();
        entities.filter_map(move |entity| entity.get_document(kind).ok())
    };
    entities("collection").filter_map(move |collection| {
        let id = collection.get_str("database").ok()?;
        let of = |database: &&Document| database.get_str("id").is_ok_and(|is| is == id);
        let database = entities("database")
            .find(of)?
            .get_str("databaseName")
            .ok()?;
        let own = !["admin", "config", "local"].contains(&database);
        own.then_some((database, collection.get_str("collectionName").ok()?))
    })
}

/// Every member that holds data: a case may read from any of them, or write through it.
fn everywhere(client: &Client) -> WriteConcern {
    match client.secondaries().len() {
        0 => WriteConcern::majority(),
        others => WriteConcern::nodes(u32::try_from(others + 1).unwrap_or(u32::MAX)),
    }
}

/// Removes a collection.
async fn empty(client: &Client, database: &str, name: &str) -> Checked {
    let collection = client.database(database).collection::<Document>(name);
    let dropped = collection.drop().write_concern(everywhere(client)).await;
    dropped.map_err(|error| Stop::Failed(format!("drop {database}.{name}: {error}")))
}

/// Makes a collection hold these documents and nothing else.
async fn prepare(client: &Client, data: &CollectionData) -> Checked {
    let failed = |what: &str, error: mongo_client::error::Error| {
        let (database, name) = (&data.database_name, &data.collection_name);
        Stop::Failed(format!("initialData: {what} {database}.{name}: {error}"))
    };
    let database = client.database(&data.database_name);
    let collection = database.collection::<Document>(&data.collection_name);
    let everywhere = || everywhere(client);
    empty(client, &data.database_name, &data.collection_name).await?;
    if data.create_options.is_some() || data.documents.is_empty() {
        let mut command = doc! { "create": &data.collection_name };
        command.extend(data.create_options.clone().unwrap_or_default());
        command.insert("writeConcern", everywhere().to_document());
        let created = database.run_command(command).await;
        created.map_err(|error| failed("create", error))?;
    }
    if !data.documents.is_empty() {
        let options = InsertManyOptions::builder()
            .write_concern(everywhere())
            .build();
        let inserted = collection
            .insert_many(&data.documents)
            .with_options(options);
        inserted
            .await
            .map_err(|error| failed("insert into", error))?;
    }
    Ok(())
}
