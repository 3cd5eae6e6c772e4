//! Server selection (specification: "Server Selection"): which server an operation goes to.
//!
//! [`select`] is a pure function of an immutable view; waiting and retrying are the caller's. The
//! order is fixed: wire compatibility, validity of the read preference, deprioritised servers, mode,
//! staleness, tag sets, latency window, and at last the less loaded of two random servers.
//!
//! Nothing is allocated: the servers are walked once per question ("which tag set?", "how many in
//! the window?"), which is cheap for as many servers as a deployment has.

mod describe;
mod staleness;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use self::describe::describe_failure;
use crate::{
    error::{Error, ErrorKind},
    id::ServerId,
    net::ServerAddress,
    op::{Target, concern::OUTPUT_WIRE_VERSION},
    read_preference::{ReadPreference, ReadPreferenceOptions, TagSet},
    rng::Rng,
    topology::{ServerDescription, ServerType, TopologyDescription, TopologyType, TopologyView},
};

/// What a server must be.
#[derive(Clone, Debug)]
pub struct Criteria {
    /// What the operation asks for.
    pub target: Target,
    /// Servers that are only taken if no other suits: earlier attempts failed there.
    pub deprioritized: Vec<ServerAddress>,
}

impl Criteria {
    /// Criteria without deprioritised servers.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            deprioritized: Vec::new(),
        }
    }
}

/// The result of one pass over a view.
#[must_use]
#[derive(Clone, Debug)]
pub enum Selection {
    /// This client cannot talk to the deployment: wire versions.
    Incompatible(Error),
    /// The read preference cannot be used: its maximum staleness is too small.
    Invalid(Error),
    /// No server suits at present.
    None,
    /// A server.
    Server {
        /// The server.
        id: ServerId,
        /// What is known of it.
        server: Arc<ServerDescription>,
        /// The type of the deployment.
        topology_type: TopologyType,
    },
}

/// Selects a server.
///
/// `load` tells how many operations are in progress on a server.
pub fn select(
    view: &TopologyView,
    criteria: &Criteria,
    load: impl Fn(ServerId) -> u32,
    rng: &mut Rng,
) -> Selection {
    let (target, skip) = (&criteria.target, criteria.deprioritized.as_slice());
    select_with(view, target, skip, load, |below| rng.below(below))
}

/// As [`select`], with the criteria by reference; `draw` gives a random number below its argument,
/// and is asked only where there is a choice.
pub fn select_with(
    view: &TopologyView,
    target: &Target,
    deprioritized: &[ServerAddress],
    load: impl Fn(ServerId) -> u32,
    draw: impl FnMut(usize) -> usize,
) -> Selection {
    let topology = &*view.description;
    if let Some((id, server)) = direct(topology, target) {
        return Selection::Server {
            id,
            server: Arc::clone(server),
            topology_type: topology.topology_type,
        };
    }
    let candidates = match candidates(topology, target, deprioritized) {
        Ok(Some(candidates)) => candidates,
        Ok(None) => return Selection::None,
        Err(refused) => return refused,
    };
    // The only one is alone in the latency window.
    let sole = {
        let mut all = candidates.iter();
        all.next().filter(|_| all.next().is_none())
    };
    let found = sole.or_else(|| {
        let window = candidates.window();
        let count = window.iter().count();
        pick(&window, count, load, draw)
    });
    let Some((id, server)) = found else {
        return Selection::None;
    };
    Selection::Server {
        id,
        server: Arc::clone(server),
        topology_type: topology.topology_type,
    }
}

/// Selects another server than one that suits but is held (see [`Operation::hold`]); `None` where
/// there is no other. It is as if that server were deprioritised too.
///
/// [`Operation::hold`]: crate::op::Operation::hold
pub fn select_beside(
    view: &TopologyView,
    held: &ServerDescription,
    target: &Target,
    deprioritized: &[ServerAddress],
    load: impl Fn(ServerId) -> u32,
    draw: impl FnMut(usize) -> usize,
) -> Option<Selection> {
    let mut skip = deprioritized.to_vec();
    skip.push(held.address.clone());
    let selection = select_with(view, target, &skip, load, draw);
    let other = matches!(&selection, Selection::Server { server, .. }
        if server.address != held.address);
    other.then_some(selection)
}

