//! Topology and heartbeat events (specification: "SDAM Logging and Monitoring").

use std::{sync::Arc, time::Duration};

use bson::Document;

use crate::{
    error::Error,
    id::TopologyId,
    net::ServerAddress,
    topology::{ServerDescription, TopologyDescription},
};

/// Something happened to the topology or a monitor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SdamEvent {
    /// A server was added.
    ServerOpening(ServerOpeningEvent),
    /// A server was removed.
    ServerClosed(ServerClosedEvent),
    /// A server's description changed.
    ServerDescriptionChanged(Box<ServerDescriptionChangedEvent>),
    /// The topology starts.
    TopologyOpening(TopologyOpeningEvent),
    /// The topology ended.
    TopologyClosed(TopologyClosedEvent),
    /// The topology's description changed.
    TopologyDescriptionChanged(Box<TopologyDescriptionChangedEvent>),
    /// A check starts.
    ServerHeartbeatStarted(ServerHeartbeatStartedEvent),
    /// A check succeeded.
    ServerHeartbeatSucceeded(ServerHeartbeatSucceededEvent),
    /// A check failed.
    ServerHeartbeatFailed(ServerHeartbeatFailedEvent),
}

/// A server was added.
#[derive(Clone, Debug)]
pub struct ServerOpeningEvent {
    /// The server.
    pub address: ServerAddress,
    /// The topology.
    pub topology_id: TopologyId,
}

/// A server was removed.
#[derive(Clone, Debug)]
pub struct ServerClosedEvent {
    /// The server.
    pub address: ServerAddress,
    /// The topology.
    pub topology_id: TopologyId,
}

/// A server's description changed.
#[derive(Clone, Debug)]
pub struct ServerDescriptionChangedEvent {
    /// The server.
    pub address: ServerAddress,
    /// The topology.
    pub topology_id: TopologyId,
    /// What was known before.
    pub previous_description: Arc<ServerDescription>,
    /// What is known since.
    pub new_description: Arc<ServerDescription>,
}

/// The topology starts.
#[derive(Clone, Debug)]
pub struct TopologyOpeningEvent {
    /// The topology.
    pub topology_id: TopologyId,
}

/// The topology ended.
#[derive(Clone, Debug)]
pub struct TopologyClosedEvent {
    /// The topology.
    pub topology_id: TopologyId,
}

/// The topology's description changed.
#[derive(Clone, Debug)]
pub struct TopologyDescriptionChangedEvent {
    /// The topology.
    pub topology_id: TopologyId,
    /// What was known before.
    pub previous_description: Arc<TopologyDescription>,
    /// What is known since.
    pub new_description: Arc<TopologyDescription>,
}

/// A check starts.
#[derive(Clone, Debug)]
pub struct ServerHeartbeatStartedEvent {
    /// The server.
    pub server_address: ServerAddress,
    /// Whether the check waits for the server to answer (streaming).
    pub awaited: bool,
    /// The monitor's connection, once there is one.
    pub driver_connection_id: u32,
    /// The server's id of that connection.
    pub server_connection_id: Option<i64>,
}

/// A check succeeded.
#[derive(Clone, Debug)]
pub struct ServerHeartbeatSucceededEvent {
    /// How long it took.
    pub duration: Duration,
    /// The hello reply.
    pub reply: Document,
    /// The server.
    pub server_address: ServerAddress,
    /// Whether the check waited for the server to answer (streaming).
    pub awaited: bool,
    /// The monitor's connection.
    pub driver_connection_id: u32,
    /// The server's id of that connection.
    pub server_connection_id: Option<i64>,
}

/// A check failed.
#[derive(Clone, Debug)]
pub struct ServerHeartbeatFailedEvent {
    /// How long it took.
    pub duration: Duration,
    /// The failure.
    pub failure: Error,
    /// The server.
    pub server_address: ServerAddress,
    /// Whether the check waited for the server to answer (streaming).
    pub awaited: bool,
    /// The monitor's connection, once there is one.
    pub driver_connection_id: u32,
    /// The server's id of that connection.
    pub server_connection_id: Option<i64>,
}
