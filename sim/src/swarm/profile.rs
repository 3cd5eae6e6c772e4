//! The profiles: how a plan is drawn.

use std::{fmt, str::FromStr, time::Duration};

use mongo_client_core::options::Compressor;

use super::{
    observe::OpKind,
    plan::{Mode, Plan, Rate, Topology},
};
use crate::{FaultKind, Nature, NetworkConfig, choices::Choices};

/// The faults of servers and clocks.
pub const SET_FAULTS: &[&str] = &[
    "step-down",
    "kill-primary",
    "kill-secondary",
    "isolate-primary",
    "split-set",
    "slow-secondary",
    "fail-command",
    "close-on-command",
    "slow-command",
    "odd-reply",
];

/// The faults that are drawn after all others, so that replays that were kept before have none of
/// them.
pub const LATER_FAULTS: &[&str] = &[
    "kill-router",
    "runtime-death",
    "short-reads",
    "srv-changed",
    "srv-refused",
    "srv-silent",
    "srv-ttl",
    "swizzle-clog",
    "long-replies",
];

/// The names of all faults.
pub fn all_faults() -> impl Iterator<Item = &'static str> {
    let network = FaultKind::ALL.iter().map(|kind| kind.name());
    let of_servers = SET_FAULTS.iter().chain(LATER_FAULTS).copied();
    of_servers.chain(network)
}

/// A named way to draw plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// No faults.
    Calm,
    /// Wall clocks that drift, step and freeze.
    ClockChaos,
    /// Elections, step-downs, crashes and partitions, one after the other.
    FailoverStorm,
    /// A near network that resets, refuses and delays.
    FlakyLan,
    /// Corrupt bytes.
    HostileBytes,
    /// Everything is drawn: the default.
    Swarm,
    /// Pools of a few connections under many operations.
    TinyPool,
    /// A far network: long and varying ways.
    Wan,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 8] = [
        Self::Calm,
        Self::ClockChaos,
        Self::FailoverStorm,
        Self::FlakyLan,
        Self::HostileBytes,
        Self::Swarm,
        Self::TinyPool,
        Self::Wan,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::ClockChaos => "clock-chaos",
            Self::FailoverStorm => "failover-storm",
            Self::FlakyLan => "flaky-lan",
            Self::HostileBytes => "hostile-bytes",
            Self::Swarm => "swarm",
            Self::TinyPool => "tiny-pool",
            Self::Wan => "wan",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|p| p.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            format!("no profile `{name}`; there are {}", names.join(", "))
        })
    }
}

/// Draws of the shapes that plans need.
struct Draws<'a>(&'a mut dyn Choices);

impl Draws<'_> {
    fn between(&mut self, label: &'static str, from: u64, to: u64) -> u64 {
        from + self.0.draw(label, to - from + 1)
    }

    fn one_in(&mut self, label: &'static str, n: u64) -> bool {
        self.0.draw(label, n) == 0
    }

    fn of<T: Copy>(&mut self, label: &'static str, all: &[T]) -> T {
        all[self.0.draw(label, all.len() as u64) as usize]
    }

    fn ms(&mut self, label: &'static str, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(label, from, to))
    }

    /// Small and large numbers are equally likely by their number of bits.
    fn log(&mut self, label: &'static str, from: u64, to: u64) -> u64 {
        let doublings = (to / from.max(1)).max(1).ilog2();
        let low = from << self.0.draw(label, u64::from(doublings) + 1);
        self.between(label, low, (low * 2 - 1).clamp(low, to.max(low)))
    }
}

pub(super) fn draw(seed: u64, profile: Profile, mode: Mode, choices: &mut dyn Choices) -> Plan {
    let mut d = Draws(choices);
    // What the swarm draws of itself is everything but corrupt bytes, under which little can be
    // asked of a client: they have some runs of their own.
    let hostile = d.one_in("hostile?", 16) && profile == Profile::Swarm;
    let mut plan = base(seed, profile, mode, &mut d);
    plan.mix = mix(&mut d);
    let of = if hostile {
        Profile::HostileBytes
    } else {
        profile
    };
    plan.faults = faults(of, &mut d);
    match profile {
        Profile::Calm => plan.drops = 0,
        Profile::FailoverStorm => {
            plan.topology = Topology::Set(d.of("storm members", &[3, 5]));
            // Only a server by itself can be old.
            plan.old = false;
        }
        Profile::TinyPool => {
            plan.max_pool_size = d.between("tiny pool", 1, 3) as u32;
            plan.min_pool_size = plan.min_pool_size.min(plan.max_pool_size);
            plan.concurrency = d.between("tiny pool operations", 20, 200) as usize;
            plan.pace = Duration::from_millis(50);
        }
        Profile::Wan => {
            plan.latency_min = d.ms("wan latency", 20, 150);
            plan.latency_mean = d.ms("wan jitter", 5, 100);
            // A handshake takes several ways there and back.
            plan.connect_timeout = plan.connect_timeout.max(Duration::from_secs(8));
            plan.socket_timeout = plan.socket_timeout.map(|t| t.max(Duration::from_secs(5)));
            plan.selection_timeout = plan.selection_timeout.max(Duration::from_secs(10));
        }
        Profile::ClockChaos | Profile::FlakyLan | Profile::HostileBytes | Profile::Swarm => {}
    }
    later(&mut plan, of, &mut d);
    if plan.is_hostile() {
        // A corrupted length announces bytes that never come: only a time limit ends that.
        plan.socket_timeout.get_or_insert(Duration::from_secs(5));
    }
    plan
}

