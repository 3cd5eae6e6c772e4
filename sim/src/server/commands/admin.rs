//! Commands about collections, databases and the server itself.

use std::time::Duration;

use std::sync::Arc;

use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};

use super::{cursors::Found, document};
use crate::{
    failure::{
        BAD_VALUE, Failure, NAMESPACE_EXISTS, NAMESPACE_NOT_FOUND, NO_REPLICATION,
        NOT_WRITABLE_PRIMARY, Result,
    },
    server::{
        Demand, SimServer, State,
        dispatch::{Call, Done},
        failpoint::TRANSACTIONAL_WRITE,
        park::Wait,
    },
    set::Wanted,
    store::{
        Namespace, Op,
        query::Filter,
        scope::Scope,
        value::{truthy, whole},
    },
};

pub(in crate::server) fn ping(_server: &mut SimServer, _call: &Call<'_>) -> Result<Done> {
    Ok(Done::reply(Document::new()))
}

pub(in crate::server) fn build_info(_server: &mut SimServer, _call: &Call<'_>) -> Result<Done> {
    Ok(Done::reply(doc! {
        "version": "6.0.5",
        "gitVersion": "simulated",
        "modules": [],
        "versionArray": [6, 0, 5, 0],
        "bits": 64,
        "debug": false,
        "maxBsonObjectSize": 16 * 1024 * 1024,
    }))
}

pub(in crate::server) fn end_sessions(_server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    match call.command.get("endSessions") {
        Some(Bson::Array(_)) => Ok(Done::reply(Document::new())),
        other => {
            let found = other.unwrap_or(&Bson::Null);
            Err(super::wrong_type(
                "endSessions",
                "endSessions",
                found,
                "array",
            ))
        }
    }
}

pub(in crate::server) fn configure_fail_point(
    server: &mut SimServer,
    call: &Call<'_>,
) -> Result<Done> {
    let point = match call.command.get_str("configureFailPoint") {
        Some(TRANSACTIONAL_WRITE) => &mut server.transactional_write,
        _ => &mut server.fail_point,
    };
    let count = point.configure(call.command)?;
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    Ok(Done::reply(doc! { "count": count }))
}

pub(in crate::server) fn create(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    if server.data.store.collection(&ns).is_some() {
        let message = format!("Collection {ns} already exists.");
        return Err(Failure::new(NAMESPACE_EXISTS, message));
    }
    server.create_collection(&ns, Document::new(), call);
    Ok(Done::reply(Document::new()))
}

pub(in crate::server) fn drop(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let ns = call.namespace()?;
    let Some(collection) = server.data.store.collection(&ns) else {
        return Err(Failure::new(NAMESPACE_NOT_FOUND, "ns not found"));
    };
    let indexes = i32::try_from(collection.indexes.len()).unwrap_or(i32::MAX);
    let shown = ns.to_string();
    server.write(Op::Drop(ns), None, call.now);
    Ok(Done::reply(doc! { "nIndexesWas": indexes, "ns": shown }))
}

pub(in crate::server) fn drop_database(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let collections = server.data.store.collections(call.database);
    let names: Vec<String> = collections
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    for name in names {
        let ns = Namespace::new(call.database, name);
        server.write(Op::Drop(ns), None, call.now);
    }
    Ok(Done::reply(Document::new()))
}

pub(in crate::server) fn list_collections(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let filter = Filter::parse(
        document(call.command, "listCollections", "filter")?,
        &Scope::default(),
    )?;
    let name_only = call.command.get("nameOnly").is_some_and(truthy);
    let mut found = Vec::new();
    for (name, collection) in server.data.store.collections(call.database) {
        let uuid = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: collection.uuid.to_vec(),
        };
        let whole = doc! {
            "name": name,
            "type": "collection",
            "options": collection.options.clone(),
            "info": { "readOnly": false, "uuid": uuid },
            "idIndex": { "v": 2, "key": { "_id": 1 }, "name": "_id_" },
        };
        if filter.matches(&whole) {
            let short = doc! { "name": name, "type": "collection" };
            found.push(if name_only { short } else { whole });
        }
    }
    let cursor = document(call.command, "listCollections", "cursor")?;
    let size = super::natural(cursor, "batchSize")?.unwrap_or(usize::MAX);
    let found = Found {
        namespace: format!("{}.$cmd.listCollections", call.database),
        documents: found.into_iter().map(Arc::new).collect(),
        knows_end: true,
    };
    Ok(server.open_cursor(found, size, false, call))
}

