//! Simulated servers on the simulated network: their bytes move in virtual time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mongo_client_driver::Instant;

use crate::{
    Behaviour, Output,
    choices::Choices,
    deployment::Deployment,
    executor::{Event, EventId, Sim, lock},
    net::{
        Peer, PeerOutput, Wire,
        fabric::{Ends, Fabric},
        network::{Network, NetworkConfig},
    },
};

/// A deployment that listens on a simulation's network. Cheap to clone.
pub struct Hosted<D> {
    sim: Sim,
    shared: Arc<Mutex<Shared<D>>>,
    /// It is on the network with faults.
    on_fabric: bool,
}

impl<D> Clone for Hosted<D> {
    fn clone(&self) -> Self {
        Self {
            sim: self.sim.clone(),
            shared: Arc::clone(&self.shared),
            on_fabric: self.on_fabric,
        }
    }
}

struct Shared<D> {
    deployment: D,
    wires: BTreeMap<u64, Wire>,
    /// The event that wakes the deployment, and when.
    timer: Option<(Instant, EventId)>,
    addresses: Vec<String>,
    listening: Vec<bool>,
}

impl Sim {
    /// Lets servers listen at their addresses. Their hosts are found by the driver's name lookup,
    /// and told apart by port, so every server needs a port of its own.
    pub fn host<D: Deployment + 'static>(&self, deployment: D) -> Hosted<D> {
        let addresses = deployment.addresses();
        let hosted = Hosted::new(self, deployment, false);
        for (server, address) in addresses.iter().enumerate() {
            let own = hosted.clone();
            self.listen(address, move |connection| {
                Box::new(HostedPeer {
                    hosted: own.clone(),
                    server,
                    connection,
                })
            });
        }
        hosted.pump(None);
        hosted
    }

    /// Lets servers listen on a network on which [`Sim::inject`] lets faults strike. There is one such
    /// network in a simulation: what was hosted on it before is out of reach.
    pub fn host_on<D: Deployment + 'static>(
        &self,
        deployment: D,
        config: NetworkConfig,
        choices: Box<dyn Choices>,
    ) -> Hosted<D> {
        let addresses = deployment.addresses();
        let hosted = Hosted::new(self, deployment, true);
        let ends: Arc<dyn Ends> = Arc::clone(&hosted.shared) as Arc<dyn Ends>;
        let fabric = Fabric::new(&addresses, config, choices, ends);
        lock(&self.world).fabric = Some(fabric);
        self.fabric_collect();
        hosted
    }
}

impl<D: Deployment + 'static> Ends for Mutex<Shared<D>> {
    fn dial(&self, server: usize, connection: u64, now: Instant) -> bool {
        let deployment = &mut locked(self).deployment;
        deployment.listens(server) && deployment.accept(server, connection, now)
    }

    fn receive(&self, connection: u64, bytes: &[u8], now: Instant) {
        locked(self).deployment.receive(connection, bytes, now);
    }

    fn hang_up(&self, connection: u64, now: Instant) {
        locked(self).deployment.hang_up(connection, now);
    }

    fn part(&self, servers: &[usize], now: Instant) {
        locked(self).deployment.part(servers, now);
    }

    fn timeout(&self, now: Instant) {
        locked(self).deployment.handle_timeout(now);
    }

    fn collect(&self, network: &mut Network, now: Instant) -> Option<Instant> {
        let deployment = &mut locked(self).deployment;
        while let Some(output) = deployment.poll_output() {
            match output {
                Output::Bytes(id, bytes) => network.server_send(id, &bytes, now),
                Output::Close(id) => network.server_close(id, false, now),
                Output::Reset(id) => network.server_close(id, true, now),
            }
        }
        deployment.poll_timeout()
    }
}

