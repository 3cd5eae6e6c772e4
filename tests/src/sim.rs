//! Scripted deployments for tests of the driver on virtual time.

use std::{
    future::{Future, IntoFuture, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use bson::{Bson, Document, doc};
use mongo_client::Client;
use mongo_client_core::{net::ServerAddress, options::ClientOptions, pool::PoolCounts};
use mongo_client_driver::{Census, Instant};
use mongo_client_sim::{Script, Scripted, Sim, hello_reply, member_reply};

/// The address of the only server of most tests.
pub const ADDRESS: &str = "db.test:27017";

/// A command that a scripted server got.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// The server.
    pub address: &'static str,
    /// The connection, counted over the simulation.
    pub connection: u64,
    /// The command with its sequences as arrays.
    pub command: Document,
}

impl Seen {
    /// The command's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.command.keys().next().map_or("", String::as_str)
    }

    /// The session's id.
    #[must_use]
    pub fn lsid(&self) -> Option<&Bson> {
        self.command.get("lsid")
    }

    /// What tells one `find` or `insert` of a test from another: the `_id` that it is about.
    #[must_use]
    pub fn token(&self) -> Option<&Bson> {
        match self.name() {
            "find" => self.command.get_document("filter").ok()?.get("_id"),
            _ => self.command.get_array("documents").ok()?[0]
                .as_document()?
                .get("_id"),
        }
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Option<Scripted> + Send>;

/// Scripted servers: they answer sensibly, unless the test's rule says otherwise.
#[derive(Clone)]
pub struct Servers {
    /// The simulation that they live in.
    pub sim: Sim,
    state: Arc<Mutex<State>>,
}

struct State {
    log: Vec<Seen>,
    rule: Option<Rule>,
    /// The members of a replica set; empty for a standalone server.
    hosts: Vec<&'static str>,
    primary: &'static str,
}

impl Servers {
    /// A standalone server at [`ADDRESS`].
    #[must_use]
    pub fn standalone(seed: u64) -> Self {
        Self::new(seed, &[], &[ADDRESS])
    }

    /// A replica set; the first host is primary.
    #[must_use]
    pub fn replica_set(seed: u64, hosts: &[&'static str]) -> Self {
        Self::new(seed, hosts, hosts)
    }

    fn new(seed: u64, members: &[&'static str], addresses: &[&'static str]) -> Self {
        let this = Self {
            sim: Sim::new(seed),
            state: Arc::new(Mutex::new(State {
                log: Vec::new(),
                rule: None,
                hosts: members.to_vec(),
                primary: addresses[0],
            })),
        };
        for address in addresses.iter().copied() {
            let (sim, state) = (this.sim.clone(), Arc::clone(&this.state));
            let script = Script::new(move |connection, command| {
                let seen = Seen {
                    at: sim.now(),
                    address,
                    connection,
                    command: command.clone(),
                };
                answer(&state, seen)
            });
            this.sim.listen(address, move |n| script.peer(n));
        }
        this
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the rule that is asked first; where it says nothing the servers answer sensibly.
    pub fn set_rule(&self, rule: impl FnMut(&Seen) -> Option<Scripted> + Send + 'static) {
        self.state().rule = Some(Box::new(rule));
    }

    /// Takes the rule away.
    pub fn clear_rule(&self) {
        let rule = self.state().rule.take();
        drop(rule);
    }

    /// Makes another member primary: hellos say so from now on.
    pub fn set_primary(&self, address: &'static str) {
        self.state().primary = address;
    }

    /// The commands of one name, in the order in which they came.
    #[must_use]
    pub fn seen(&self, name: &str) -> Vec<Seen> {
        let state = self.state();
        state
            .log
            .iter()
            .filter(|seen| seen.name() == name)
            .cloned()
            .collect()
    }

    /// A client of these servers.
    #[must_use]
    pub fn client(&self, change: impl FnOnce(&mut ClientOptions)) -> Client {
        let (members, primary) = {
            let state = self.state();
            (state.hosts.clone(), state.primary)
        };
        let mut options = ClientOptions::default();
        let hosts = if members.is_empty() {
            vec![primary]
        } else {
            options.repl_set_name = Some("rs".to_owned());
            members
        };
        options.hosts = hosts
            .into_iter()
            .map(|host| ServerAddress::parse(host).expect("a test's address is valid"))
            .collect();
        options.server_selection_timeout = Some(Duration::from_secs(5));
        change(&mut options);
        let builder = Client::builder().options(options);
        let client = builder.runtime(self.sim.runtime()).build();
        client.expect("a test's options are valid")
    }

    /// Lets virtual time pass.
    pub fn pass(&self, time: Duration) {
        self.sim.block_on(self.sim.sleep(time));
    }
}

fn answer(state: &Mutex<State>, seen: Seen) -> Scripted {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.log.push(seen.clone());
    let scripted = state.rule.as_mut().and_then(|rule| rule(&seen));
    scripted.unwrap_or_else(|| Scripted::Reply(sensible(&state.hosts, state.primary, &seen)))
}

/// What a healthy server answers. A `find` gives back the `_id` that it asks for.
fn sensible(hosts: &[&str], primary: &str, seen: &Seen) -> Document {
    let hello = if hosts.is_empty() {
        hello_reply(&seen.command)
    } else {
        member_reply(&seen.command, hosts, seen.address, primary)
    };
    if let Some(hello) = hello {
        return hello;
    }
    match seen.name() {
        "find" => find_reply(seen, 0),
        "insert" => doc! { "n": 1, "ok": 1.0 },
        _ => doc! { "ok": 1.0 },
    }
}

/// The reply to a `find`: one document with the `_id` that it asks for, and a cursor.
#[must_use]
pub fn find_reply(seen: &Seen, cursor: i64) -> Document {
    let token = seen.token().cloned().unwrap_or(Bson::Null);
    doc! {
        "cursor": { "firstBatch": [{ "_id": token }], "id": cursor, "ns": "db.c" },
        "ok": 1.0,
    }
}

/// What one pool holds; panics when the client knows several servers.
#[must_use]
pub fn pool(client: &Client) -> PoolCounts {
    let census = client.handle().census();
    assert_eq!(census.pools.len(), 1, "{census:?}");
    census.pools[0].1
}

/// Asserts that no operation holds anything: no wait, no lease, no load, no stray signal.
pub fn assert_quiet(census: &Census) {
    let mut connections = 0;
    for (address, counts) in &census.pools {
        assert_eq!(counts.leased, 0, "{address}: {census:?}");
        assert_eq!(counts.draining, 0, "{address}: {census:?}");
        assert_eq!(counts.opening, 0, "{address}: {census:?}");
        assert_eq!(counts.waiting, 0, "{address}: {census:?}");
        connections += counts.total();
    }
    assert_eq!(census.signals, connections, "{census:?}");
    assert_eq!(census.wait_slots, 0, "{census:?}");
    assert_eq!(census.view_waiters, 0, "{census:?}");
    assert_eq!(census.chores, 0, "{census:?}");
    assert_eq!(census.operations, 0, "{census:?}");
}

/// Polls a future `polls` times and drops it; its output if it was ready before.
pub async fn drop_at_poll<F: IntoFuture>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future.into_future());
    let mut done = 0;
    poll_fn(|cx| {
        done += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(Some(out)),
            Poll::Pending if done >= polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Polls a future for a time and drops it; its output if it was ready before.
pub async fn drop_after<F: IntoFuture>(sim: &Sim, future: F, time: Duration) -> Option<F::Output> {
    let mut future = Box::pin(future.into_future());
    let mut sleep = Box::pin(sim.sleep(time));
    poll_fn(|cx| {
        if let Poll::Ready(out) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(out));
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}