/// The one server of a direct connection, which suits everybody who asks for no more than a server;
/// also those to whom it is the second choice. `None` where more is to be considered.
fn direct<'a>(
    topology: &'a TopologyDescription,
    target: &Target,
) -> Option<(ServerId, &'a Arc<ServerDescription>)> {
    let plain = match target {
        Target::Write => true,
        Target::Read(preference) => preference.max_staleness().is_none(),
        Target::Output(preference) => preference.max_staleness().is_none(),
        Target::Server(_) => false,
    };
    let single = topology.topology_type == TopologyType::Single && topology.servers.len() == 1;
    if !plain || !single || topology.compatibility_error.is_some() {
        return None;
    }
    let (id, server) = topology.servers.first_key_value()?;
    Role::Any
        .allows(server.server_type)
        .then_some((*id, server))
}

/// The servers that suit, before the latency window is applied.
///
/// # Errors
///
/// When the deployment or the read preference cannot be used.
pub fn suitable(view: &TopologyView, criteria: &Criteria) -> Result<Vec<ServerId>, Error> {
    listed(&view.description, criteria, false)
}

/// The servers that [`select`] chooses from: those that suit, in the latency window.
///
/// # Errors
///
/// When the deployment or the read preference cannot be used.
pub fn in_latency_window(view: &TopologyView, criteria: &Criteria) -> Result<Vec<ServerId>, Error> {
    listed(&view.description, criteria, true)
}

fn listed(
    topology: &TopologyDescription,
    criteria: &Criteria,
    windowed: bool,
) -> Result<Vec<ServerId>, Error> {
    let candidates = match candidates(topology, &criteria.target, &criteria.deprioritized) {
        Ok(Some(candidates)) => candidates,
        Ok(None) => return Ok(Vec::new()),
        Err(Selection::Incompatible(error) | Selection::Invalid(error)) => return Err(error),
        Err(Selection::None | Selection::Server { .. }) => return Ok(Vec::new()),
    };
    let candidates = if windowed {
        candidates.window()
    } else {
        candidates
    };
    Ok(candidates.iter().map(|(id, _)| id).collect())
}

/// Two random servers, of which the less loaded one is taken.
fn pick<'a>(
    window: &Candidates<'a>,
    count: usize,
    load: impl Fn(ServerId) -> u32,
    mut draw: impl FnMut(usize) -> usize,
) -> Option<(ServerId, &'a Arc<ServerDescription>)> {
    if count < 2 {
        return window.iter().next();
    }
    let first = draw(count);
    let second = (first + 1 + draw(count - 1)) % count;
    let first = window.iter().nth(first)?;
    let second = window.iter().nth(second)?;
    Some(if load(second.0) < load(first.0) {
        second
    } else {
        first
    })
}

/// Which server types suit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Whatever is known: direct connections, and the server that holds a cursor.
    Any,
    LoadBalancer,
    Member,
    Mongos,
    Primary,
    Secondary,
}

impl Role {
    fn allows(self, server_type: ServerType) -> bool {
        match self {
            Self::Any => !matches!(
                server_type,
                ServerType::Unknown | ServerType::PossiblePrimary
            ),
            Self::LoadBalancer => server_type == ServerType::LoadBalancer,
            Self::Member => matches!(server_type, ServerType::RsPrimary | ServerType::RsSecondary),
            Self::Mongos => server_type == ServerType::Mongos,
            Self::Primary => server_type == ServerType::RsPrimary,
            Self::Secondary => server_type == ServerType::RsSecondary,
        }
    }
}

/// Servers of a topology, given by the conditions that they meet.
#[derive(Clone, Copy)]
struct Candidates<'a> {
    topology: &'a TopologyDescription,
    role: Role,
    only: Option<ServerId>,
    skip: &'a [ServerAddress],
    max_staleness: Option<Duration>,
    tags: Option<&'a TagSet>,
    max_rtt: Option<Duration>,
}

impl<'a> Candidates<'a> {
    fn new(topology: &'a TopologyDescription, role: Role, skip: &'a [ServerAddress]) -> Self {
        Self {
            topology,
            role,
            only: None,
            skip,
            max_staleness: None,
            tags: None,
            max_rtt: None,
        }
    }

    fn iter(&self) -> impl Iterator<Item = (ServerId, &'a Arc<ServerDescription>)> {
        let this = *self;
        this.topology
            .servers
            .iter()
            .filter(move |(id, server)| this.allows(**id, server))
            .map(|(id, server)| (*id, server))
    }

    fn allows(&self, id: ServerId, server: &ServerDescription) -> bool {
        self.role.allows(server.server_type)
            && self.only.is_none_or(|only| only == id)
            && (self.skip.is_empty() || !self.skip.contains(&server.address))
            && self
                .max_staleness
                .is_none_or(|max| staleness::is_fresh(self.topology, server, max))
            && self.tags.is_none_or(|tags| has_tags(server, tags))
            && match (self.max_rtt, server.average_round_trip_time) {
                (Some(max), Some(rtt)) => rtt <= max,
                _ => true,
            }
    }

