//! The driver on the scripted runtime: virtual time, no sockets.

use std::{sync::Arc, time::Duration};

use bson::{doc, rawdoc};
use mongo_client_core::{net::ServerAddress, op::CommandSpec, options::ClientOptions};
use mongo_client_driver::{Ambient, Handle, SessionArg};
use mongo_client_sim::{Behaviour, Script, Scripted, Sim, hello_reply};

const ADDRESS: &str = "db.test:27017";

fn client(sim: &Sim, change: impl FnOnce(&mut ClientOptions)) -> Handle {
    let mut options = ClientOptions::default();
    options.hosts = vec![ServerAddress::parse(ADDRESS).unwrap()];
    options.server_selection_timeout = Some(Duration::from_secs(5));
    change(&mut options);
    let runtime = sim.runtime();
    let ambient = Ambient::of(&runtime);
    Handle::new(
        options,
        Arc::new(move || Some(Arc::clone(&runtime))),
        ambient,
    )
    .unwrap()
}

fn ping() -> CommandSpec {
    CommandSpec::new("ping", "admin", rawdoc! { "ping": 1 })
}

fn healthy(sim: &Sim) {
    let script = Script::new(|_, command| {
        Scripted::Reply(hello_reply(command).unwrap_or_else(|| doc! { "ok": 1.0 }))
    });
    sim.listen(ADDRESS, move |n| script.peer(n));
}

#[test]
fn a_command_finds_the_server_and_is_answered() {
    let sim = Sim::new(1);
    healthy(&sim);
    let client = client(&sim, |_| {});
    let reply = sim
        .block_on(client.execute(ping(), SessionArg::Implicit))
        .unwrap();
    assert_eq!(reply.address.to_string(), ADDRESS);
}

#[test]
fn every_byte_alone_gives_the_same_answer() {
    let sim = Sim::new(2);
    healthy(&sim);
    sim.set_chunk(ADDRESS, 1);
    let client = client(&sim, |_| {});
    for _ in 0..3 {
        sim.block_on(client.execute(ping(), SessionArg::Implicit))
            .unwrap();
    }
}

#[test]
fn an_unreachable_server_ends_in_a_selection_error_at_its_time() {
    let sim = Sim::new(3);
    healthy(&sim);
    sim.set_behaviour(ADDRESS, Behaviour::Refuse);
    let client = client(&sim, |_| {});
    let before = sim.now();
    let error = sim
        .block_on(client.execute(ping(), SessionArg::Implicit))
        .unwrap_err();
    assert!(error.is_server_selection(), "{error}");
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().contains(ADDRESS), "{error}");
    assert_eq!(sim.now() - before, Duration::from_secs(5));
}

#[test]
fn nothing_is_left_after_the_last_handle() {
    let sim = Sim::new(4);
    healthy(&sim);
    let client = client(&sim, |_| {});
    sim.block_on(client.execute(ping(), SessionArg::Implicit))
        .unwrap();
    drop(client);
    sim.block_on(sim.sleep(Duration::from_secs(60)));
    assert_eq!(sim.tasks_alive(), 0);
    assert_eq!(sim.open_connections(ADDRESS), 0);
}
