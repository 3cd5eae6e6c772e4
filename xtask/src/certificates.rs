//! Certificates for the TLS tests, made by openssl (see `certificates.sh` for the list).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Context, Result, process};

/// The subject of `client.pem`, as the server names the user (RFC 2253 order).
pub const CLIENT_SUBJECT: &str = "O=Kit,OU=users,CN=client";

/// The password of `client-encrypted.pem`.
pub const CLIENT_PASSWORD: &str = "secret";

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
            .args([
                "-c",
                include_str!("certificates.sh"),
                "certificates",
                CLIENT_PASSWORD,
            ])
            .current_dir(&work),
    )?;
    match fs::rename(&work, dir) {
        // Another process was faster; its certificates are as good.
        Err(_) if dir.is_dir() => fs::remove_dir_all(&work),
        other => other,
    }
    .context(|| format!("cannot move the certificates to {}", dir.display()))
}
