//! Hello and authentication: what is asked, and what the answers mean.
//!
//! Decides the first commands of a connection. It does not frame them or keep time. Input: reply
//! documents and derived keys; output: [`Next`].
//!
//! ```text
//! Hello --reply, nobody authenticates--> Done
//! Hello --reply--> Auth: Send / Derive, repeated --> Done
//! ```
//!
//! Specifications: "MongoDB Handshake", "Authentication", "Load Balancers".

use bson::{Document, RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr};

use super::{ConnectionConfig, Phase, Purpose};
use crate::{
    auth::{AuthStep, Authenticator, DeriveJob, DerivedKey, negotiate, sasl_supported_mechs},
    error::{Error, ErrorKind, Result},
    hello::HelloReply,
    op::reply::command_error,
    options::{AuthMechanism, Compressor, ServerApi},
    rng::Entropy,
    wire::{Request, is_compiled_in},
};

/// What a handshake wants next.
pub(super) enum Next {
    Send(Request),
    Derive(DeriveJob),
    Done,
}

/// A mechanism that may be used, and its machine or why it cannot be used.
type Candidate = (AuthMechanism, Result<Authenticator>);

/// The handshake of one connection.
pub(super) struct Handshake {
    /// The first one speculates.
    candidates: Vec<Candidate>,
    chosen: Option<Authenticator>,
    hello: Option<Box<HelloReply>>,
}

impl Handshake {
    /// Monitors get no credential and so never authenticate.
    pub(super) fn new(
        config: &ConnectionConfig,
        purpose: Purpose,
        entropy: &mut dyn Entropy,
    ) -> Result<Self> {
        let credential = config.credential.as_ref();
        let mut candidates = Vec::new();
        if let (Some(credential), Purpose::Application) = (credential, purpose) {
            let mut add = |mechanism| {
                let machine =
                    Authenticator::new(credential, mechanism, &config.auth_cache, entropy);
                candidates.push((mechanism, machine));
            };
            match credential.mechanism {
                Some(mechanism) => add(mechanism),
                // The reply decides; both are prepared while entropy is at hand.
                None => {
                    add(AuthMechanism::ScramSha256);
                    add(AuthMechanism::ScramSha1);
                }
            }
            if let (Some(_), [(_, Err(e))]) = (credential.mechanism, &candidates[..]) {
                return Err(e.clone());
            }
        }
        Ok(Self {
            candidates,
            chosen: None,
            hello: None,
        })
    }

    /// Whether the hello is still awaited.
    pub(super) fn phase(&self) -> Phase {
        match self.hello {
            None => Phase::Hello,
            Some(_) => Phase::Auth,
        }
    }

    /// The reply to hello, once it has come.
    pub(super) fn into_hello(self) -> Option<Box<HelloReply>> {
        self.hello
    }

    /// The first command of the connection.
    pub(super) fn hello_request(&mut self, config: &ConnectionConfig) -> Result<Request> {
        let mut command = RawDocumentBuf::new();
        let name = if config.server_api.is_some() || config.load_balanced {
            command.append(cstr!("hello"), 1);
            "hello"
        } else {
            command.append(cstr!("isMaster"), 1);
            command.append(cstr!("helloOk"), true);
            "isMaster"
        };
        command.append(cstr!("backpressure"), "2");
        command.append(cstr!("client"), config.client_metadata.document());
        let offered: RawArrayBuf = offered(config).map(|c| c.as_str()).collect();
        command.append(cstr!("compression"), offered);
        if config.load_balanced {
            command.append(cstr!("loadBalanced"), true);
        }
        if let (Some(credential), false) = (&config.credential, self.candidates.is_empty()) {
            if let Some(user) = sasl_supported_mechs(credential) {
                command.append(cstr!("saslSupportedMechs"), user.as_str());
            }
            if let Some((_, Ok(machine))) = self.candidates.first_mut()
                && let Some(first) = machine.speculative()
            {
                let first = RawDocumentBuf::try_from(&first)?;
                command.append(cstr!("speculativeAuthenticate"), first);
            }
        }
        Ok(request_raw(
            name,
            command,
            "admin",
            config.server_api.as_ref(),
        ))
    }