fn locked<D>(shared: &Mutex<Shared<D>>) -> MutexGuard<'_, Shared<D>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Deployment + 'static> Hosted<D> {
    fn new(sim: &Sim, deployment: D, on_fabric: bool) -> Self {
        let addresses = deployment.addresses();
        Self {
            sim: sim.clone(),
            on_fabric,
            shared: Arc::new(Mutex::new(Shared {
                deployment,
                wires: BTreeMap::new(),
                timer: None,
                listening: vec![true; addresses.len()],
                addresses,
            })),
        }
    }

    /// Works on the deployment, at the virtual time, and lets the consequences happen.
    pub fn with<R>(&self, work: impl FnOnce(&mut D, Instant) -> R) -> R {
        let now = self.sim.now();
        let result = work(&mut self.shared().deployment, now);
        if self.on_fabric {
            self.sim.fabric_collect();
        } else {
            self.pump(None);
        }
        result
    }

    fn shared(&self) -> MutexGuard<'_, Shared<D>> {
        locked(&self.shared)
    }

    /// Carries away what the servers send, and sets the next wake-up. What is for the connection
    /// that is being served goes to `own`, whose pipe is locked.
    fn pump(&self, mut own: Option<(u64, &mut PeerOutput<'_>)>) {
        let mut outputs = Vec::new();
        {
            let mut shared = self.shared();
            while let Some(output) = shared.deployment.poll_output() {
                let connection = match &output {
                    Output::Bytes(connection, _) => *connection,
                    Output::Close(connection) | Output::Reset(connection) => *connection,
                };
                outputs.push((shared.wires.get(&connection).cloned(), connection, output));
            }
            self.arm(&mut shared);
        }
        for (wire, connection, output) in outputs {
            match (&mut own, wire) {
                (Some((id, out)), _) if *id == connection => match output {
                    Output::Bytes(_, bytes) => out.send(&bytes),
                    Output::Close(_) => out.close(),
                    Output::Reset(_) => out.reset(),
                },
                (_, Some(wire)) => match output {
                    Output::Bytes(_, bytes) => wire.send(&bytes),
                    Output::Close(_) => wire.close(),
                    Output::Reset(_) => wire.reset(),
                },
                _ => {}
            }
        }
        self.listen_or_refuse();
    }

    /// Schedules the deployment's next wake-up.
    fn arm(&self, shared: &mut Shared<D>) {
        let due = shared.deployment.poll_timeout();
        if shared.timer.map(|(at, _)| at) == due {
            return;
        }
        let mut world = lock(&self.sim.world);
        if let Some((_, event)) = shared.timer.take() {
            world.cancel(event);
        }
        if let Some(due) = due {
            let own = self.clone();
            let event = world.at(due, Event::Call(Box::new(move || own.wake())));
            shared.timer = Some((due, event));
        }
    }

    fn wake(&self) {
        let now = self.sim.now();
        {
            let mut shared = self.shared();
            shared.timer = None;
            shared.deployment.handle_timeout(now);
        }
        self.pump(None);
    }

    /// Refuses dials to servers that are down. What a test has set stays until a server changes.
    fn listen_or_refuse(&self) {
        let mut changed = Vec::new();
        {
            let mut shared = self.shared();
            for server in 0..shared.addresses.len() {
                let listens = shared.deployment.listens(server);
                if shared.listening[server] != listens {
                    shared.listening[server] = listens;
                    changed.push((shared.addresses[server].clone(), listens));
                }
            }
        }
        for (address, listens) in changed {
            let behaviour = if listens {
                Behaviour::Accept
            } else {
                Behaviour::Refuse
            };
            self.sim.set_behaviour(&address, behaviour);
        }
    }
}

/// The servers' end of one connection.
struct HostedPeer<D: Deployment + 'static> {
    hosted: Hosted<D>,
    server: usize,
    connection: u64,
}

impl<D: Deployment + 'static> Peer for HostedPeer<D> {
    fn opened(&mut self, wire: Wire) {
        let now = self.hosted.sim.now();
        let accepted = {
            let mut shared = self.hosted.shared();
            let accepted = shared.deployment.accept(self.server, self.connection, now);
            if accepted {
                shared.wires.insert(self.connection, wire.clone());
            }
            accepted
        };
        if !accepted {
            wire.reset();
        }
    }

    fn receive(&mut self, bytes: &[u8], out: &mut PeerOutput<'_>) {
        let now = self.hosted.sim.now();
        let mut shared = self.hosted.shared();
        shared.deployment.receive(self.connection, bytes, now);
        drop(shared);
        self.hosted.pump(Some((self.connection, out)));
    }

    fn closed(&mut self) {
        let now = self.hosted.sim.now();
        let mut shared = self.hosted.shared();
        shared.wires.remove(&self.connection);
        shared.deployment.hang_up(self.connection, now);
        drop(shared);
        self.hosted.pump(None);
    }
}
