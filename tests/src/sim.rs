//! Scripted deployments for tests of the driver on virtual time.

mod cut;
mod replies;
mod scram;
pub mod things;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bson::{Bson, Document};
use mongo_client::Client;
use mongo_client_core::{
    dns::ResolverConfig, net::ServerAddress, options::ClientOptions, pool::PoolCounts,
};
use mongo_client_driver::{Census, Instant};
use mongo_client_sim::{Script, Scripted, Sim};

use self::scram::ScramServer;
pub use self::{
    cut::{Cut, cut, drop_after, drop_at_poll},
    replies::{batch_reply, find_reply},
    scram::credential,
};
use crate::fault::name_server::{Question, Record, Zone};

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

    /// What tells one command of a test from another: the `_id` that it is about, or the field
    /// `token` of its own.
    #[must_use]
    pub fn token(&self) -> Option<&Bson> {
        let first = |name: &str| self.command.get_array(name).ok()?.first()?.as_document();
        let about = match self.name() {
            "aggregate" => first("pipeline")?.get_document("$match").ok()?,
            "delete" => first("deletes")?.get_document("q").ok()?,
            "distinct" | "findAndModify" => self.command.get_document("query").ok()?,
            "find" => self.command.get_document("filter").ok()?,
            "insert" => first("documents")?,
            "update" => first("updates")?.get_document("q").ok()?,
            _ => return self.command.get("token"),
        };
        about.get("_id")
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
    scram: ScramServer,
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
                scram: ScramServer::default(),
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

    /// The commands of one name (all for the empty one), in the order in which they came.
    #[must_use]
    pub fn seen(&self, name: &str) -> Vec<Seen> {
        let state = self.state();
        state
            .log
            .iter()
            .filter(|seen| name.is_empty() || seen.name() == name)
            .cloned()
            .collect()
    }

    /// A client of these servers.
    #[must_use]
    pub fn client(&self, change: impl FnOnce(&mut ClientOptions)) -> Client {
        let options = self.options(change);
        let builder = Client::builder().options(options);
        let client = builder.runtime(self.sim.runtime()).build();
        client.expect("a test's options are valid")
    }

    /// The options of a client of these servers.
    #[must_use]
    pub fn options(&self, change: impl FnOnce(&mut ClientOptions)) -> ClientOptions {
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
        options
    }

    /// A client of a `mongodb+srv` string, whose name server knows the servers' addresses.
    #[must_use]
    pub fn srv_client(&self, host: &str) -> Client {
        let members = self.state().hosts.clone();
        let target = |member: &&'static str| {
            let (host, port) = member.split_once(':').expect("addresses have ports");
            (host.to_owned(), port.parse().expect("a port is a number"))
        };
        let mut zone = Zone::new();
        zone.set_service(host, &members.iter().map(target).collect::<Vec<_>>());
        zone.set(host, vec![Record::text("replicaSet=rs")]);
        self.sim
            .answer_datagrams(Duration::from_millis(5), move |question| {
                Some(zone.answer(&Question::parse(question)?))
            });
        let uri = format!("mongodb+srv://{host}/?tls=false");
        let parsed = ClientOptions::parse_uri(&uri).expect("a test's string is valid");
        let mut options = parsed.options;
        let name_server = SocketAddr::from(([127, 0, 0, 1], 53));
        options.resolver_config = Some(ResolverConfig::new(vec![name_server]));
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
    if let Some(scripted) = state.rule.as_mut().and_then(|rule| rule(&seen)) {
        return scripted;
    }
    let reply = state.scram.answer(seen.connection, &seen.command);
    Scripted::Reply(reply.unwrap_or_else(|| replies::sensible(&state.hosts, state.primary, &seen)))
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
