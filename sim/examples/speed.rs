//! How fast the simulation is: events and simulated `find_one` per second of CPU time.
//!
//! `cargo run --release -p mongo-client-sim --example speed -- [MODE] [operations]`, where the mode is
//! `engine`, `driver`, `quiet`, the `engine-plain` or `driver-plain` part of one, or `all`.
//! A set of three members, 16 operations under way, each `find` of one document by `_id`; then the
//! same on a network that is never quite well; then a day without operations. An event is one pop of
//! the event queue that is delivered to a machine.

use std::{env, fs, sync::Arc, time::Duration};

use bson::{RawDocumentBuf, rawdoc};
use mongo_client_core::{
    engine::Command,
    net::ServerAddress,
    op::{CommandSpec, Retryability},
    options::ClientOptions,
};
use mongo_client_driver::{Ambient, Handle, RuntimeSource, SessionArg};
use mongo_client_sim::{
    EngineWorld, Fault, FaultKind, Happening, NetworkConfig, Seeded, SetConfig, Sim, SimReplicaSet,
};

const CONCURRENT: u64 = 16;

fn addresses() -> [String; 3] {
    [0, 1, 2].map(|n| format!("m{n}.test:{}", 27_017 + n))
}

fn set() -> SimReplicaSet {
    let config = SetConfig::new("rs", addresses());
    let now = Sim::new(0).now();
    SimReplicaSet::new(config, Box::new(Seeded::new(1)), now)
}

fn options() -> ClientOptions {
    let mut options = ClientOptions::default();
    let parse = |address: &String| ServerAddress::parse(address).expect("it is valid");
    options.hosts = addresses().iter().map(parse).collect();
    options.repl_set_name = Some("rs".to_owned());
    options.max_pool_size = Some(16);
    options
}

fn spec(name: &'static str, body: RawDocumentBuf) -> CommandSpec {
    let mut spec = CommandSpec::new(name, "db", body);
    spec.retryability = Retryability::Read;
    spec
}

fn find() -> CommandSpec {
    let filter = rawdoc! { "find": "c", "filter": { "_id": 1 }, "limit": 1, "singleBatch": true };
    spec("find", filter)
}

fn insert() -> CommandSpec {
    let document = rawdoc! { "_id": 1, "name": "n".repeat(100), "count": 1_i64 };
    spec("insert", rawdoc! { "insert": "c", "documents": [document] })
}

fn faults() -> [Fault; 3] {
    let kinds = [
        FaultKind::Resegment,
        FaultKind::PartialWrites,
        FaultKind::Clog,
    ];
    kinds.map(|kind| {
        Fault::new(kind)
            .sized(128)
            .lasting(Duration::from_millis(500))
    })
}

/// Seconds of CPU time so far.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e9
}

fn report(what: &str, operations: u64, events: u64, simulated: Duration, began: f64) {
    let time = cpu() - began;
    println!(
        "{what}: {:.0} events/s, {:.0} find_one/s ({operations} operations, {events} events, \
         {simulated:.0?} simulated, {time:.2} s of CPU time)",
        events as f64 / time,
        operations as f64 / time,
    );
}

fn engine(what: &str, operations: u64, faults: &[Fault]) {
    let network = NetworkConfig::default();
    let mut world = EngineWorld::new(set(), network, Box::new(Seeded::new(2)));
    let client = world.add_client(options()).expect("the options are valid");
    world.submit(client, Command::new(insert()));
    world.run_until_happening(Duration::from_secs(10));
    let (began, events, start) = (cpu(), world.events(), world.now());
    for _ in 0..CONCURRENT {
        world.submit(client, Command::new(find()));
    }
    let mut next = start;
    for _ in 0..operations {
        if world.now() >= next {
            faults.iter().for_each(|fault| world.inject(fault));
            next = world.now() + Duration::from_millis(100);
        }
        let happening = world.run_until_happening(Duration::from_secs(100));
        assert!(matches!(
            happening,
            Some(Happening::Completed { result: Ok(_), .. })
        ));
        world.submit(client, Command::new(find()));
    }
    let simulated = world.now() - start;
    report(what, operations, world.events() - events, simulated, began);
}

fn quiet() {
    let network = NetworkConfig::default();
    let mut world = EngineWorld::new(set(), network, Box::new(Seeded::new(2)));
    world.add_client(options()).expect("the options are valid");
    world.run_for(Duration::from_secs(10));
    let (began, events, start) = (cpu(), world.events(), world.now());
    world.run_for(Duration::from_secs(86_400));
    report(
        "engine, quiet",
        0,
        world.events() - events,
        world.now() - start,
        began,
    );
}

fn driver(what: &str, operations: u64, faults: &[Fault]) {
    let sim = Sim::new(2);
    let network = NetworkConfig::default();
    let _hosted = sim.host_on(set(), network, Box::new(Seeded::new(2)));
    let runtime = sim.runtime();
    let ambient = Ambient::of(&runtime);
    let client = Handle::new(options(), RuntimeSource::given(runtime), ambient);
    let client = Arc::new(client.expect("the options are valid"));
    let first = client.execute(insert(), SessionArg::Implicit);
    sim.block_on(first).expect("the set is well");
    let (began, events, start) = (cpu(), sim.events(), sim.now());
    for _ in 0..CONCURRENT {
        let client = Arc::clone(&client);
        sim.spawn(async move {
            for _ in 0..operations / CONCURRENT {
                let found = client.execute(find(), SessionArg::Implicit).await;
                found.expect("the set is well").recycle();
            }
        });
    }
    let background = 8;
    while sim.tasks_alive() > background && sim.events() < operations * 1_000 {
        faults.iter().for_each(|fault| sim.inject(fault));
        sim.block_on(sim.sleep(Duration::from_millis(100)));
        if client.census().operations == 0 {
            break;
        }
    }
    let simulated = sim.now() - start;
    report(what, operations, sim.events() - events, simulated, began);
    println!("  {} polls of tasks", sim.polls());
    sim.drop_tasks();
}

fn main() {
    let mut arguments = env::args().skip(1);
    let mode = arguments.next().unwrap_or_else(|| "all".to_owned());
    let operations = arguments
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000);
    let is = |modes: &[&str]| modes.contains(&mode.as_str());
    if is(&["all", "engine", "engine-plain"]) {
        engine("engine", operations, &[]);
    }
    if is(&["all", "engine"]) {
        engine("engine, faults", operations, &faults());
    }
    if is(&["all", "engine", "quiet"]) {
        quiet();
    }
    if is(&["all", "driver", "driver-plain"]) {
        driver("driver", operations, &[]);
    }
    if is(&["all", "driver"]) {
        driver("driver, faults", operations, &faults());
    }
}
