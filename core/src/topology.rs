//! Server discovery and monitoring (SDAM): what is known of the deployment, and the rules that
//! change it.

mod description;

pub use self::description::{
    ServerDescription, ServerType, TopologyDescription, TopologyType, TopologyView,
};
