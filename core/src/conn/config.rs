//! What all connections to a server have in common.

use std::{fmt, time::Duration};

use bson::RawDocumentBuf;

use super::ClientMetadata;
use crate::{
    auth::AuthCache,
    net::ServerAddress,
    options::{Compressor, Credential, DEFAULT_CONNECT_TIMEOUT, ServerApi},
    tls::TlsConfig,
    wire::MESSAGE_LEN_MAX,
};

/// What all connections to a server have in common.
#[derive(Clone)]
pub struct ConnectionConfig {
    /// The server.
    pub address: ServerAddress,
    /// TLS; `None` for plain bytes.
    pub tls: Option<TlsConfig>,
    /// Who authenticates; `None` for nobody.
    pub credential: Option<Credential>,
    /// Keys derived before, shared by all connections of a client.
    pub auth_cache: AuthCache,
    /// The compressors to offer, best first; those not compiled in are left out.
    pub compressors: Vec<Compressor>,
    /// The stable API to declare.
    pub server_api: Option<ServerApi>,
    /// Whether the address is a load balancer's.
    pub load_balanced: bool,
    /// The `client` document.
    pub client_metadata: ClientMetadata,
    /// The limit from creation to established; `None` or zero for none.
    pub connect_timeout: Option<Duration>,
    /// The limit for each reply on application connections; `None` or zero for none.
    pub socket_timeout: Option<Duration>,
    /// The longest message that is accepted, whatever the server announces.
    pub message_len_max: usize,
}

impl ConnectionConfig {
    /// Plain bytes, no credential, default limits.
    #[must_use]
    pub fn new(address: ServerAddress) -> Self {
        Self {
            address,
            tls: None,
            credential: None,
            auth_cache: AuthCache::default(),
            compressors: Vec::new(),
            server_api: None,
            load_balanced: false,
            client_metadata: RawDocumentBuf::new().into(),
            connect_timeout: Some(DEFAULT_CONNECT_TIMEOUT),
            socket_timeout: None,
            message_len_max: MESSAGE_LEN_MAX,
        }
    }
}

impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionConfig")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .field("credential", &self.credential)
            .field("load_balanced", &self.load_balanced)
            .finish_non_exhaustive()
    }
}
