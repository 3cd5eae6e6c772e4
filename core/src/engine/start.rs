//! How an engine starts (looking the hosts of `mongodb+srv` up), polls SRV records, and ends.

use std::{sync::Arc, time::Duration};

use super::{
    Command, DnsInput, DnsOutput, Engine, LookupId, OpId, Output, TimerTag,
    ops::{Op, Origin, Wait},
};
use crate::{
    conn::IoFault,
    dns::{DnsAction, DnsFault, Resolver, SrvQuery, SrvRecords},
    error::{Error, ErrorKind, Result},
    id::TopologyId,
    session::end_sessions,
    settings::Settings,
    topology::{Topology, TopologyConfig},
    uri::srv,
};

/// How long shutting down may take.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// How far the engine's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It starts with its first operation.
    Unstarted,
    /// Its hosts are looked up.
    Resolving,
    Running,
    /// The servers are told which sessions have ended.
    Ending,
    /// Monitors and pools are closed; requests that were sent are still answered.
    Closed,
}

/// What exists once the hosts are known.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) settings: Settings,
    pub(super) topology: Topology,
}

/// A lookup under way; there is at most one.
#[derive(Debug)]
pub(super) struct Lookup {
    id: LookupId,
    resolver: Resolver,
    host: String,
    /// Whether the topology asked; otherwise the engine starts with the result.
    polling: bool,
}

impl Engine {
    /// Starts, if it has not.
    pub(super) fn start(&mut self) {
        if self.phase != Phase::Unstarted {
            return;
        }
        if let Some(settings) = self.ready.take() {
            return self.start_topology(settings);
        }
        match srv::query(&self.options) {
            Ok(query) => {
                self.phase = Phase::Resolving;
                self.look_up(query, false);
            }
            Err(error) => self.start_failed(&error),
        }
    }

    fn start_topology(&mut self, settings: Settings) {
        let mut seed = [0; 8];
        self.entropy.fill(&mut seed);
        let seed = u64::from_le_bytes(seed);
        let config = TopologyConfig {
            id: TopologyId(seed),
            rng_seed: seed,
            ..settings.topology.clone()
        };
        let topology = Topology::new(config, self.now);
        self.tables.view = Some(topology.view());
        self.running = Some(Running { settings, topology });
        self.phase = Phase::Running;
        self.with_topology(|_| {});
        for op in self.take_ops(|op| matches!(op.wait, Wait::Start)) {
            self.tables.timers.set(TimerTag::Op(op.id), None);
            self.begin_op(op);
        }
    }

    /// The operations that waited fail; the next one starts anew.
    fn start_failed(&mut self, error: &Error) {
        self.phase = Phase::Unstarted;
        for op in self.take_ops(|op| matches!(op.wait, Wait::Start)) {
            self.finish(op, Err(error.clone()));
        }
    }

    #[expect(clippy::vec_box, reason = "the table holds them boxed")]
    fn take_ops(&mut self, which: impl Fn(&Op) -> bool) -> Vec<Box<Op>> {
        let ids: Vec<OpId> = self
            .ops
            .values()
            .filter(|op| which(op))
            .map(|op| op.id)
            .collect();
        ids.iter().filter_map(|id| self.ops.remove(id)).collect()
    }

    fn look_up(&mut self, query: SrvQuery, polling: bool) {
        self.end_lookup();
        self.lookup_last += 1;
        let host = query.host.clone();
        let config = self.environment.resolver(&self.options);
        self.lookup = Some(Lookup {
            id: LookupId(self.lookup_last),
            resolver: Resolver::new(query, config, &mut *self.entropy, self.now),
            host,
            polling,
        });
        self.step_lookup();
    }

    /// The topology wants to know of new hosts.
    pub(super) fn poll_srv(&mut self) {
        let polling = self.running.as_ref();
        let polling = polling.and_then(|running| running.settings.topology.srv.clone());
        if let Some(polling) = polling {
            let query = SrvQuery::new(polling.host, polling.service).without_txt();
            self.look_up(query, true);
        }
    }

    fn end_lookup(&mut self) {
        if let Some(lookup) = self.lookup.take() {
            self.tables.timers.set(TimerTag::Lookup, None);
            self.tables.outputs.push_back(Output::Dns {
                lookup: lookup.id,
                output: DnsOutput::End,
            });
        }
    }

    /// Does what the resolver wants.
    fn step_lookup(&mut self) {
        let Some(lookup) = &mut self.lookup else {
            return;
        };
        let id = lookup.id;
        let mut outputs = Vec::new();
        let mut done = None;
        while let Some(action) = lookup.resolver.poll_action() {
            match action {
                DnsAction::CloseStream => outputs.push(DnsOutput::CloseStream),
                DnsAction::Done(result) => done = Some(result),
                DnsAction::OpenStream { server } => outputs.push(DnsOutput::OpenStream { server }),
                DnsAction::SendDatagram { server, bytes } => {
                    outputs.push(DnsOutput::SendDatagram { server, bytes });
                }
            }
        }
        let bytes = lookup.resolver.poll_stream_write();
        outputs.extend(bytes.map(|bytes| DnsOutput::WriteStream { bytes }));
        let at = lookup.resolver.poll_timeout();
        self.tables.timers.set(TimerTag::Lookup, at);
        let outputs = outputs
            .into_iter()
            .map(|output| Output::Dns { lookup: id, output });
        self.tables.outputs.extend(outputs);
        if let Some(result) = done {
            self.looked_up(result);
        }
    }

