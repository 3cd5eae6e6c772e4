//! Replica sets whose configuration changes while operations run: a member is removed, added, hidden,
//! shown again, and made primary by its priority.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongo_client::{Client, Database, error::Error, options::ServerAddress};
use mongo_client_tests::{
    deploy::{self, OwnCluster, Plan},
    live,
    rt::{self, Task},
};
use xtask::wire::is_true;

const MEMBERS: usize = 4;
/// How long a client may take to know what the primary's hello says.
const SOON: Duration = Duration::from_secs(1);
/// How long the set may take for a change.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tasks that write and read, one operation after the other.
struct Load {
    shared: Arc<Shared>,
    tasks: Vec<Task<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    written: AtomicU64,
    errors: Mutex<Vec<Error>>,
}

impl Load {
    fn start(db: &Database) -> Self {
        let shared = Arc::new(Shared::default());
        let tasks = (0..4)
            .map(|task| rt::spawn(work(db.clone(), task, Arc::clone(&shared))))
            .collect();
        Self { shared, tasks }
    }

    /// Waits until that many more documents were written.
    async fn goes_on(&self, documents: u64) {
        let target = self.shared.written.load(Ordering::Relaxed) + documents;
        let enough = || async { self.shared.written.load(Ordering::Relaxed) >= target };
        assert!(
            live::within(PATIENCE, enough).await,
            "the load stands still"
        );
    }

    /// Ends the tasks; how many documents they wrote.
    async fn end(self) -> u64 {
        self.shared.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let errors = self.shared.errors.lock().unwrap();
        assert!(errors.is_empty(), "{}: {errors:?}", errors.len());
        self.shared.written.load(Ordering::Relaxed)
    }
}

async fn work(db: Database, task: i64, shared: Arc<Shared>) {
    let numbers = db.collection::<Document>("numbers");
    let mut number = task;
    while !shared.over.load(Ordering::Relaxed) {
        let id = doc! { "_id": number };
        let done = match numbers.insert_one(&id).await {
            Ok(_) => numbers.find_one(id).await.map(drop),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {
                shared.written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => shared.errors.lock().unwrap().push(error),
        }
        number += 4;
    }
}

/// Changes the configuration, by the primary.
fn reconfigure(cluster: &OwnCluster, change: impl Fn(&mut Vec<Document>)) {
    let start = Instant::now();
    loop {
        let Some(primary) = cluster.primary() else {
            assert!(start.elapsed() < PATIENCE, "no primary");
            continue;
        };
        let mut wire = cluster.connect(primary).unwrap();
        let reply = wire.admin(doc! { "replSetGetConfig": 1 }).unwrap();
        let mut config = reply.get_document("config").unwrap().clone();
        let members = config.get_array("members").unwrap().iter();
        let mut members: Vec<Document> =
            members.map(|m| m.as_document().unwrap().clone()).collect();
        change(&mut members);
        config.insert("members", members);
        config.insert("version", config.get_i32("version").unwrap() + 1);
        // An earlier change may not have reached everybody yet.
        match wire.admin(doc! { "replSetReconfig": config }) {
            Ok(_) => return,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
    }
}

/// Waits until the primary's hello lists these hosts, and then until the client knows.
async fn is_followed(cluster: &OwnCluster, client: &Client, hosts: &[usize]) {
    let expected: BTreeSet<ServerAddress> = hosts
        .iter()
        .map(|host| ServerAddress::parse(cluster.address(*host)).unwrap())
        .collect();
    let listed = || async {
        let Some(primary) = cluster.primary() else {
            return false;
        };
        let mut wire = cluster.connect(primary).unwrap();
        let hello = wire.admin(doc! { "hello": 1 }).unwrap();
        let hosts = hello.get_array("hosts").unwrap().iter();
        let hosts = hosts.map(|host| ServerAddress::parse(host.as_str().unwrap()).unwrap());
        is_true(&hello, "isWritablePrimary") && hosts.collect::<BTreeSet<_>>() == expected
    };
    assert!(
        live::within(PATIENCE, listed).await,
        "never listed: {expected:?}"
    );
    let known = live::within(SOON, || async { client.nodes() == expected });
    assert!(known.await, "{:?} instead of {expected:?}", client.nodes());
}

#[test]
fn destructive_reconfigurations_are_followed_at_once_and_lose_nothing() {
    rt::block_on(async {
        let Some(cluster) = deploy::own_cluster("reconfiguration", Plan::replica_set(MEMBERS))
        else {
            return;
        };
        let client = live::client(&format!("{}&heartbeatFrequencyMS=500", cluster.uri()));
        let db = live::database(&client);
        is_followed(&cluster, &client, &[0, 1, 2, 3]).await;
        let load = Load::start(&db);
        load.goes_on(50).await;
        let primary = cluster.primary().unwrap();
        let changed = (0..MEMBERS).find(|member| *member != primary).unwrap();
        let rest: Vec<usize> = (0..MEMBERS).filter(|member| *member != changed).collect();
        let host = cluster.address(changed);
        let is_changed = |member: &Document| member.get_str("host").unwrap() == host;

        let removed = Mutex::new(None);
        reconfigure(&cluster, |members| {
            let place = members.iter().position(is_changed).unwrap();
            *removed.lock().unwrap() = Some(members.remove(place));
        });
        is_followed(&cluster, &client, &rest).await;
        load.goes_on(50).await;

        let member = removed.into_inner().unwrap().unwrap();
        reconfigure(&cluster, |members| members.push(member.clone()));
        is_followed(&cluster, &client, &[0, 1, 2, 3]).await;
        load.goes_on(50).await;

        let set = |fields: Document| {
            reconfigure(&cluster, |members| {
                let member = members
                    .iter_mut()
                    .find(|member| is_changed(member))
                    .unwrap();
                member.extend(fields.clone());
            });
        };
        set(doc! { "priority": 0, "hidden": true });
        is_followed(&cluster, &client, &rest).await;
        load.goes_on(50).await;

        set(doc! { "priority": 1, "hidden": false });
        is_followed(&cluster, &client, &[0, 1, 2, 3]).await;
        load.goes_on(50).await;

        // It takes over from the primary as soon as it has caught up.
        set(doc! { "priority": 10 });
        let elected = || async { cluster.primary() == Some(changed) };
        assert!(live::within(PATIENCE, elected).await, "it was not elected");
        let expected = ServerAddress::parse(&host).ok();
        let known = live::within(SOON, || async { client.primary() == expected });
        assert!(
            known.await,
            "{:?} instead of {expected:?}",
            client.primary()
        );
        load.goes_on(50).await;

        let written = load.end().await;
        let numbers = db.collection::<Document>("numbers");
        let stored = numbers.count_documents(doc! {}).await.unwrap();
        assert_eq!(stored, written);
        client.shutdown().await;
    });
}
