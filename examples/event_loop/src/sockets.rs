//! A [`Host`] of real sockets, with the `polling` crate to wait for them.
//!
//! Connecting has three parts: the name is looked up on a thread, because the system's lookup
//! blocks; then the addresses are tried, one at a time; and a connection that the system is making
//! shows by its socket becoming writable. There is no timer here: the engine has a deadline for each
//! connection that it wants, and closes it when that is over.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, IoSlice, Read},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{self, Duration},
};

use mongo_client_core::{
    engine::{OpenError, SocketId, interleave},
    net::ServerAddress,
    time::Instant,
};
use polling::{Event, Events, Poller};
use socket2::{Domain, Protocol, Socket, Type};

use crate::event_loop::{Host, Ready};

/// What became of looking a name up.
type Lookup = (SocketId, io::Result<Vec<IpAddr>>);

/// The sockets of an engine.
pub struct Sockets {
    epoch: time::Instant,
    poller: Arc<Poller>,
    events: Events,
    sockets: BTreeMap<SocketId, Entry>,
    /// Reports that need no waiting.
    pending: Vec<Ready>,
    lookups: (Sender<Lookup>, Receiver<Lookup>),
}

struct Entry {
    port: u16,
    keep_alive: bool,
    state: State,
}

enum State {
    LookingUp,
    Connecting {
        socket: Socket,
        /// The addresses that are left to try.
        others: VecDeque<IpAddr>,
    },
    Open {
        socket: Socket,
        /// Whether the last write found no room.
        full: bool,
    },
}

