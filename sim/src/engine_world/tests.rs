use bson::{RawDocumentBuf, rawdoc};
use mongo_client_core::{net::ServerAddress, op::CommandSpec};

use super::*;
use crate::{FaultKind, Seeded, ServerConfig, SetConfig, SimReplicaSet, SimServer};

fn addresses(n: usize) -> Vec<String> {
    (0..n)
        .map(|n| format!("m{n}.test:{}", 27_017 + n))
        .collect()
}

fn options(n: usize) -> ClientOptions {
    let mut options = ClientOptions::default();
    let hosts = addresses(n);
    options.hosts = hosts
        .iter()
        .map(|a| ServerAddress::parse(a).unwrap())
        .collect();
    if n > 1 {
        options.repl_set_name = Some("rs".to_owned());
    }
    options.connect_timeout = Some(Duration::from_secs(2));
    options.server_selection_timeout = Some(Duration::from_secs(5));
    options.socket_timeout = Some(Duration::from_secs(5));
    options
}

fn alone(seed: u64) -> EngineWorld<SimServer> {
    let config = ServerConfig::new("m0.test:27017");
    let server = SimServer::new(config, Box::new(Seeded::new(seed)));
    EngineWorld::new(
        server,
        NetworkConfig::default(),
        Box::new(Seeded::new(seed)),
    )
}

fn set(seed: u64) -> EngineWorld<SimReplicaSet> {
    let config = SetConfig::new("rs", addresses(3));
    let set = SimReplicaSet::new(
        config,
        Box::new(Seeded::new(seed)),
        crate::executor::BEGINNING,
    );
    EngineWorld::new(set, NetworkConfig::default(), Box::new(Seeded::new(seed)))
}

fn command(body: RawDocumentBuf, name: &'static str) -> Command {
    let spec = CommandSpec::new(name, "db", body);
    Command::new(spec)
}

fn find() -> Command {
    command(rawdoc! { "find": "c", "filter": { "_id": 1 } }, "find")
}

/// Runs an operation to its end.
fn run<D: Deployment>(world: &mut EngineWorld<D>, client: usize, command: Command) -> Result<()> {
    let op = world.submit(client, command);
    loop {
        match world.run_until_happening(Duration::from_secs(100)) {
            Some(Happening::Completed {
                op: done, result, ..
            }) if done == op => {
                return result.map(|_| ());
            }
            Some(_) => {}
            None => panic!("{op} does not end"),
        }
    }
}

#[test]
fn operations_complete_on_a_server_and_the_world_comes_to_rest() {
    let mut world = alone(1);
    let client = world.add_client(options(1)).unwrap();
    for _ in 0..10 {
        run(&mut world, client, find()).unwrap();
    }
    world.shutdown(client);
    world.run_for(Duration::from_secs(5));
    assert!(world.engine(client).is_closed());
    assert_eq!(world.sockets(client), 0);
    assert_eq!(world.next_event(), None);
}

#[test]
fn a_client_survives_the_death_of_its_primary() {
    let mut world = set(2);
    let client = world.add_client(options(3)).unwrap();
    run(&mut world, client, find()).unwrap();
    let primary = world.deployment().primary().unwrap();
    world.with(|set, now| set.kill(primary, now));
    world.run_for(Duration::from_secs(30));
    run(&mut world, client, find()).unwrap();
    assert_ne!(world.deployment().primary(), Some(primary));
}

/// What happens to a client that works while a fault is there: results of the operations then, and
/// how often the fault took effect.
fn under(kind: FaultKind, seed: u64) -> (Vec<Result<()>>, u64) {
    let mut world = set(seed);
    let client = world.add_client(options(3)).unwrap();
    run(&mut world, client, find()).unwrap();
    // A new connection would notice faults of dials and names.
    for round in 0..2 {
        let fault = Fault::new(kind).lasting(Duration::from_secs(8));
        let fault = if kind == FaultKind::PartitionServers {
            fault.on([world.deployment().primary().unwrap()])
        } else {
            fault
        };
        world.inject(&fault);
        if round == 0 && kind.nature() != crate::Nature::Once {
            let primary = world.deployment().primary().unwrap();
            world.inject(&Fault::new(FaultKind::Reset).on([primary]));
        }
        let mut results = Vec::new();
        for _ in 0..5 {
            results.push(run(&mut world, client, find()));
        }
        let felt = world.faults().of(kind);
        if felt > 0 {
            world.heal();
            world.run_for(Duration::from_secs(40));
            run(&mut world, client, find()).unwrap_or_else(|e| panic!("{kind} is over: {e}"));
            world.shutdown(client);
            world.run_for(Duration::from_secs(5));
            assert!(world.engine(client).is_closed(), "{kind}");
            assert_eq!(world.sockets(client), 0, "{kind}");
            return (results, felt);
        }
    }
    (Vec::new(), 0)
}

#[test]
fn every_fault_takes_effect_and_the_client_works_after_it() {
    for kind in FaultKind::ALL {
        let (results, felt) = under(*kind, 7);
        if kind.nature() == crate::Nature::Clock {
            // The engine reads the wall clock for object ids and certificates only.
            continue;
        }
        assert!(felt > 0, "{kind} took no effect");
        let failed = results.iter().filter(|result| result.is_err()).count();
        println!("{kind}: {failed} of {} failed", results.len());
    }
}

#[test]
fn a_fault_of_the_clock_is_seen_by_the_client() {
    let mut world = alone(1);
    let client = world.add_client(options(1)).unwrap();
    let before = world.with_engine(client, |engine, _| engine.next_object_id());
    world.inject(&Fault::new(FaultKind::ClockStepBack));
    let after = world.with_engine(client, |engine, _| engine.next_object_id());
    assert_eq!(world.faults().of(FaultKind::ClockStepBack), 1);
    let step = before.timestamp().timestamp_millis() - after.timestamp().timestamp_millis();
    assert_eq!(step, 3_600_000);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    use std::sync::{Arc, Mutex};
    let trace = |seed| {
        let log = Arc::new(Mutex::new(String::new()));
        let mut world = set(seed);
        let own = Arc::clone(&log);
        world.set_observer(Box::new(move |at, what| {
            use std::fmt::Write;
            writeln!(own.lock().unwrap(), "{at} {what:?}").unwrap();
        }));
        let client = world.add_client(options(3)).unwrap();
        for kind in FaultKind::ALL {
            world.inject(&Fault::new(*kind).lasting(Duration::from_secs(1)));
            let _ = run(&mut world, client, find());
        }
        drop(world);
        Arc::into_inner(log).unwrap().into_inner().unwrap()
    };
    let first = trace(5);
    assert!(first.len() > 10_000);
    assert_eq!(first, trace(5));
    assert_ne!(first, trace(6));
}
