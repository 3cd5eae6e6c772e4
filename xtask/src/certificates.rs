//! Certificates for the TLS tests, made by openssl (see `certificates.sh` for the list).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Context, Result, process};

/// The subject of `client.pem`, as the server names the user (RFC 2253 order).
pub const CLIENT_SUBJECT: &str = "O=Kit,OU=users,CN=client";

/// The password of `client-encrypted.pem`.
pub const CLIENT_PASSWORD: &str = "secret";

const SCRIPT: &str = include_str!("certificates.sh");

/// The name of their folder, which the script's text decides: certificates of another script are
/// never used.
#[must_use]
pub fn folder() -> String {
    // FNV-1a: nothing here resists anybody, it only tells versions apart.
    let hash = SCRIPT
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("certs-{:08x}", hash >> 32)
}

/// Makes the certificates unless the folder is there.
///
/// # Errors
///
/// When openssl is missing or fails.
pub fn make(dir: &Path) -> Result {
    if dir.is_dir() {
        return Ok(());
    }
    // `sh` would only say that a command inside the script was not found.
    process::run(Command::new("openssl").arg("version"))?;
    let work = dir.with_extension(format!("{}.part", std::process::id()));
    fs::create_dir_all(&work).context(|| format!("cannot create {}", work.display()))?;
    process::run(
        Command::new("sh")
            .args(["-c", SCRIPT, "certificates", CLIENT_PASSWORD])
            .current_dir(&work),
    )?;
    match fs::rename(&work, dir) {
        // Another process was faster; its certificates are as good.
        Err(_) if dir.is_dir() => fs::remove_dir_all(&work),
        other => other,
    }
    .context(|| format!("cannot move the certificates to {}", dir.display()))
}
