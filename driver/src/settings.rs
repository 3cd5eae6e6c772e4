//! The configuration of a client: reads what its options name, and hands it to core.

pub(crate) use mongo_client_core::settings::Settings;
pub use mongo_client_core::tls::WallClock;
use mongo_client_core::{error::Result, options::ClientOptions, settings};

use crate::environment;

/// Validates options and reads the files that they name.
pub(crate) fn read(options: &ClientOptions, wall_clock: WallClock) -> Result<Settings> {
    settings::check(options)?;
    Settings::new(options, &environment::read(options)?, wall_clock)
}
