//! The engine of mongo-client in a hand-written event loop: no async runtime, no lock, one thread.
//!
//! Three parts, to be read in this order:
//!
//! * [`event_loop`]: the loop itself. It knows the engine and a small trait, [`Host`], for everything
//!   that touches the outside world. This is the part to copy into a program of your own.
//! * [`sockets`]: a `Host` made of real sockets and the `polling` crate.
//! * [`story`]: an application: it connects, writes, reads with a cursor, cancels operations, lets
//!   the primary step down while it writes, and compares what it got with what it was promised.
//!
//! The same loop and the same story also run on a `Host` of scripted servers in memory whose clock
//! is a variable (`tests/tests/event_loop.rs`): nothing in them knows the difference.

pub mod event_loop;
pub mod sockets;
pub mod story;

use std::{
    fs, io,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use mongo_client_core::{
    error::{Error, Result},
    options::{ClientOptions, Tls, TlsOptions},
    settings::Environment,
    time::UnixMillis,
    tls::TlsFiles,
};

pub use self::event_loop::{EventLoop, Host, Ready};
use self::{
    sockets::Sockets,
    story::{Story, Verdict},
};

/// Plays the story on the replica set of a connection string.
///
/// # Errors
///
/// What the engine, the servers or the system's sockets refuse.
pub fn run(uri: &str) -> Result<Verdict> {
    let options = ClientOptions::parse_uri(uri)?.options;
    let mut events = EventLoop::new(
        options.clone(),
        environment(&options)?,
        // The engine asks for random bytes rather than taking them, so that a simulation can say
        // what they are. These must be unpredictable: they are nonces of logins.
        Box::new(|out: &mut [u8]| {
            getrandom::fill(out).expect("the system has random bytes");
        }),
        Arc::new(unix_time),
        Sockets::new().map_err(Error::io)?,
    )?;
    Story::default().play(&mut events)
}

/// What the engine is told of the machine: the contents of files, never their names.
///
/// Host names in `mongodb+srv` strings would also need `resolv_conf`.
fn environment(options: &ClientOptions) -> Result<Environment> {
    let mut environment = Environment::default();
    environment.handshake.os_type = std::env::consts::OS.to_owned();
    if let Some(Tls::Enabled(tls)) = &options.tls {
        environment.tls = tls_files(tls).map_err(Error::io)?;
    }
    Ok(environment)
}

fn tls_files(tls: &TlsOptions) -> io::Result<TlsFiles> {
    let read = |path: &Option<PathBuf>| path.as_ref().map(fs::read).transpose();
    Ok(TlsFiles {
        // Without a file of authorities the system's would be needed; this example has none.
        ca: read(&tls.ca_file_path)?,
        cert_key: read(&tls.cert_key_file_path)?,
        ..TlsFiles::default()
    })
}

/// The clock on the wall, against which certificates are checked. It may jump; nothing else asks it.
fn unix_time() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |time| time.as_millis());
    UnixMillis(i64::try_from(ms).unwrap_or(i64::MAX))
}