fn base(seed: u64, profile: Profile, mode: Mode, d: &mut Draws<'_>) -> Plan {
    let topology = match d.0.draw("topology", 8) {
        0 => Topology::Standalone,
        1 => Topology::Set(1),
        2 | 3 => Topology::Set(5),
        _ => Topology::Set(3),
    };
    let max_pool_size = d.log("maxPoolSize", 1, 100) as u32;
    let min_pool_size = if d.one_in("minPoolSize?", 3) {
        d.between("minPoolSize", 1, u64::from(max_pool_size.min(8))) as u32
    } else {
        0
    };
    // Together with a minimum, it would open and close connections for ever.
    let max_idle_time = (min_pool_size == 0 && d.one_in("maxIdleTime?", 3))
        .then(|| d.ms("maxIdleTime", 100, 20_000));
    let old = topology.servers() == 1 && d.one_in("old", 3);
    Plan {
        seed,
        profile,
        mode,
        topology,
        old,
        small_messages: false,
        odd_seeds: d.one_in("odd seeds", 6) && matches!(topology, Topology::Set(_)),
        auth: d.one_in("auth", 5) && !old,
        compressor: None,
        window: NetworkConfig::default().window,
        srv: false,
        election_timeout: d.ms("election timeout", 1_000, 10_000),
        lag: d.ms("lag", 1, 200),
        latency_min: Duration::from_micros(d.log("latency", 50, 20_000)),
        latency_mean: Duration::from_micros(d.log("jitter", 10, 10_000)),
        max_pool_size,
        min_pool_size,
        max_connecting: d.between("maxConnecting", 1, 4) as u32,
        max_idle_time,
        wait_queue_timeout: d
            .one_in("waitQueueTimeout?", 2)
            .then(|| d.ms("waitQueueTimeout", 20, 10_000)),
        heartbeat: d.ms("heartbeat", 500, 10_000),
        streaming: d.one_in("streaming", 2),
        retry_reads: !d.one_in("retryReads", 4),
        retargeting: d.one_in("retargeting", 2),
        retry_writes: !d.one_in("retryWrites", 4),
        connect_timeout: d.ms("connectTimeout", 500, 10_000),
        // Without it silence lasts for ever, so it is the rule.
        socket_timeout: (!d.one_in("socketTimeout?", 6))
            .then(|| d.ms("socketTimeout", 1_000, 20_000)),
        selection_timeout: d.ms("serverSelectionTimeout", 500, 30_000),
        local_threshold: d.ms("localThreshold", 0, 30),
        clients: d.of("clients", &[1, 1, 1, 2, 3]),
        concurrency: d.log("concurrency", 1, 200) as usize,
        pace: Duration::from_millis(d.log("pace", 20, 2_000)),
        mix: Vec::new(),
        drops: d.of("drops", &[0, 3, 10, 30]),
        deadlines: d.of("deadlines", &[0, 0, 3, 10]),
        yields: d.of("yields", &[0, 0, 4, 16, 64]),
        let_go: d.one_in("let go", 4),
        faults: Vec::new(),
        safety: Duration::from_secs(d.between("safety", 60, 240)),
    }
}