    fn or_none(self) -> Option<Self> {
        self.iter().next().is_some().then_some(self)
    }

    /// Narrows by staleness, then by the first tag set that any server matches.
    fn restricted(mut self, options: &'a Option<ReadPreferenceOptions>) -> Option<Self> {
        let options = options.as_ref();
        self.max_staleness = options.and_then(|o| o.max_staleness);
        match options.and_then(|o| o.tag_sets.as_deref()) {
            None | Some([]) => self.or_none(),
            Some(sets) => sets.iter().find_map(|set| {
                let tags = Some(set);
                Self { tags, ..self }.or_none()
            }),
        }
    }

    /// Narrows to the servers whose latency is near the least one. A server without a known
    /// latency (a load balancer) stays.
    fn window(mut self) -> Self {
        if self.role != Role::Any {
            let least = self.iter().filter_map(|(_, s)| s.average_round_trip_time);
            let threshold = self.topology.local_threshold;
            self.max_rtt = least.min().map(|least| least.saturating_add(threshold));
        }
        self
    }
}

fn has_tags(server: &ServerDescription, wanted: &TagSet) -> bool {
    wanted.is_empty()
        || server.tags().is_some_and(|tags| {
            wanted
                .iter()
                .all(|(name, value)| tags.get(name) == Some(value))
        })
}

/// The servers that suit; `Err` only with [`Selection::Incompatible`] or [`Selection::Invalid`].
fn candidates<'a>(
    topology: &'a TopologyDescription,
    target: &'a Target,
    skip: &'a [ServerAddress],
) -> Result<Option<Candidates<'a>>, Selection> {
    if let Some(message) = &topology.compatibility_error {
        let message = message.clone();
        return Err(Selection::Incompatible(Error::new(
            ErrorKind::IncompatibleServer { message },
        )));
    }
    let preference = match target {
        Target::Read(preference) => Some(preference),
        Target::Output(preference) => Some(&**preference),
        Target::Server(_) | Target::Write => None,
    };
    if let Some(preference) = preference {
        staleness::validate(topology, preference).map_err(Selection::Invalid)?;
    }
    let found = suitable_without(topology, target, skip);
    if found.is_none() && !skip.is_empty() {
        return Ok(suitable_without(topology, target, &[]));
    }
    Ok(found)
}

/// Whether all available servers run aggregations that write also as secondaries.
fn all_write_results(topology: &TopologyDescription) -> bool {
    topology.topology_type == TopologyType::LoadBalanced
        || topology.servers.values().all(|server| {
            !Role::Any.allows(server.server_type)
                || server
                    .hello
                    .as_ref()
                    .is_none_or(|hello| hello.max_wire_version >= OUTPUT_WIRE_VERSION)
        })
}

fn suitable_without<'a>(
    topology: &'a TopologyDescription,
    target: &'a Target,
    skip: &'a [ServerAddress],
) -> Option<Candidates<'a>> {
    let all = |role| Candidates::new(topology, role, skip);
    let preference = match target {
        Target::Server(id) => {
            let only = Some(*id);
            return Candidates {
                only,
                skip: &[],
                ..all(Role::Any)
            }
            .or_none();
        }
        Target::Read(preference) => preference,
        Target::Output(preference) if all_write_results(topology) => preference,
        Target::Output(_) => &ReadPreference::Primary,
        Target::Write => &ReadPreference::Primary,
    };
    match topology.topology_type {
        TopologyType::LoadBalanced => all(Role::LoadBalancer).or_none(),
        TopologyType::Sharded => all(Role::Mongos).or_none(),
        TopologyType::Single => all(Role::Any).or_none(),
        TopologyType::Unknown => None,
        TopologyType::ReplicaSetNoPrimary | TopologyType::ReplicaSetWithPrimary => match preference
        {
            ReadPreference::Nearest { options } => all(Role::Member).restricted(options),
            ReadPreference::Primary => all(Role::Primary).or_none(),
            ReadPreference::PrimaryPreferred { options } => all(Role::Primary)
                .or_none()
                .or_else(|| all(Role::Secondary).restricted(options)),
            ReadPreference::Secondary { options } => all(Role::Secondary).restricted(options),
            ReadPreference::SecondaryPreferred { options } => all(Role::Secondary)
                .restricted(options)
                .or_else(|| all(Role::Primary).or_none()),
        },
    }
}
