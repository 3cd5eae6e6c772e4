//! The faults of networks, names and clocks: what there is, and what one fault is.
//!
//! A kind either strikes once (a reset) or lasts (a black hole); [`Fault::draw`] makes one with sizes
//! that are worth having. Faults of servers (step-downs, crashes) are commands to the servers.

use std::{fmt, time::Duration};

use crate::choices::Choices;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal $nature:ident;)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)*
        }

        impl FaultKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// What it strikes, and whether it lasts.
            #[must_use]
            pub fn nature(self) -> Nature {
                match self {
                    $(Self::$kind => Nature::$nature,)*
                }
            }
        }
    };
}

/// What a fault strikes, and whether it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// A clock of a client, from then on.
    Clock,
    /// The way to servers, for a time.
    Lasting,
    /// The looking-up of names, for a time.
    Names,
    /// The connections that servers have at that moment.
    Once,
}

kinds! {
    /// The server takes connections and then says nothing.
    AcceptSilence "accept-silence" Lasting;
    /// Nothing gets through in either direction, dials included.
    BlackHole "black-hole" Lasting;
    /// What the server sends does not get through.
    BlackHoleToClient "black-hole-to-client" Lasting;
    /// What the client sends does not get through.
    BlackHoleToServer "black-hole-to-server" Lasting;
    /// The wall clock runs too fast or too slow.
    ClockDrift "clock-drift" Clock;
    /// The wall clock stands still.
    ClockFrozen "clock-frozen" Clock;
    /// The wall clock is set back.
    ClockStepBack "clock-step-back" Clock;
    /// The wall clock is set forward.
    ClockStepForward "clock-step-forward" Clock;
    /// Everything is held up, and then comes at once.
    Clog "clog" Lasting;
    /// Dials have no end.
    ConnectHang "connect-hang" Lasting;
    /// A byte of what the server sends is another one. This is not what TCP does: it tests parsers.
    CorruptByte "corrupt-byte" Once;
    /// The name does not exist.
    DnsNotFound "dns-not-found" Names;
    /// Names have several addresses, of which only one works.
    DnsSeveral "dns-several" Names;
    /// Names are found late.
    DnsSlow "dns-slow" Names;
    /// The server ends its side between two messages.
    FinBetweenFrames "fin-between-frames" Once;
    /// The server ends its side within a message.
    FinInFrame "fin-in-frame" Once;
    /// The client is cut off from some servers, which reach each other.
    Partition "partition" Lasting;
    /// The same for servers among themselves: these on one side, the others on the other.
    PartitionServers "partition-servers" Lasting;
    /// Some servers do not reach the client, which reaches them.
    PartitionToClient "partition-to-client" Lasting;
    /// The client does not reach some servers, which reach it.
    PartitionToServer "partition-to-server" Lasting;
    /// The client's end of a connection takes only a part of what is written at once.
    PartialWrites "partial-writes" Lasting;
    /// Dials are refused.
    Refuse "refuse" Lasting;
    /// Bytes come in other pieces than they were sent in, down to single ones.
    Resegment "resegment" Lasting;
    /// Connections are reset.
    Reset "reset" Once;
    /// Connections are reset after the client has got some more bytes.
    ResetInReply "reset-in-reply" Once;
    /// Connections are reset after the server has got some more bytes.
    ResetInRequest "reset-in-request" Once;
    /// Little gets through in a second.
    SlowLink "slow-link" Lasting;
    /// A byte in a millisecond.
    Trickle "trickle" Lasting;
    /// Dials fail after a while.
    Unreachable "unreachable" Lasting;
}

impl FaultKind {
    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Which servers it strikes, by their places in
    /// [`Deployment::addresses`](crate::Deployment::addresses); none: all.
    pub servers: Vec<usize>,
    /// How long it lasts, for the kinds that do and for clocks that stand or drift.
    pub lasts: Duration,
    /// How much of it. Bytes until the end (`reset-in-*`); milliseconds (`unreachable`, `dns-slow`, and
    /// steps of clocks); parts per million (`clock-drift`; above one million the clock is slow by what
    /// exceeds it); bytes in a second (`slow-link`); the number of dead addresses (`dns-several`); the
    /// greatest piece (`resegment`, `partial-writes`).
    pub size: u64,
    /// The client whose clock it is; other kinds strike all clients.
    pub client: usize,
}

impl Fault {
    /// A fault of middle size that strikes all servers for five seconds.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        let size = match kind {
            FaultKind::ResetInReply | FaultKind::ResetInRequest => 30,
            FaultKind::Unreachable => 2_000,
            FaultKind::DnsSlow => 3_000,
            FaultKind::ClockStepBack | FaultKind::ClockStepForward => 3_600_000,
            FaultKind::ClockDrift => 500,
            FaultKind::SlowLink => 2_000,
            FaultKind::DnsSeveral => 2,
            FaultKind::Resegment | FaultKind::PartialWrites => 64,
            _ => 0,
        };
        Self {
            kind,
            servers: Vec::new(),
            lasts: Duration::from_secs(5),
            size,
            client: 0,
        }
    }

    /// Draws how much and how long.
    pub fn draw(kind: FaultKind, choices: &mut dyn Choices) -> Self {
        let mut fault = Self::new(kind);
        // Exponents are drawn before numbers, so that small ones are as likely as great ones.
        let mut exponential = |label, most: u64| {
            let bits = choices.draw(label, u64::from(most.ilog2()) + 1);
            (1 << bits) + choices.draw(label, 1 << bits)
        };
        fault.lasts = Duration::from_millis(exponential("fault lasts", 16_384));
        let most = match kind {
            FaultKind::ResetInReply | FaultKind::ResetInRequest => 512,
            FaultKind::Unreachable | FaultKind::DnsSlow => 8_192,
            FaultKind::ClockStepBack | FaultKind::ClockStepForward => 1 << 31,
            FaultKind::ClockDrift => 1 << 20,
            FaultKind::SlowLink => 1 << 16,
            FaultKind::DnsSeveral => 2,
            FaultKind::Resegment | FaultKind::PartialWrites => 256,
            _ => return fault,
        };
        fault.size = exponential("fault size", most);
        fault
    }

    /// Strikes these servers only.
    #[must_use]
    pub fn on(mut self, servers: impl IntoIterator<Item = usize>) -> Self {
        self.servers = servers.into_iter().collect();
        self
    }

    /// Lasts so long.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        self.lasts = time;
        self
    }

    /// Is so great.
    #[must_use]
    pub fn sized(mut self, size: u64) -> Self {
        self.size = size;
        self
    }

    /// Strikes the clock of this client.
    #[must_use]
    pub fn of_client(mut self, client: usize) -> Self {
        self.client = client;
        self
    }

    pub(crate) fn strikes(&self, server: usize) -> bool {
        self.servers.is_empty() || self.servers.contains(&server)
    }
}

/// How often each kind took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCounts(Vec<u64>);

impl Default for FaultCounts {
    fn default() -> Self {
        Self(vec![0; FaultKind::ALL.len()])
    }
}

impl FaultCounts {
    pub(crate) fn add(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }

    /// How often a kind took effect.
    #[must_use]
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// All kinds, and how often each took effect.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> + '_ {
        FaultKind::ALL.iter().copied().zip(self.0.iter().copied())
    }

    /// Adds the counts of another run.
    pub fn extend(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }
}
