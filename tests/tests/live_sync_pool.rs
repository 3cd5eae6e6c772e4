//! Many threads through one blocking client: no more connections than allowed, and each thread is
//! served in its turn.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc};
use mongo_client::{
    event::{
        EventHandler,
        cmap::CmapEvent,
        command::{CommandEvent, CommandStartedEvent},
    },
    options::{ClientOptions, CursorType, ServerMonitoringMode},
    sync::{Client, Collection, Database},
};
use mongo_client_tests::{deploy, live};

const CONNECTIONS_MAX: usize = 10;
const THREADS: usize = 100;
const OPERATIONS: usize = 200;

/// A change of the pool, in the order in which the pool made it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Created,
    Closed,
    /// Somebody asked for a connection.
    Wanted,
    /// Somebody got this connection.
    Granted(u32),
    /// This connection was given back.
    Returned(u32),
    Failed,
}

/// What a client's pool did, and for whom.
#[derive(Clone, Default)]
struct Journal {
    steps: Arc<Mutex<Vec<Step>>>,
    /// The comments of the commands that each connection carried, in their order.
    carried: Arc<Mutex<BTreeMap<u32, Vec<Option<usize>>>>>,
}

impl Journal {
    fn attach(options: &mut ClientOptions) -> Self {
        let journal = Self::default();
        let steps = Arc::clone(&journal.steps);
        options.cmap_event_handler = Some(EventHandler::callback(move |event| {
            let step = match event {
                CmapEvent::ConnectionCreated(_) => Step::Created,
                CmapEvent::ConnectionClosed(_) => Step::Closed,
                CmapEvent::ConnectionCheckoutStarted(_) => Step::Wanted,
                CmapEvent::ConnectionCheckedOut(e) => Step::Granted(e.connection_id),
                CmapEvent::ConnectionCheckedIn(e) => Step::Returned(e.connection_id),
                CmapEvent::ConnectionCheckoutFailed(_) => Step::Failed,
                _ => return,
            };
            steps.lock().unwrap().push(step);
        }));
        let carried = Arc::clone(&journal.carried);
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(started) = event {
                let mut carried = carried.lock().unwrap();
                let of_connection = carried.entry(started.connection.id).or_default();
                of_connection.push(comment(&started));
            }
        }));
        journal
    }

    fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }

    /// The most connections that there were at a time.
    fn most_connections(&self) -> usize {
        let (mut now, mut most) = (0_usize, 0);
        for step in self.steps() {
            match step {
                Step::Created => now += 1,
                Step::Closed => now -= 1,
                _ => {}
            }
            most = most.max(now);
        }
        most
    }

    /// Whom each grant was for, in the order of the grants: every lease carries one command.
    fn granted_to(&self) -> Vec<Option<usize>> {
        let carried = self.carried.lock().unwrap();
        let mut next = BTreeMap::<u32, usize>::new();
        let steps = self.steps();
        let granted = steps.iter().filter_map(|step| match step {
            Step::Granted(connection) => Some(connection),
            _ => None,
        });
        granted
            .map(|connection| {
                let index = next.entry(*connection).or_default();
                *index += 1;
                carried[connection][*index - 1]
            })
            .collect()
    }

    /// Asserts that grants came in the order of the requests.
    ///
    /// If so, grant `n` answers request `n`. A thread asks again only after it gave back what it
    /// had, so with each request attributed to whom its grant went to, none may stand before its
    /// thread's last return. Any other order puts somebody's request there.
    fn assert_in_order_of_requests(&self) {
        let steps = self.steps();
        let position = |wanted: fn(&Step) -> bool| {
            let found = steps
                .iter()
                .enumerate()
                .filter(move |(_, step)| wanted(step));
            found.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let wanted = position(|step| matches!(step, Step::Wanted));
        let granted = position(|step| matches!(step, Step::Granted(_)));
        assert_eq!(wanted.len(), granted.len());
        let mut last_return = BTreeMap::<usize, usize>::new();
        for (n, owner) in self.granted_to().into_iter().enumerate() {
            assert!(wanted[n] < granted[n], "grant {n} precedes its request");
            let Some(owner) = owner else {
                continue;
            };
            if let Some(returned) = last_return.get(&owner) {
                assert!(
                    *returned < wanted[n],
                    "grant {n} went to thread {owner}, which had not asked when it was its turn"
                );
            }
            let Step::Granted(connection) = steps[granted[n]] else {
                unreachable!("only grants were collected");
            };
            let rest = steps[granted[n]..].iter();
            let held = rest.take_while(|step| **step != Step::Returned(connection));
            last_return.insert(owner, granted[n] + held.count());
        }
    }
}

/// The thread that a command says it is of.
fn comment(started: &CommandStartedEvent) -> Option<usize> {
    let comment = started.command.get_i32("comment").ok()?;
    Some(usize::try_from(comment).unwrap())
}

/// Options with few connections, a journal, and one connection for monitoring.
fn watched(uri: &str) -> (ClientOptions, Journal) {
    let mut options = live::options(uri);
    options.max_pool_size = Some(u32::try_from(CONNECTIONS_MAX).unwrap());
    options.server_monitoring_mode = Some(ServerMonitoringMode::Poll);
    let journal = Journal::attach(&mut options);
    (options, journal)
}

