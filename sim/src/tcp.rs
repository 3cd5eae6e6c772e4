//! Simulated servers on real sockets of the loopback interface, for apps that are tied to a
//! runtime and as a stand-in for a server that is not installed.
//!
//! Time is real here, so runs differ. Each connection has two threads, each listener one, and one
//! wakes the servers at their time; all of them end with [`Served`].

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant as RealInstant, SystemTime, UNIX_EPOCH},
};

use mongo_client_driver::Instant;

use crate::{Output, deployment::Deployment};

/// Servers that are reachable over TCP until this is dropped.
pub struct Served<D: Deployment + 'static> {
    shared: Arc<Shared<D>>,
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<D> {
    state: Mutex<State<D>>,
    /// Signalled when the next wake-up may have changed.
    changed: Condvar,
    began: RealInstant,
}

struct State<D> {
    deployment: D,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    stopped: bool,
}

struct Connection {
    stream: TcpStream,
    /// `None` closes.
    orders: mpsc::Sender<Option<Vec<u8>>>,
}

impl<D: Deployment + 'static> Served<D> {
    /// Serves on free ports; `build` gets the servers' addresses and the wall clock, in
    /// milliseconds since 1970, at the zero of their time.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start(servers: usize, build: impl FnOnce(Vec<String>, i64) -> D) -> io::Result<Self> {
        let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = (0..servers).map(bind).collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr);
        let addresses = addresses.collect::<io::Result<Vec<_>>>()?;
        let names = addresses.iter().map(ToString::to_string).collect();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = wall.map_or(0, |time| {
            i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
        });
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                deployment: build(names, wall),
                connections: BTreeMap::new(),
                next: 1,
                stopped: false,
            }),
            changed: Condvar::new(),
            began: RealInstant::now(),
        });
        let mut threads = Vec::new();
        for (server, listener) in listeners.into_iter().enumerate() {
            let own = Arc::clone(&shared);
            threads.push(thread::spawn(move || own.listen(server, &listener)));
        }
        let own = Arc::clone(&shared);
        threads.push(thread::spawn(move || own.keep_time()));
        Ok(Self {
            shared,
            addresses,
            threads,
        })
    }

    /// The servers' addresses.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The connection string of the replica set of a name, or of a single server without one.
    #[must_use]
    pub fn uri(&self, set: Option<&str>) -> String {
        let hosts: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let options = set.map_or_else(String::new, |name| format!("?replicaSet={name}"));
        format!("mongodb://{}/{options}", hosts.join(","))
    }

    /// Works on the deployment and lets the consequences happen.
    pub fn with<R>(&self, work: impl FnOnce(&mut D, Instant) -> R) -> R {
        let mut state = self.shared.lock();
        let result = work(&mut state.deployment, self.shared.now());
        self.shared.pump(&mut state);
        result
    }
}

