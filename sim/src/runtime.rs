//! The driver's [`Runtime`] over a simulation.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use mongo_client_driver::{
    Instant, UnixMillis,
    runtime::{BoxDatagram, BoxFuture, BoxStream, DialTarget, Job, Runtime, RuntimeGone, Timer},
};

use crate::{
    datagram,
    executor::{Event, Sim, lock},
    machinery::Machinery,
    net::{Behaviour, SharedPipe, SimStream, Wire},
};

/// The wall clock at the zero of the virtual clock: 2026-01-01.
const WALL_EPOCH_MS: i64 = 1_767_225_600_000;

impl Sim {
    /// The runtime to give to a client.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(SimRuntime { sim: self.clone() })
    }
}

struct SimRuntime {
    sim: Sim,
}

impl Runtime for SimRuntime {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn unix_time(&self) -> UnixMillis {
        let millis = i64::try_from(self.sim.now().as_nanos() / 1_000_000).unwrap_or(i64::MAX);
        UnixMillis(WALL_EPOCH_MS + millis)
    }

    fn entropy(&self, out: &mut [u8]) {
        let mut world = lock(&self.sim.world);
        for byte in out {
            *byte = world.rng.next_u64().to_le_bytes()[0];
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        self.sim.spawn_boxed(task)
    }

    fn successor(&self) -> Option<Arc<dyn Runtime>> {
        Some(self.sim.runtime())
    }

    fn offload(&self, job: Job) -> BoxFuture<'static, ()> {
        let sim = self.sim.clone();
        let time = lock(&sim.world).offload;
        if time.is_zero() {
            job();
            return Box::pin(std::future::ready(()));
        }
        Box::pin(async move {
            sim.sleep(time).await;
            job();
        })
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SimTimer {
            sim: self.sim.clone(),
            deadline: Instant::MAX,
            event: None,
        })
    }

    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let found = lock(&self.sim.world)
            .listeners
            .keys()
            .any(|address| address.rsplit_once(':').is_some_and(|(h, _)| h == host));
        // Every host of the simulation is 127.0.0.1; listeners are told apart by port.
        let result = if found {
            Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "no such host"))
        };
        Box::pin(std::future::ready(result))
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>> {
        let sim = self.sim.clone();
        let address = match &target {
            DialTarget::Tcp { address, .. } => address.to_string(),
            DialTarget::Unix(path) => path.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        Box::pin(async move {
            let behaviour = {
                let world = lock(&sim.world);
                find(&world.listeners, &address).map_or(Behaviour::Refuse, |l| l.behaviour)
            };
            match behaviour {
                Behaviour::Hang => std::future::pending().await,
                Behaviour::Refuse => Err(io::ErrorKind::ConnectionRefused.into()),
                Behaviour::Accept => accept(&sim, &address),
            }
        })
    }

    fn datagram(&self, _peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>> {
        Box::pin(std::future::ready(datagram::open(&self.sim)))
    }
}

type Listeners = std::collections::BTreeMap<String, crate::net::Listener>;

/// The listener of an address: by its text, or by its port on any host.
fn find<'a>(listeners: &'a Listeners, address: &str) -> Option<&'a crate::net::Listener> {
    listeners.get(&key(listeners, address)?)
}

fn key(listeners: &Listeners, address: &str) -> Option<String> {
    if listeners.contains_key(address) {
        return Some(address.to_owned());
    }
    let (_, port) = address.rsplit_once(':')?;
    listeners
        .keys()
        .find(|k| k.rsplit_once(':').is_some_and(|(_, p)| p == port))
        .cloned()
}

fn accept(sim: &Sim, address: &str) -> io::Result<BoxStream> {
    let pipe = SharedPipe::new();
    let (accept, id, latency, flow, writable) = {
        let mut world = lock(&sim.world);
        world.connection_ids += 1;
        world.stats.dials += 1;
        let id = world.connection_ids;
        let key = key(&world.listeners, address).ok_or(io::ErrorKind::ConnectionRefused)?;
        let now = world.now;
        let listener = world
            .listeners
            .get_mut(&key)
            .ok_or(io::ErrorKind::ConnectionRefused)?;
        listener.pipes.push(pipe.clone());
        (
            Arc::clone(&listener.accept),
            id,
            listener.latency,
            listener.flow,
            now,
        )
    };
    let wire = Wire {
        sim: sim.clone(),
        pipe,
        latency,
        flow,
    };
    let mut peer = accept(id);
    peer.opened(wire.clone());
    Ok(Box::new(SimStream {
        wire,
        peer,
        writable,
    }))
}

struct SimTimer {
    sim: Sim,
    deadline: Instant,
    event: Option<u64>,
}

impl Timer for SimTimer {
    fn reset(&mut self, deadline: Instant) {
        let _own = Machinery::enter();
        self.deadline = deadline;
        if let Some(event) = self.event.take() {
            lock(&self.sim.world).cancel(event);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _own = Machinery::enter();
        let mut world = lock(&self.sim.world);
        if world.now >= self.deadline {
            return Poll::Ready(());
        }
        if let Some(event) = self.event.take() {
            world.cancel(event);
        }
        // A deadline centuries away is no event: it would keep a deadlock from being seen.
        if self.deadline.saturating_since(world.now) < Duration::from_secs(10 * 365 * 86_400) {
            let event = Event::Wake(cx.waker().clone());
            self.event = Some(world.at(self.deadline, event));
        }
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            lock(&self.sim.world).cancel(event);
        }
    }
}
