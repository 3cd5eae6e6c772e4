//! The connection pool of one server (specification: "Connection Monitoring and Pooling").

mod directive;

pub use self::directive::{PoolDirective, PoolState};