    fn looked_up(&mut self, result: std::result::Result<SrvRecords, DnsFault>) {
        let Some(lookup) = &self.lookup else {
            return;
        };
        let (host, polling) = (lookup.host.clone(), lookup.polling);
        self.end_lookup();
        let records = result.map_err(|fault| srv::lookup_error(&host, &fault));
        if polling {
            let suffix = self.options.srv_allowed_hosts_suffix.as_deref();
            let found = records.map(|records| srv::polled(&host, suffix, records));
            let now = self.now;
            self.with_topology(|t| t.handle_srv(found, now));
        } else if let Err(error) = records.and_then(|records| self.resolved(&records)) {
            self.start_failed(&error);
        }
    }

    fn resolved(&mut self, records: &SrvRecords) -> Result<()> {
        let (mut options, warnings) = srv::apply(self.options.clone(), records, &mut self.rng)?;
        options.warnings.extend(warnings);
        let clock = Arc::clone(&self.wall_clock);
        let mut settings = Settings::new(&options, &self.environment, clock)?;
        settings.set_srv_ttl(records.min_ttl);
        self.options = options;
        self.start_topology(settings);
        Ok(())
    }

    pub(super) fn dns_input(&mut self, id: LookupId, input: DnsInput<'_>) {
        let now = self.now;
        let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.id == id) else {
            return;
        };
        let resolver = &mut lookup.resolver;
        match input {
            DnsInput::Datagram { from, bytes } => resolver.handle_datagram(from, bytes, now),
            DnsInput::Fault { server, message } => resolver.handle_fault(server, message, now),
            DnsInput::StreamBytes(bytes) => resolver.handle_stream_bytes(bytes, now),
            DnsInput::StreamOpened => resolver.handle_stream_opened(now),
        }
        self.step_lookup();
    }

    pub(super) fn lookup_timeout(&mut self) {
        let now = self.now;
        if let Some(lookup) = &mut self.lookup {
            lookup.resolver.handle_timeout(now);
            self.step_lookup();
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        match self.phase {
            Phase::Ending | Phase::Closed => Err(Error::new(ErrorKind::Shutdown)),
            _ => Ok(()),
        }
    }

    /// Begins to end: the servers are told which sessions have ended, then all is closed.
    pub(super) fn end(&mut self) {
        if self.check_open().is_err() {
            return;
        }
        let limit = self.now + SHUTDOWN_LIMIT;
        if self.phase != Phase::Running {
            return self.close();
        }
        self.phase = Phase::Ending;
        self.end_pins();
        self.tables.timers.set(TimerTag::Shutdown, Some(limit));
        for ids in self.sessions.pool.drain_ids() {
            self.background(Command::new(end_sessions(&ids)), Origin::EndSessions);
        }
    }

    /// Submits an operation of the engine's own; its result concerns nobody.
    pub(super) fn background(&mut self, command: Command, origin: Origin) {
        let command = command.with_deadline(self.now + SHUTDOWN_LIMIT);
        let id = self.next_op();
        self.background += 1;
        self.begin_op(Op::new(id, command, origin));
    }

    /// Closes, once the servers were told of the sessions; whether anything was done.
    pub(super) fn end_if_ready(&mut self) -> bool {
        if self.phase == Phase::Ending
            && !self.ops.values().any(|op| op.origin == Origin::EndSessions)
        {
            self.close();
            return true;
        }
        if self.is_closed() {
            self.tables.timers.clear();
        }
        false
    }

    /// Ends monitors and pools. Whoever waits for a server or a connection fails; requests under
    /// way are still answered.
    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.end_lookup();
        let now = self.now;
        self.with_topology(|t| t.close(now));
        let idle = |op: &Op| !matches!(op.wait, Wait::Exchange { .. } | Wait::Ticket { .. });
        for op in self.take_ops(idle) {
            self.finish(op, Err(Error::new(ErrorKind::Shutdown)));
        }
    }

    /// Shutting down has taken too long: whatever is left ends here.
    pub(super) fn shutdown_timeout(&mut self) {
        if self.phase == Phase::Ending {
            self.close();
        }
        if self.phase != Phase::Closed {
            return;
        }
        for mut op in self.take_ops(|_| true) {
            self.cut_off(&mut op);
            self.finish(op, Err(Error::new(ErrorKind::Shutdown)));
        }
        let now = self.now;
        let sockets: Vec<_> = self.tables.sockets.keys().copied().collect();
        for socket in sockets {
            self.with_conn(socket, |conn| conn.handle_fault(IoFault::Interrupted, now));
        }
    }
}