impl<D: Deployment + 'static> Drop for Served<D> {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopped = true;
            for connection in std::mem::take(&mut state.connections).into_values() {
                let _ = connection.stream.shutdown(Shutdown::Both);
            }
            self.shared.changed.notify_all();
        }
        for address in &self.addresses {
            // A dial is what wakes a thread that waits for one.
            let _ = TcpStream::connect_timeout(address, Duration::from_secs(1));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl<D: Deployment + 'static> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        let nanos = self.began.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn listen(self: Arc<Self>, server: usize, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.lock().stopped {
                return;
            }
            // A connection that cannot be set up is one that the client sees closed.
            if let Ok(stream) = stream {
                let _ = self.open(server, stream);
            }
        }
    }

    fn open(self: &Arc<Self>, server: usize, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (reading, writing) = (stream.try_clone()?, stream.try_clone()?);
        let (orders, received) = mpsc::channel();
        let id = {
            let mut state = self.lock();
            let id = state.next;
            state.next += 1;
            if !state.deployment.accept(server, id, self.now()) {
                return Ok(());
            }
            state.connections.insert(id, Connection { stream, orders });
            id
        };
        thread::spawn(move || write(writing, &received));
        let own = Arc::clone(self);
        thread::spawn(move || own.read(id, reading));
        Ok(())
    }

    fn read(&self, id: u64, mut stream: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = stream.read(&mut buffer).unwrap_or(0);
            let mut state = self.lock();
            let now = self.now();
            if read == 0 {
                state.connections.remove(&id);
                state.deployment.hang_up(id, now);
            } else {
                state.deployment.receive(id, &buffer[..read], now);
            }
            self.pump(&mut state);
            if read == 0 {
                return;
            }
        }
    }

    /// Hands on what the servers send, and wakes the thread that keeps the time.
    fn pump(&self, state: &mut State<D>) {
        while let Some(output) = state.deployment.poll_output() {
            match output {
                Output::Bytes(id, bytes) => {
                    if let Some(connection) = state.connections.get(&id) {
                        let _ = connection.orders.send(Some(bytes));
                    }
                }
                Output::Close(id) => {
                    if let Some(connection) = state.connections.remove(&id) {
                        let _ = connection.orders.send(None);
                    }
                }
                Output::Reset(id) => {
                    if let Some(connection) = state.connections.remove(&id) {
                        let _ = connection.stream.shutdown(Shutdown::Both);
                    }
                }
            }
        }
        self.changed.notify_all();
    }

    fn keep_time(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let now = self.now();
            let due = state.deployment.poll_timeout();
            if due.is_some_and(|due| due <= now) {
                state.deployment.handle_timeout(now);
                self.pump(&mut state);
                continue;
            }
            let wait = due.map_or(Duration::from_secs(3600), |due| due - now);
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn write(mut stream: TcpStream, orders: &mpsc::Receiver<Option<Vec<u8>>>) {
    while let Ok(Some(bytes)) = orders.recv() {
        if stream.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;
    use crate::{Seeded, ServerConfig, SimServer};

    fn message(command: &Document) -> Vec<u8> {
        let body = command.to_vec().unwrap();
        let length = i32::try_from(21 + body.len()).unwrap();
        let mut out = Vec::new();
        for field in [length, 1, 0, 2013, 0] {
            out.extend(field.to_le_bytes());
        }
        out.push(0);
        out.extend(body);
        out
    }

    fn ask(stream: &mut TcpStream, command: &Document) -> Document {
        stream.write_all(&message(command)).unwrap();
        let mut header = [0; 21];
        stream.read_exact(&mut header).unwrap();
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let mut body = vec![0; length - 21];
        stream.read_exact(&mut body).unwrap();
        Document::from_reader(&body[..]).unwrap()
    }

    #[test]
    fn a_server_answers_on_a_real_port_and_its_time_passes() {
        let served = Served::start(1, |addresses, wall| {
            let mut config = ServerConfig::new(addresses[0].clone());
            config.wall_epoch_ms = wall;
            SimServer::new(config, Box::new(Seeded::new(1)))
        });
        let served = served.unwrap();
        let mut stream = TcpStream::connect(served.addresses()[0]).unwrap();
        let insert = doc! { "insert": "c", "documents": [{ "_id": 1 }], "$db": "db" };
        assert_eq!(ask(&mut stream, &insert), doc! { "n": 1, "ok": 1.0 });
        let block = doc! {
            "configureFailPoint": "failCommand", "mode": { "times": 1 }, "$db": "admin",
            "data": { "failCommands": ["ping"], "blockConnection": true, "blockTimeMS": 20 },
        };
        ask(&mut stream, &block);
        let before = RealInstant::now();
        ask(&mut stream, &doc! { "ping": 1, "$db": "db" });
        assert!(before.elapsed() >= Duration::from_millis(20));
        let found = served.with(|server, _| server.documents("db", "c"));
        assert_eq!(found, [doc! { "_id": 1 }]);
        drop(served);
        assert_eq!(
            stream.read(&mut [0; 1]).unwrap_or(0),
            0,
            "the connection has ended"
        );
    }
}
