//! The `client` document of the handshake: who connects, from where.
//!
//! The environment is an argument. The document has at most 512 bytes; what does not fit is left
//! out in the order that the specification "MongoDB Handshake" gives ("Limitations").

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use bson::{Document, RawDocumentBuf, raw::cstr};

use crate::{
    error::{Error, Result},
    options::DriverInfo,
};

const LEN_MAX: usize = 512;
const APP_NAME_LEN_MAX: usize = 128;
const DRIVER_NAME: &str = "mongo-client";

/// What the handshake says of the machine that the client runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeEnvironment {
    /// Environment variables; only those that the specification names are read.
    pub vars: BTreeMap<String, String>,
    /// Whether the file `/.dockerenv` exists.
    pub dockerenv: bool,
    /// `os.type`: "Linux", "Darwin", "Windows", ...; "unknown" when empty.
    pub os_type: String,
    /// `os.name`.
    pub os_name: Option<String>,
    /// `os.architecture`.
    pub os_arch: Option<String>,
    /// `os.version`.
    pub os_version: Option<String>,
    /// `platform`: the compiler and the runtime.
    pub platform: Option<String>,
}

/// A function-as-a-service provider.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Faas {
    Aws,
    Azure,
    Gcp,
    Vercel,
}

impl HandshakeEnvironment {
    /// Whether the client runs as a function: servers are then polled, not streamed from.
    #[must_use]
    pub fn is_faas(&self) -> bool {
        self.faas().is_some()
    }

    /// The variable, unless it is not set or empty.
    fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    fn faas(&self) -> Option<Faas> {
        let lambda = self.var("AWS_EXECUTION_ENV");
        let found = [
            (
                Faas::Aws,
                lambda.is_some_and(|v| v.starts_with("AWS_Lambda_"))
                    || self.var("AWS_LAMBDA_RUNTIME_API").is_some(),
            ),
            (Faas::Azure, self.var("FUNCTIONS_WORKER_RUNTIME").is_some()),
            (
                Faas::Gcp,
                self.var("K_SERVICE").is_some() || self.var("FUNCTION_NAME").is_some(),
            ),
            (Faas::Vercel, self.var("VERCEL").is_some()),
        ];
        let found: Vec<_> = found.into_iter().filter(|f| f.1).map(|f| f.0).collect();
        match found[..] {
            [one] => Some(one),
            // Vercel runs on Lambda.
            [Faas::Aws, Faas::Vercel] => Some(Faas::Vercel),
            _ => None,
        }
    }

    /// The `env` document; empty when there is nothing to say.
    fn env(&self) -> RawDocumentBuf {
        let mut env = RawDocumentBuf::new();
        let (name, memory, timeout, region) = match self.faas() {
            None => ("", "", "", ""),
            Some(Faas::Aws) => (
                "aws.lambda",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                "",
                "AWS_REGION",
            ),
            Some(Faas::Azure) => ("azure.func", "", "", ""),
            Some(Faas::Gcp) => (
                "gcp.func",
                "FUNCTION_MEMORY_MB",
                "FUNCTION_TIMEOUT_SEC",
                "FUNCTION_REGION",
            ),
            Some(Faas::Vercel) => ("vercel", "", "", "VERCEL_REGION"),
        };
        if !name.is_empty() {
            env.append(cstr!("name"), name);
        }
        for (key, var) in [
            (cstr!("timeout_sec"), timeout),
            (cstr!("memory_mb"), memory),
        ] {
            if let Some(number) = self.var(var).and_then(|v| v.parse::<i32>().ok()) {
                env.append(key, number);
            }
        }
        if let Some(region) = self.var(region) {
            env.append(cstr!("region"), region);
        }
        let mut container = RawDocumentBuf::new();
        if self.dockerenv {
            container.append(cstr!("runtime"), "docker");
        }
        if self.var("KUBERNETES_SERVICE_HOST").is_some() {
            container.append(cstr!("orchestrator"), "kubernetes");
        }
        if !container.is_empty() {
            env.append(cstr!("container"), container);
        }
        env
    }
}

/// The `client` document of a client, to which wrapping libraries may add themselves at any time.
/// Clones share it.
#[derive(Clone)]
pub struct ClientMetadata(Arc<RwLock<Content>>);

struct Content {
    app_name: Option<String>,
    driver_info: Vec<DriverInfo>,
    environment: HandshakeEnvironment,
    document: RawDocumentBuf,
}

impl ClientMetadata {
    /// The document of [`client_metadata`].
    ///
    /// # Errors
    ///
    /// Those of [`client_metadata`].
    pub fn new(
        app_name: Option<&str>,
        driver_info: &[DriverInfo],
        environment: &HandshakeEnvironment,
    ) -> Result<Self> {
        let document = encoded(app_name, driver_info, environment)?;
        Ok(Self(Arc::new(RwLock::new(Content {
            app_name: app_name.map(str::to_owned),
            driver_info: driver_info.to_vec(),
            environment: environment.clone(),
            document,
        }))))
    }

    /// Adds a wrapping library, for the connections that are made from now on. One that was added
    /// before changes nothing (Handshake: "Appending metadata").
    ///
    /// # Errors
    ///
    /// Those of [`client_metadata`]; then nothing is added.
    pub fn append(&self, info: DriverInfo) -> Result<()> {
        let mut content = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Content {
            app_name,
            driver_info,
            environment,
            document,
        } = &mut *content;
        driver_info.push(info);
        match encoded(app_name.as_deref(), driver_info, environment) {
            Ok(appended) => *document = appended,
            Err(error) => {
                driver_info.pop();
                return Err(error);
            }
        }
        // One that changes nothing is not kept, so that they do not become more for ever.
        let last = driver_info.len() - 1;
        if driver_info[..last].contains(&driver_info[last]) {
            driver_info.pop();
        }
        Ok(())
    }

