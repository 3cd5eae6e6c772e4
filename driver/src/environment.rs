//! Everything stateless that is read from the machine, in one place: files, environment variables,
//! resolv.conf. Core receives the contents.

use std::{collections::BTreeMap, path::Path, sync::OnceLock};

use mongo_client_core::{
    conn::HandshakeEnvironment,
    error::{Error, ErrorKind, Result},
    options::{ClientOptions, Tls, TlsOptions},
    settings::Environment,
    tls::TlsFiles,
};

/// Reads everything that a client with these options is told of the machine.
///
/// # Errors
///
/// Those of [`tls_files`].
pub fn read(options: &ClientOptions) -> Result<Environment> {
    let mut environment = Environment::default();
    environment.handshake = handshake_environment();
    if options.srv_host.is_some() && options.resolver_config.is_none() {
        environment.resolv_conf = resolv_conf();
    }
    if let Some(Tls::Enabled(tls)) = &options.tls {
        environment.tls = tls_files(tls)?;
    }
    Ok(environment)
}

/// The variables that the handshake's metadata looks at (handshake: "client.env").
const VARIABLES: [&str; 15] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "FUNCTIONS_WORKER_RUNTIME",
    "K_SERVICE",
    "FUNCTION_NAME",
    "FUNCTION_MEMORY_MB",
    "FUNCTION_TIMEOUT_SEC",
    "FUNCTION_REGION",
    "VERCEL",
    "VERCEL_REGION",
    "KUBERNETES_SERVICE_HOST",
    "AZURE_FUNCTIONS_ENVIRONMENT",
    "AWS_LAMBDA_FUNCTION_NAME",
];

/// Reads what the handshake tells the server about this machine.
#[must_use]
pub fn handshake_environment() -> HandshakeEnvironment {
    let machine = machine();
    let vars: BTreeMap<String, String> = VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    HandshakeEnvironment {
        vars,
        dockerenv: machine.dockerenv,
        os_type: os_type().to_owned(),
        os_name: Some(std::env::consts::OS.to_owned()),
        os_arch: Some(std::env::consts::ARCH.to_owned()),
        os_version: machine.os_version.clone(),
        platform: Some(String::from("Rust")),
    }
}

/// What stays the same while a process lives: read once, not for each client.
struct Machine {
    dockerenv: bool,
    os_version: Option<String>,
}

fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| Machine {
        dockerenv: Path::new("/.dockerenv").exists(),
        os_version: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .map(|s| s.trim().to_owned())
            .ok(),
    })
}

fn os_type() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Darwin",
        "windows" => "Windows",
        other => other,
    }
}

/// Reads the files that TLS options name.
///
/// # Errors
///
/// [`ErrorKind::InvalidTlsConfig`] that names the option and the file.
pub fn tls_files(options: &TlsOptions) -> Result<TlsFiles> {
    let read = |option: &str, path: &Option<std::path::PathBuf>| match path {
        None => Ok(None),
        Some(path) => std::fs::read(path).map(Some).map_err(|e| {
            let message = format!("{option}: cannot read {}: {e}", path.display());
            Error::new(ErrorKind::InvalidTlsConfig { message })
        }),
    };
    let ca = read("tlsCAFile", &options.ca_file_path)?;
    let roots_needed = ca.is_none() && options.allow_invalid_certificates != Some(true);
    Ok(TlsFiles {
        ca,
        cert_key: read("tlsCertificateKeyFile", &options.cert_key_file_path)?,
        cert: read("ssl_certfile", &options.cert_file_path)?,
        crl: read("tlsCRLFile", &options.crl_file_path)?,
        system_roots: if roots_needed {
            system_roots()
        } else {
            Vec::new()
        },
    })
}

#[cfg(feature = "tls")]
fn system_roots() -> Vec<Vec<u8>> {
    rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|cert| cert.to_vec())
        .collect()
}

#[cfg(not(feature = "tls"))]
fn system_roots() -> Vec<Vec<u8>> {
    Vec::new()
}

/// The length at which documents in log events are cut; what is no number is as if it were not
/// there (specification: "Logging").
#[cfg(feature = "tracing")]
pub(crate) fn log_document_len_max() -> Option<usize> {
    let text = std::env::var("MONGODB_LOG_MAX_DOCUMENT_LENGTH").ok()?;
    text.trim().parse().ok()
}

/// The system's name server configuration, for SRV and TXT lookups.
#[must_use]
pub fn resolv_conf() -> String {
    std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}