impl Sockets {
    /// No sockets, and a poller for those to come.
    ///
    /// # Errors
    ///
    /// When the system has no poller left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoch: time::Instant::now(),
            poller: Arc::new(Poller::new()?),
            events: Events::new(),
            sockets: BTreeMap::new(),
            pending: Vec::new(),
            lookups: mpsc::channel(),
        })
    }

    /// Tries addresses until one of them can at least be tried.
    ///
    /// A program that cares for hosts with one dead address starts the next one 250 ms after the
    /// last, and takes the first that answers (RFC 8305).
    fn connect(&mut self, id: SocketId, mut others: VecDeque<IpAddr>, mut last: io::Error) {
        let Some(entry) = self.sockets.get_mut(&id) else {
            return;
        };
        while let Some(ip) = others.pop_front() {
            match begin(SocketAddr::new(ip, entry.port), entry.keep_alive) {
                Ok(socket) => match watch(&self.poller, &socket, id) {
                    Ok(()) => {
                        entry.state = State::Connecting { socket, others };
                        return;
                    }
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        self.sockets.remove(&id);
        let failed = Ready::OpenFailed(id, OpenError::Connect(last));
        self.pending.push(failed);
    }

    fn looked_up(&mut self, id: SocketId, result: io::Result<Vec<IpAddr>>) {
        // Closed in the meantime.
        if !self.sockets.contains_key(&id) {
            return;
        }
        match result {
            Ok(ips) => {
                let none = io::Error::other("the host has no address");
                self.connect(id, interleave(&ips).into(), none);
            }
            Err(error) => {
                self.sockets.remove(&id);
                let failed = Ready::OpenFailed(id, OpenError::Lookup(error));
                self.pending.push(failed);
            }
        }
    }

    /// A socket that the poller knows can be read or written.
    fn woken(&mut self, event: Event) {
        let id = SocketId(u64::try_from(event.key).unwrap_or(u64::MAX));
        let Some(entry) = self.sockets.get_mut(&id) else {
            return;
        };
        match &mut entry.state {
            State::LookingUp => {}
            State::Connecting { socket, others } => match connected(socket) {
                // Not yet: the poller is asked again before the next wait.
                Ok(false) => {}
                Ok(true) => {
                    let State::Connecting { socket, .. } =
                        std::mem::replace(&mut entry.state, State::LookingUp)
                    else {
                        return;
                    };
                    let full = false;
                    entry.state = State::Open { socket, full };
                    self.pending.push(Ready::Opened(id));
                }
                Err(error) => {
                    // It goes out of the poller before it is closed.
                    let _ = self.poller.delete(&*socket);
                    let others = std::mem::take(others);
                    self.connect(id, others, error);
                }
            },
            State::Open { full, .. } => {
                // In this order, so that a reply is read before the next request is written.
                if event.readable {
                    self.pending.push(Ready::Readable(id));
                }
                if event.writable && *full {
                    *full = false;
                    self.pending.push(Ready::Writable(id));
                }
            }
        }
    }

    /// Asks the poller for everything: it forgets a socket once it has reported it.
    fn arm(&self) -> io::Result<()> {
        for (id, entry) in &self.sockets {
            let key = key(*id);
            match &entry.state {
                State::LookingUp => {}
                State::Connecting { socket, .. } => {
                    self.poller.modify(socket, Event::writable(key))?;
                }
                State::Open { socket, full: true } => {
                    self.poller.modify(socket, Event::all(key))?;
                }
                State::Open { socket, .. } => {
                    self.poller.modify(socket, Event::readable(key))?;
                }
            }
        }
        Ok(())
    }
}

impl Host for Sockets {
    fn now(&self) -> Instant {
        let nanos = self.epoch.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn open(&mut self, id: SocketId, address: &ServerAddress, keep_alive: bool) {
        let entry = Entry {
            port: address.port().unwrap_or(27_017),
            keep_alive,
            state: State::LookingUp,
        };
        let port = entry.port;
        self.sockets.insert(id, entry);
        let host = address.host().into_owned();
        if let Ok(ip) = host.parse() {
            return self.looked_up(id, Ok(vec![ip]));
        }
        let (found, poller) = (self.lookups.0.clone(), Arc::clone(&self.poller));
        thread::spawn(move || {
            let ips = (host, port)
                .to_socket_addrs()
                .map(|all| all.map(|address| address.ip()).collect());
            // Nobody listens any more when the program is over.
            let _ = found.send((id, ips));
            let _ = poller.notify();
        });
    }

    fn close(&mut self, id: SocketId) {
        let Some(entry) = self.sockets.remove(&id) else {
            return;
        };
        if let State::Connecting { socket, .. } | State::Open { socket, .. } = entry.state {
            // It goes out of the poller before it is closed.
            let _ = self.poller.delete(&socket);
        }
    }

    fn read(&mut self, id: SocketId, space: &mut [u8]) -> io::Result<usize> {
        match self.sockets.get_mut(&id).map(|entry| &mut entry.state) {
            Some(State::Open { socket, .. }) => socket.read(space),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, id: SocketId, slices: &[&[u8]]) -> io::Result<usize> {
        let Some(State::Open { socket, full }) =
            self.sockets.get_mut(&id).map(|entry| &mut entry.state)
        else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let written = socket.send_vectored(&slices);
        *full = matches!(&written, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        written
    }

    fn wait(&mut self, until: Option<Instant>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.append(&mut self.pending);
        let time = if ready.is_empty() {
            until.map(|until| until - self.now())
        } else {
            Some(Duration::ZERO)
        };
        self.arm()?;
        self.events.clear();
        match self.poller.wait(&mut self.events, time) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        while let Ok((id, result)) = self.lookups.1.try_recv() {
            self.looked_up(id, result);
        }
        let events: Vec<Event> = self.events.iter().collect();
        for event in events {
            self.woken(event);
        }
        ready.append(&mut self.pending);
        Ok(())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        while let Some((&id, _)) = self.sockets.first_key_value() {
            self.close(id);
        }
    }
}

fn key(id: SocketId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX - 1)
}

/// Begins to connect without waiting for it.
fn begin(address: SocketAddr, keep_alive: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // Requests leave in one piece; waiting for more of them only delays the server.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(keep_alive)?;
    match socket.connect(&address.into()) {
        Err(error) if !is_in_progress(&error) => Err(error),
        _ => Ok(socket),
    }
}

/// `EINPROGRESS`, for which the standard library has no stable name; Windows says it otherwise.
fn is_in_progress(error: &io::Error) -> bool {
    const LINUX: i32 = 115;
    const BSD: i32 = 36;
    let code = if cfg!(target_os = "linux") {
        LINUX
    } else {
        BSD
    };
    error.raw_os_error() == Some(code) || error.kind() == io::ErrorKind::WouldBlock
}

/// Whether a socket is connected by now, or why it will not be.
fn connected(socket: &Socket) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

#[expect(
    unsafe_code,
    reason = "the poller keeps the socket's descriptor, not the socket"
)]
fn watch(poller: &Poller, socket: &Socket, id: SocketId) -> io::Result<()> {
    // SAFETY: a socket that was added is only dropped after `Poller::delete`: in `Sockets::close`,
    // which `Drop` calls for all, and in `Sockets::woken` when connecting failed.
    unsafe { poller.add(socket, Event::none(key(id))) }
}
