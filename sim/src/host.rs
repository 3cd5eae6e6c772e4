//! Simulated servers on the simulated network: their bytes move in virtual time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mongo_client_driver::Instant;

use crate::{
    Behaviour, Output,
    deployment::Deployment,
    executor::{Event, Sim, lock},
    net::{Peer, PeerOutput, Wire},
};

/// A deployment that listens on a simulation's network. Cheap to clone.
pub struct Hosted<D> {
    sim: Sim,
    shared: Arc<Mutex<Shared<D>>>,
}

impl<D> Clone for Hosted<D> {
    fn clone(&self) -> Self {
        Self {
            sim: self.sim.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

struct Shared<D> {
    deployment: D,
    wires: BTreeMap<u64, Wire>,
    /// The event that wakes the deployment, and when.
    timer: Option<(Instant, u64)>,
    listening: Vec<bool>,
}

impl Sim {
    /// Lets servers listen at their addresses. Their hosts are found by the driver's name lookup,
    /// and told apart by port, so every server needs a port of its own.
    pub fn host<D: Deployment + 'static>(&self, deployment: D) -> Hosted<D> {
        let addresses = deployment.addresses();
        let hosted = Hosted {
            sim: self.clone(),
            shared: Arc::new(Mutex::new(Shared {
                deployment,
                wires: BTreeMap::new(),
                timer: None,
                listening: vec![true; addresses.len()],
            })),
        };
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
}

impl<D: Deployment + 'static> Hosted<D> {
    /// Works on the deployment, at the virtual time, and lets the consequences happen.
    pub fn with<R>(&self, work: impl FnOnce(&mut D, Instant) -> R) -> R {
        let now = self.sim.now();
        let result = work(&mut self.shared().deployment, now);
        self.pump(None);
        result
    }

    fn shared(&self) -> MutexGuard<'_, Shared<D>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
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
            let addresses = shared.deployment.addresses();
            for (server, address) in addresses.into_iter().enumerate() {
                let listens = shared.deployment.listens(server);
                if shared.listening[server] != listens {
                    shared.listening[server] = listens;
                    changed.push((address, listens));
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