pub(in crate::server) fn list_databases(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let filter = Filter::parse(
        document(call.command, "listDatabases", "filter")?,
        &Scope::default(),
    )?;
    let name_only = call.command.get("nameOnly").is_some_and(truthy);
    let mut databases = Vec::new();
    let mut total = 0_i64;
    for name in server.data.store.databases() {
        let collections = server.data.store.collections(name);
        let documents: usize = collections.iter().map(|(_, c)| c.len()).sum();
        // Pages of four kilobytes for each collection and each hundred documents.
        let pages = collections.len() + documents / 100 + 1;
        let size = i64::try_from(pages * 4096).unwrap_or(i64::MAX);
        let whole = doc! { "name": name, "sizeOnDisk": size, "empty": false };
        if filter.matches(&whole) {
            total += size;
            databases.push(if name_only {
                doc! { "name": name }
            } else {
                whole
            });
        }
    }
    let mut reply = doc! { "databases": databases };
    if !name_only {
        reply.insert("totalSize", total);
        reply.insert("totalSizeMb", total / (1024 * 1024));
    }
    Ok(Done::reply(reply))
}

pub(in crate::server) fn get_config(server: &mut SimServer, _call: &Call<'_>) -> Result<Done> {
    let Some(member) = &server.membership else {
        return Err(Failure::new(NO_REPLICATION, "not running with --replSet"));
    };
    match &member.config {
        Some(config) => Ok(Done::reply(doc! { "config": config.show(&member.set) })),
        None => Err(Failure::new(94, "no replset config has been received")),
    }
}

pub(in crate::server) fn reconfigure(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let Some(member) = &server.membership else {
        return Err(Failure::new(NO_REPLICATION, "not running with --replSet"));
    };
    let Some(config) = call.command.get_document("replSetReconfig") else {
        // The real server gives no code here.
        return Err(Failure::new(0, "no configuration specified"));
    };
    let force = call.command.get("force").is_some_and(truthy);
    if !force && !member.is_primary() {
        let state = match member.state {
            State::Arbiter => "ARBITER",
            State::Recovering => "RECOVERING",
            State::Removed => "REMOVED",
            State::Startup => "STARTUP2",
            State::Primary | State::Secondary => "SECONDARY",
        };
        let message = format!(
            "New config is rejected :: caused by :: replSetReconfig should only be run on a writable \
             PRIMARY. Current state {state};"
        );
        return Err(Failure::new(NOT_WRITABLE_PRIMARY, message));
    }
    let config = Wanted::parse(config, &member.set)?;
    server.demands.push_back(Demand::Reconfigure {
        connection: call.connection,
        config,
        force,
    });
    Ok(Done::Wait(Wait::Set, None))
}

pub(in crate::server) fn step_down(server: &mut SimServer, call: &Call<'_>) -> Result<Done> {
    let Some(member) = &server.membership else {
        return Err(Failure::new(NO_REPLICATION, "not running with --replSet"));
    };
    let bad = |message: &str| Err(Failure::new(BAD_VALUE, message));
    let force = call.command.get("force").is_some_and(truthy);
    let period = call
        .command
        .get("replSetStepDown")
        .and_then(whole)
        .unwrap_or(60);
    let Ok(period) = u64::try_from(period) else {
        return bad("stepdown period must be a positive integer");
    };
    let catch_up = match call
        .command
        .get("secondaryCatchUpPeriodSecs")
        .and_then(whole)
    {
        Some(catch_up) => u64::try_from(catch_up).unwrap_or(0),
        None if force => 0,
        None => 10,
    };
    if period < catch_up {
        return bad("stepdown period must be longer than secondaryCatchUpPeriodSecs");
    }
    if !member.is_primary() {
        let message = "not primary so can't step down";
        return Err(Failure::new(NOT_WRITABLE_PRIMARY, message));
    }
    server.demands.push_back(Demand::StepDown {
        connection: call.connection,
        period: Duration::from_secs(period),
        catch_up: Duration::from_secs(catch_up),
        force,
    });
    Ok(Done::Wait(Wait::Set, None))
}
