//! The driver's [`Runtime`] over a simulation.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use mongo_client_core::rng::Rng;
use mongo_client_driver::{
    Instant, UnixMillis,
    runtime::{BoxDatagram, BoxFuture, BoxStream, DialTarget, Job, Runtime, RuntimeGone, Timer},
};

use crate::{
    datagram,
    executor::{Event, EventId, Sim, lock},
    machinery::Machinery,
    net::{Behaviour, SharedPipe, SimStream, Wire, fabric::Fabric, stream::Dial},
};

impl Sim {
    /// The runtime to give to a client.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime_of(0)
    }

    /// The runtime to give to one of several clients: each has a wall clock of its own.
    #[must_use]
    pub fn runtime_of(&self, client: usize) -> Arc<dyn Runtime> {
        Arc::new(SimRuntime {
            sim: self.clone(),
            client,
        })
    }
}

struct SimRuntime {
    sim: Sim,
    client: usize,
}

impl Runtime for SimRuntime {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn unix_time(&self) -> UnixMillis {
        lock(&self.sim.world).clocks(self.client).wall()
    }

    fn entropy(&self, out: &mut [u8]) {
        let mut world = lock(&self.sim.world);
        for chunk in out.chunks_mut(4) {
            // An old replay may have other draws here, and few of them: ids must differ all the same.
            world.entropy_draws += 1;
            let own = Rng::from_seed(world.entropy_draws).next_u64();
            let drawn = world.choices.draw("entropy", 1 << 32) ^ own;
            chunk.copy_from_slice(&drawn.to_le_bytes()[..chunk.len()]);
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        self.sim.spawn_boxed(task)
    }

    fn successor(&self) -> Option<Arc<dyn Runtime>> {
        Some(self.sim.runtime_of(self.client))
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
        let fabric = self.sim.fabric().filter(|fabric| fabric.knows_host(host));
        if let Some(fabric) = fabric {
            let sim = self.sim.clone();
            return Box::pin(async move { sim.look_up(&fabric).await });
        }
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
        if let DialTarget::Tcp { address, .. } = &target
            && let Some(fabric) = sim.fabric()
            && let Some(server) = fabric.server_at(address.port())
        {
            return match dead(address.ip()) {
                None => Box::pin(Dial::new(sim, fabric, server, self.client)),
                Some(true) => {
                    let refused = io::ErrorKind::ConnectionRefused.into();
                    Box::pin(std::future::ready(Err(refused)))
                }
                Some(false) => Box::pin(std::future::pending()),
            };
        }
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

/// Whether nobody is behind an address, and if so, whether its dials are refused.
fn dead(ip: IpAddr) -> Option<bool> {
    match ip {
        IpAddr::V4(ip) if ip.octets()[2] > 0 => Some(ip.octets()[2] == 1),
        _ => None,
    }
}

impl Sim {
    /// Looks a hosted server's name up.
    async fn look_up(&self, fabric: &Fabric) -> io::Result<Vec<IpAddr>> {
        let lookup = self.with_fabric(fabric, |state| {
            let now = state.network.now;
            state.network.look_up(now)
        });
        let wait = lookup.at - self.now();
        if !wait.is_zero() {
            self.sleep(wait).await;
        }
        if !lookup.found {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such host"));
        }
        let kind = if lookup.refused { 1 } else { 2 };
        let dead = (1..).take(usize::try_from(lookup.dead).unwrap_or(0));
        let dead = dead.map(|n| IpAddr::V4(Ipv4Addr::new(127, 0, kind, n)));
        let alive = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Ok(dead.chain([alive]).collect())
    }
}

struct SimTimer {
    sim: Sim,
    deadline: Instant,
    event: Option<EventId>,
}

impl Timer for SimTimer {
    fn reset(&mut self, deadline: Instant) {
        let _own = Machinery::enter();
        if self.deadline == deadline {
            return;
        }
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
            if world.will_wake(event, cx.waker()) {
                self.event = Some(event);
                return Poll::Pending;
            }
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