/// What plans did not always have is drawn last, and 0 stands for how it was before: so the replays
/// that were kept then are what they were, with zeros at the end of this stream.
fn later(plan: &mut Plan, of: Profile, d: &mut Draws<'_>) {
    let routers = d.of("routers", &[0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    let has_routers = routers > 0 && plan.topology.members() > 1;
    let srv = d.0.draw("srv", 2) == 1;
    let compressors = [
        None,
        None,
        None,
        None,
        Some(Packed::Snappy),
        Some(Packed::Zlib),
    ];
    plan.compressor = d.of("compressor", &compressors).and_then(Packed::option);
    // The buffer of a socket may be smaller than a request.
    plan.window = match d.0.draw("window", 6) {
        5 => d.log("window size", 128, 4_096) as usize,
        _ => plan.window,
    };
    if has_routers {
        plan.topology = Topology::Routers(routers);
        plan.odd_seeds = false;
        plan.srv = srv;
    }
    plan.small_messages = d.0.draw("small messages", 8) == 1 && plan.topology.servers() > 1;
    for kind in LATER_FAULTS {
        let drawn = d.0.draw("later fault", 2) == 1;
        // Few plans have SRV records, so they have more of these.
        let of_names = kind.starts_with("srv-");
        let every = d.log("later fault", 8, if of_names { 32 } else { 256 });
        if drawn && is_possible(kind, plan) && wanted(of, kind).unwrap_or(true) {
            let every = Duration::from_secs(every);
            plan.faults.push(Rate { kind, every });
        }
    }
}

/// Whether there is something that a fault can strike.
fn is_possible(kind: &str, plan: &Plan) -> bool {
    match kind {
        "kill-router" => matches!(plan.topology, Topology::Routers(_)),
        "runtime-death" | "short-reads" => plan.mode == Mode::Driver,
        "srv-changed" | "srv-refused" | "srv-silent" | "srv-ttl" => plan.srv,
        _ => true,
    }
}

/// A compressor, if it is built in.
#[derive(Clone, Copy)]
enum Packed {
    Snappy,
    Zlib,
}

impl Packed {
    fn option(self) -> Option<Compressor> {
        match self {
            Self::Snappy => cfg!(feature = "snappy").then_some(Compressor::Snappy),
            Self::Zlib => cfg!(feature = "zlib").then_some(Compressor::Zlib { level: None }),
        }
    }
}

fn mix(d: &mut Draws<'_>) -> Vec<(OpKind, u64)> {
    let mut mix: Vec<(OpKind, u64)> = OpKind::ALL
        .into_iter()
        .map(|kind| {
            let weight = if d.one_in("mix?", 2) {
                d.log("mix", 1, 32)
            } else {
                0
            };
            (kind, weight)
        })
        .collect();
    if mix.iter().all(|(_, weight)| *weight == 0) {
        mix = vec![(OpKind::Insert, 1), (OpKind::Find, 1)];
    }
    mix
}

/// Whether a profile has a fault: `None` leaves it to the draw.
fn wanted(profile: Profile, kind: &str) -> Option<bool> {
    let among = |kinds: &[FaultKind]| kinds.iter().any(|k| k.name() == kind);
    let network = FaultKind::from_name(kind);
    let clock = network.is_some_and(|k| k.nature() == Nature::Clock);
    match profile {
        Profile::Calm => Some(false),
        Profile::ClockChaos => Some(clock || kind == "step-down"),
        Profile::FailoverStorm => Some(network.is_none() && kind != "runtime-death"),
        Profile::FlakyLan => Some(among(LAN)),
        Profile::HostileBytes => Some(among(&[FaultKind::CorruptByte, FaultKind::Resegment])),
        Profile::Wan if among(WAN) => Some(true),
        _ if kind == FaultKind::CorruptByte.name() => Some(false),
        Profile::Swarm | Profile::TinyPool | Profile::Wan => None,
    }
}

/// What happens in a near network.
const LAN: &[FaultKind] = &[
    FaultKind::AcceptSilence,
    FaultKind::ConnectHang,
    FaultKind::FinBetweenFrames,
    FaultKind::FinInFrame,
    FaultKind::PartialWrites,
    FaultKind::Refuse,
    FaultKind::Resegment,
    FaultKind::Reset,
    FaultKind::ResetInReply,
    FaultKind::ResetInRequest,
    FaultKind::Unreachable,
];

/// What happens on long ways.
const WAN: &[FaultKind] = &[
    FaultKind::BlackHole,
    FaultKind::Clog,
    FaultKind::DnsSlow,
    FaultKind::SlowLink,
    FaultKind::Trickle,
];

fn faults(profile: Profile, d: &mut Draws<'_>) -> Vec<Rate> {
    let mut rates = Vec::new();
    let network = FaultKind::ALL.iter().map(|kind| kind.name());
    for kind in SET_FAULTS.iter().copied().chain(network) {
        // Drawn also where the profile knows, so that the rest of the plan is the same.
        let drawn = d.one_in("fault?", 2);
        let every = d.log("fault", 8, 1_024);
        if wanted(profile, kind).unwrap_or(drawn) {
            let every = match profile {
                Profile::Swarm => every,
                _ => every / 8 + 3,
            };
            let every = Duration::from_secs(every);
            rates.push(Rate { kind, every });
        }
    }
    rates
}
