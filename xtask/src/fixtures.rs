//! Where fetched and generated files are.

use std::path::{Path, PathBuf};

use crate::{Failure, Result};

/// The version of the PyMongo distribution whose specification tests are run.
pub const PYMONGO: &str = "4.20.0";

/// The workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_owned()
}

/// The folder of everything that `cargo xtask setup` makes.
#[must_use]
pub fn dir() -> PathBuf {
    std::env::var_os("MONGO_CLIENT_FIXTURES")
        .map_or_else(|| workspace().join("target/fixtures"), PathBuf::from)
}

/// The folder of the certificates (see [`crate::certificates`]).
#[must_use]
pub fn certificates() -> PathBuf {
    dir().join(crate::certificates::folder())
}

/// The folder of the specification tests.
#[must_use]
pub fn specifications() -> PathBuf {
    dir().join(format!("pymongo-{PYMONGO}/test"))
}

/// The server program: `MONGOD` or `MONGO_CLIENT_MONGOD`, otherwise the fetched one.
///
/// # Errors
///
/// When there is none yet.
pub fn mongod() -> Result<PathBuf> {
    for variable in ["MONGOD", "MONGO_CLIENT_MONGOD"] {
        let Some(path) = std::env::var_os(variable).map(PathBuf::from) else {
            continue;
        };
        if path.is_file() {
            return Ok(path);
        }
        return Err(Failure::new(format!(
            "{variable}={}: there is no such file",
            path.display()
        )));
    }
    let path = dir().join("mongod/mongod");
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(
        "the server is not fetched yet: run `cargo xtask setup`",
    ))
}