/// How many connections the server has of the clients with this name.
fn connections(observer: &Client, app_name: &str) -> usize {
    let stages = [
        doc! { "$currentOp": { "allUsers": true, "idleConnections": true, "localOps": true } },
        doc! { "$match": { "appName": app_name } },
    ];
    let admin = observer.database("admin");
    admin.aggregate(stages).run().unwrap().count()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < live::PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What one thread does: operations that follow each other and are of its own documents.
fn work(people: &Collection<Document>, thread: usize) -> usize {
    let own = Bson::Int32(i32::try_from(thread).unwrap());
    let mut done = 0;
    while done < OPERATIONS {
        let id = i32::try_from(thread * OPERATIONS + done).unwrap();
        let insert = people.insert_one(doc! { "_id": id, "thread": own.clone() });
        let inserted = insert.comment(own.clone()).run().unwrap();
        assert_eq!(inserted.inserted_id, Bson::Int32(id));
        let find = people.find_one(doc! { "_id": id }).comment(own.clone());
        let found = find.run().unwrap();
        assert_eq!(found, Some(doc! { "_id": id, "thread": own.clone() }));
        done += 2;
    }
    done
}

#[test]
fn a_hundred_threads_share_ten_connections_in_the_order_of_their_requests() {
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    let (options, journal) = watched(&uri);
    let app_name = live::app_name(&options);
    let client = Client::with_options(options).unwrap();
    let observer = Client::with_options(live::options(&uri)).unwrap();
    let database = client.database(&live::unique("live_sync"));
    let people = database.collection::<Document>("people");
    eventually("the connection of the monitor", || {
        connections(&observer, &app_name) == 1
    });

    let over = AtomicBool::new(false);
    let (done, most) = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let people = &people;
                scope.spawn(move || work(people, n))
            })
            .collect();
        let sampled = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(connections(&observer, &app_name));
            }
            most
        });
        let done: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
        over.store(true, Ordering::Relaxed);
        (done, sampled.join().unwrap())
    });

    assert_eq!(done, THREADS * OPERATIONS);
    assert_eq!(journal.most_connections(), CONNECTIONS_MAX);
    // Those of the pool, and the monitor's.
    assert_eq!(most, CONNECTIONS_MAX + 1, "seen by the server");
    assert_eq!(journal.granted_to().len(), THREADS * OPERATIONS);
    journal.assert_in_order_of_requests();
    let stored = people.count_documents(doc! {}).run().unwrap();
    assert_eq!(stored, (THREADS * OPERATIONS / 2) as u64);
    database.drop().run().unwrap();
}

/// Checkouts that wait at the only server, and connections that are in use.
fn waiting_and_leased(client: &Client) -> (usize, usize) {
    let census = client.handle().census();
    (census.pools[0].1.waiting, census.pools[0].1.leased)
}

/// A capped collection whose tailable cursors hold a connection each until something is inserted.
fn log_of(database: &Database) -> Collection<Document> {
    let create = database.create_collection("log").capped(true);
    create.size(1 << 20).run().unwrap();
    let log = database.collection::<Document>("log");
    log.insert_one(doc! { "_id": 0 }).run().unwrap();
    log
}

#[test]
fn threads_that_wait_for_a_connection_get_it_one_after_the_other() {
    const WAITERS: usize = 60;
    let Some(uri) = deploy::uri("STANDALONE") else {
        return;
    };
    let observer = Client::with_options(live::options(&uri)).unwrap();
    let name = live::unique("live_sync");
    let log = log_of(&observer.database(&name));
    let (options, journal) = watched(&uri);
    let client = Client::with_options(options).unwrap();
    let database = client.database(&name);
    let tailed = database.collection::<Document>("log");
    let tails: Vec<_> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let tail = tailed
                .find(doc! {})
                .cursor_type(CursorType::TailableAwait)
                .max_await_time(live::PATIENCE);
            let mut cursor = tail.run().unwrap();
            assert!(cursor.advance().unwrap());
            cursor
        })
        .collect();

    thread::scope(|scope| {
        let mut tailing = Vec::new();
        for mut cursor in tails {
            tailing.push(scope.spawn(move || {
                assert!(cursor.advance().unwrap());
                cursor
            }));
        }
        eventually("all connections wait for the log", || {
            waiting_and_leased(&client) == (0, CONNECTIONS_MAX)
        });
        let mut waiters = Vec::new();
        for n in 0..WAITERS {
            let comment = i32::try_from(n).unwrap();
            let tailed = &tailed;
            waiters.push(scope.spawn(move || {
                let find = tailed.find_one(doc! { "_id": 0 }).comment(comment);
                assert!(find.run().unwrap().is_some());
            }));
            // The next thread starts when this one stands in the queue.
            eventually("the thread waits", || {
                waiting_and_leased(&client) == (n + 1, CONNECTIONS_MAX)
            });
        }
        log.insert_one(doc! { "_id": 1 }).run().unwrap();
        waiters.into_iter().for_each(|t| t.join().unwrap());
        tailing.into_iter().for_each(|t| drop(t.join().unwrap()));
    });

    let served: Vec<_> = journal.granted_to().into_iter().flatten().collect();
    assert_eq!(served, (0..WAITERS).collect::<Vec<_>>());
    journal.assert_in_order_of_requests();
    assert_eq!(journal.most_connections(), CONNECTIONS_MAX);
    observer.database(&name).drop().run().unwrap();
}