    /// Takes the reply to hello or to a command of the authentication.
    pub(super) fn handle_reply(
        &mut self,
        reply: &RawDocument,
        config: &ConnectionConfig,
    ) -> Result<Next> {
        let step = match (&self.hello, &mut self.chosen) {
            (None, _) => return self.handle_hello(reply, config),
            (Some(_), Some(machine)) => machine.handle_reply(reply)?,
            (Some(_), None) => return Ok(Next::Done),
        };
        next(step, config)
    }

    pub(super) fn handle_derived(
        &mut self,
        key: DerivedKey,
        config: &ConnectionConfig,
    ) -> Result<Next> {
        match &mut self.chosen {
            Some(machine) => next(machine.handle_derived(key)?, config),
            None => Err(Error::internal("a derived key that nobody asked for")),
        }
    }

    fn handle_hello(&mut self, reply: &RawDocument, config: &ConnectionConfig) -> Result<Next> {
        let hello = HelloReply::parse(reply)?;
        if !hello.ok {
            return Err(command_error(reply)?);
        }
        if config.load_balanced && hello.service_id.is_none() {
            return Err(Error::new(ErrorKind::IncompatibleServer {
                // The specification's words.
                message: "Driver attempted to initialize in load balancing mode, but the server \
                          does not support this mode: its hello has no serviceId"
                    .to_owned(),
            }));
        }
        let hello = self.hello.insert(Box::new(hello));
        // Authentication: arbiters hold no users.
        let Some(credential) = config.credential.as_ref().filter(|_| !hello.arbiter_only) else {
            return Ok(Next::Done);
        };
        if self.candidates.is_empty() {
            return Ok(Next::Done);
        }
        let mechanism = negotiate(credential, hello.sasl_supported_mechs.as_deref());
        let place = self.candidates.iter().position(|(m, _)| *m == mechanism);
        let speculated = place == Some(0);
        let place = place.ok_or_else(|| {
            Error::authentication(format!("no machine for {}", mechanism.as_str()))
        })?;
        let (_, machine) = self.candidates.swap_remove(place);
        let machine = self.chosen.insert(machine?);
        let step = match reply.get_document("speculativeAuthenticate") {
            Ok(first) if speculated => machine.handle_speculative(first)?,
            _ => machine.start()?,
        };
        self.candidates.clear();
        next(step, config)
    }
}

fn next(step: AuthStep, config: &ConnectionConfig) -> Result<Next> {
    Ok(match step {
        AuthStep::Send { db, command } => {
            Next::Send(request("auth", &command, &db, config.server_api.as_ref())?)
        }
        AuthStep::Derive(job) => Next::Derive(job),
        AuthStep::Done => Next::Done,
    })
}

/// The compressors that the client offers.
fn offered(config: &ConnectionConfig) -> impl Iterator<Item = Compressor> {
    let compiled_in = config.compressors.iter().copied();
    compiled_in.filter(|c| is_compiled_in(*c))
}

/// OP_COMPRESSED: the first of the client's compressors that the server has too.
pub(super) fn choose_compressor(
    config: &ConnectionConfig,
    hello: &HelloReply,
) -> Option<Compressor> {
    let shared = |c: &Compressor| hello.compression.iter().any(|name| name == c.as_str());
    offered(config).find(shared)
}

fn request(
    name: &'static str,
    command: &Document,
    db: &str,
    api: Option<&ServerApi>,
) -> Result<Request> {
    let command = RawDocumentBuf::try_from(command)?;
    Ok(request_raw(name, command, db, api))
}

fn request_raw(
    name: &'static str,
    mut command: RawDocumentBuf,
    db: &str,
    api: Option<&ServerApi>,
) -> Request {
    command.append(cstr!("$db"), db);
    if let Some(api) = api {
        command.append(cstr!("apiVersion"), api.version.as_str());
        if let Some(strict) = api.strict {
            command.append(cstr!("apiStrict"), strict);
        }
        if let Some(errors) = api.deprecation_errors {
            command.append(cstr!("apiDeprecationErrors"), errors);
        }
    }
    Request {
        name,
        document: command.into_bytes(),
        ..Request::default()
    }
}