    /// The document for a connection that is made now.
    #[must_use]
    pub fn document(&self) -> RawDocumentBuf {
        let content = self.0.read().unwrap_or_else(PoisonError::into_inner);
        content.document.clone()
    }
}

/// Nothing but this document, until something is added.
impl From<RawDocumentBuf> for ClientMetadata {
    fn from(document: RawDocumentBuf) -> Self {
        Self(Arc::new(RwLock::new(Content {
            app_name: None,
            driver_info: Vec::new(),
            environment: HandshakeEnvironment::default(),
            document,
        })))
    }
}

/// Builds the `client` document. `driver_info` lists the wrapping libraries, innermost first;
/// duplicates count once.
///
/// # Errors
///
/// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) for an `appName` of
/// more than 128 bytes, a `|` in `driver_info`, or names that leave no room in 512 bytes.
pub fn client_metadata(
    app_name: Option<&str>,
    driver_info: &[DriverInfo],
    environment: &HandshakeEnvironment,
) -> Result<Document> {
    Ok(Document::try_from(encoded(
        app_name,
        driver_info,
        environment,
    )?)?)
}

fn encoded(
    app_name: Option<&str>,
    driver_info: &[DriverInfo],
    environment: &HandshakeEnvironment,
) -> Result<RawDocumentBuf> {
    let (mut name, mut version) = (DRIVER_NAME.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let mut platform = environment.platform.clone().unwrap_or_default();
    let mut seen: Vec<[&str; 3]> = Vec::new();
    for info in driver_info {
        let fields = [
            info.name.as_str(),
            info.version.as_deref().unwrap_or_default(),
            info.platform.as_deref().unwrap_or_default(),
        ];
        if fields.iter().any(|field| field.contains('|')) {
            return Err(Error::invalid_argument(
                "driver_info: name, version and platform must not contain '|'",
            ));
        }
        if seen.contains(&fields) {
            continue;
        }
        seen.push(fields);
        for (out, field) in [&mut name, &mut version, &mut platform]
            .into_iter()
            .zip(fields)
        {
            append(out, field);
        }
    }
    let app_name = app_name.filter(|app| !app.is_empty());
    if app_name.is_some_and(|app| app.len() > APP_NAME_LEN_MAX) {
        return Err(Error::invalid_argument(
            "appName: must have at most 128 bytes",
        ));
    }
    Parts {
        app_name,
        name: &name,
        version: &version,
        os: os(environment),
        platform: &platform,
        env: environment.env(),
    }
    .fitted()
}

fn append(out: &mut String, field: &str) {
    if field.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('|');
    }
    out.push_str(field);
}

fn os(environment: &HandshakeEnvironment) -> RawDocumentBuf {
    let mut os = os_type(environment.os_type.as_str());
    let fields = [
        (cstr!("name"), &environment.os_name),
        (cstr!("architecture"), &environment.os_arch),
        (cstr!("version"), &environment.os_version),
    ];
    for (key, value) in fields {
        if let Some(value) = value {
            os.append(key, value.as_str());
        }
    }
    os
}

fn os_type(kind: &str) -> RawDocumentBuf {
    let kind = if kind.is_empty() { "unknown" } else { kind };
    let mut os = RawDocumentBuf::new();
    os.append(cstr!("type"), kind);
    os
}

/// What the document consists of.
struct Parts<'a> {
    app_name: Option<&'a str>,
    name: &'a str,
    version: &'a str,
    os: RawDocumentBuf,
    platform: &'a str,
    env: RawDocumentBuf,
}

impl Parts<'_> {
    fn document(&self) -> RawDocumentBuf {
        let mut client = RawDocumentBuf::new();
        if let Some(app) = self.app_name {
            let mut application = RawDocumentBuf::new();
            application.append(cstr!("name"), app);
            client.append(cstr!("application"), application);
        }
        let mut driver = RawDocumentBuf::new();
        driver.append(cstr!("name"), self.name);
        driver.append(cstr!("version"), self.version);
        client.append(cstr!("driver"), driver);
        client.append(cstr!("os"), self.os.as_ref());
        if !self.platform.is_empty() {
            client.append(cstr!("platform"), self.platform);
        }
        if !self.env.is_empty() {
            client.append(cstr!("env"), self.env.as_ref());
        }
        client
    }

    /// The document without what does not fit (handshake: "Limitations").
    fn fitted(mut self) -> Result<RawDocumentBuf> {
        let excess = |client: &RawDocumentBuf| client.as_bytes().len().saturating_sub(LEN_MAX);
        let whole = self.document();
        if excess(&whole) == 0 {
            return Ok(whole);
        }
        let mut env = RawDocumentBuf::new();
        if let Ok(name) = self.env.get_str("name") {
            env.append(cstr!("name"), name);
        }
        self.env = env;
        let named = self.document();
        if excess(&named) == 0 {
            return Ok(named);
        }
        self.os = os_type(self.os.get_str("type").unwrap_or_default());
        let typed = self.document();
        if excess(&typed) == 0 {
            return Ok(typed);
        }
        self.env = RawDocumentBuf::new();
        let excess_len = excess(&self.document());
        let mut end = self.platform.len().saturating_sub(excess_len);
        while !self.platform.is_char_boundary(end) {
            end -= 1;
        }
        self.platform = &self.platform[..end];
        let cut = self.document();
        if excess(&cut) > 0 {
            return Err(Error::invalid_argument(
                "driver_info: name and version leave no room in the 512 bytes of client metadata",
            ));
        }
        Ok(cut)
    }
}
