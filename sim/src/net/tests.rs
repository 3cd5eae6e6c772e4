//! The driver on the network with faults.

use std::{sync::Arc, time::Duration};

use bson::rawdoc;
use mongo_client_core::{
    error::Result,
    net::ServerAddress,
    op::{CommandSpec, Retryability},
    options::ClientOptions,
};
use mongo_client_driver::{Ambient, Handle, RuntimeSource, SessionArg};

use super::network::NetworkConfig;
use crate::{
    Fault, FaultKind, Hosted, Nature, Seeded, SetConfig, Sim, SimReplicaSet, give_up_at,
    swarm::Observation,
};

fn world(seed: u64) -> (Sim, Hosted<SimReplicaSet>) {
    let sim = Sim::new(seed);
    let addresses = (0..3).map(|n| format!("m{n}.test:{}", 27_017 + n));
    let set = SimReplicaSet::new(
        SetConfig::new("rs", addresses),
        Box::new(Seeded::new(seed)),
        sim.now(),
    );
    let hosted = sim.host_on(set, NetworkConfig::default(), Box::new(Seeded::new(seed)));
    (sim, hosted)
}

fn client(sim: &Sim) -> Handle {
    let mut options = ClientOptions::default();
    let hosts = ["m0.test:27017", "m1.test:27018", "m2.test:27019"];
    options.hosts = hosts
        .map(|host| ServerAddress::parse(host).unwrap())
        .to_vec();
    options.repl_set_name = Some("rs".to_owned());
    options.connect_timeout = Some(Duration::from_secs(2));
    options.server_selection_timeout = Some(Duration::from_secs(5));
    options.socket_timeout = Some(Duration::from_secs(5));
    let runtime = sim.runtime();
    let ambient = Ambient::of(&runtime);
    Handle::new(options, RuntimeSource::given(runtime), ambient).unwrap()
}

async fn find(client: &Handle) -> Result<()> {
    let body = rawdoc! { "find": "c", "filter": { "_id": 1 } };
    let mut spec = CommandSpec::new("find", "db", body);
    spec.retryability = Retryability::Read;
    client.execute(spec, SessionArg::Implicit).await.map(|_| ())
}

fn primary(hosted: &Hosted<SimReplicaSet>) -> usize {
    hosted.with(|set, _| set.primary()).unwrap()
}

/// Lets a fault strike a client that works; how often it took effect. Afterwards all must be well,
/// and nothing left.
fn under(kind: FaultKind) -> u64 {
    let (sim, hosted) = world(3);
    let client = client(&sim);
    sim.block_on(find(&client)).unwrap();
    for round in 0..2 {
        let mut fault = Fault::new(kind).lasting(Duration::from_secs(8));
        if kind == FaultKind::PartitionServers {
            fault = fault.on([primary(&hosted)]);
        }
        sim.inject(&fault);
        if round == 0 && kind.nature() != Nature::Once {
            sim.inject(&Fault::new(FaultKind::Reset).on([primary(&hosted)]));
        }
        for _ in 0..5 {
            let _ = sim.block_on(find(&client));
        }
    }
    let felt = sim.faults().of(kind);
    sim.heal();
    sim.block_on(sim.sleep(Duration::from_secs(40)));
    let found = sim.block_on(find(&client));
    found.unwrap_or_else(|error| panic!("{kind} is over: {error}"));
    sim.block_on(client.shutdown());
    drop(client);
    sim.block_on(sim.sleep(Duration::from_secs(5)));
    assert_eq!(sim.sockets(0), 0, "{kind}");
    assert_eq!(sim.tasks_alive(), 0, "{kind}");
    felt
}

#[test]
fn every_fault_takes_effect_and_the_driver_works_after_it() {
    for kind in FaultKind::ALL {
        let felt = under(*kind);
        assert!(
            felt > 0 || kind.nature() == Nature::Clock,
            "{kind} took no effect"
        );
    }
}

#[test]
fn what_a_slow_link_holds_goes_on_when_the_link_is_well_again() {
    let (sim, _hosted) = world(2);
    let client = client(&sim);
    sim.block_on(find(&client)).unwrap();
    let slow = Fault::new(FaultKind::SlowLink).sized(1);
    sim.inject(&slow.lasting(Duration::from_secs(2)));
    let began = sim.now();
    sim.block_on(find(&client)).unwrap();
    assert_eq!(sim.faults().of(FaultKind::SlowLink), 1);
    let took = sim.now() - began;
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3));
}

#[test]
fn a_clock_that_is_set_back_is_that_of_one_client() {
    let (sim, _hosted) = world(1);
    let (one, two) = (sim.runtime_of(0), sim.runtime_of(1));
    assert_eq!(one.unix_time(), two.unix_time());
    sim.inject(&Fault::new(FaultKind::ClockStepBack).of_client(1));
    assert_eq!(one.unix_time().0 - two.unix_time().0, 3_600_000);
    assert_eq!(sim.faults().of(FaultKind::ClockStepBack), 1);
}

#[test]
fn operations_dropped_at_any_poll_and_polled_without_need_leave_nothing() {
    let (sim, _hosted) = world(5);
    sim.set_yields(3);
    let client = client(&sim);
    for polls in 0..30 {
        let _ = sim.block_on(give_up_at(polls, find(&client)));
    }
    sim.block_on(find(&client)).unwrap();
    let census = client.census();
    assert_eq!(census.operations, 0);
    sim.block_on(client.shutdown());
    drop(client);
    sim.block_on(sim.sleep(Duration::from_secs(5)));
    assert_eq!((sim.sockets(0), sim.tasks_alive()), (0, 0));
}

#[test]
fn the_same_seed_gives_the_same_bytes_to_the_driver() {
    use std::{fmt::Write, sync::Mutex};
    let trace = |seed| {
        let log = Arc::new(Mutex::new(String::new()));
        let (sim, _hosted) = world(seed);
        let own = Arc::clone(&log);
        sim.set_observer(Some(Box::new(move |at, what: &Observation<'_>| {
            writeln!(own.lock().unwrap(), "{at} {what:?}").unwrap();
        })));
        sim.set_yields(10);
        let client = client(&sim);
        for kind in FaultKind::ALL {
            sim.inject(&Fault::new(*kind).lasting(Duration::from_secs(1)));
            let _ = sim.block_on(find(&client));
        }
        sim.set_observer(None);
        drop(client);
        sim.drop_tasks();
        Arc::into_inner(log).unwrap().into_inner().unwrap()
    };
    let first = trace(5);
    assert!(first.len() > 10_000);
    assert_eq!(first, trace(5));
    assert_ne!(first, trace(6));
}
