//! Client entities: a client of the deployment with the options that a test wants.

use std::time::Duration;

use bson::{Bson, Document};
use mongo_client::{
    Client, ServerType,
    options::{ClientOptions, ServerApi, ServerApiVersion},
};

use super::{
    Checked, Stop,
    arguments::natural,
    deployment::Deployment,
    events::{Recorder, Wanted},
    logs::Observed,
};

/// Log messages hold whole documents: tests look into them.
const DOCUMENT_LENGTH: usize = 10_000;

/// A client and what is heard of it.
#[derive(Clone, Debug)]
pub(super) struct ClientEntity {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) logs: Option<Observed>,
}

fn names(options: &Document, key: &str) -> Vec<String> {
    let names = options.get_array(key).into_iter().flatten();
    names
        .filter_map(|n| n.as_str().map(str::to_owned))
        .collect()
}

impl ClientEntity {
    /// Builds a client from the entity's description.
    pub(super) async fn build(deployment: &Deployment, entity: &Document) -> Checked<Self> {
        let empty = Document::new();
        let uri_options = entity.get_document("uriOptions").unwrap_or(&empty);
        if has(uri_options, "waitQueueSize") {
            // Pools: an option that drivers may have kept from older days.
            return Err(Stop::Skipped("not offered: waitQueueSize".into()));
        }
        let uri = deployment.uri_for(entity.get_bool("useMultipleMongoses").ok());
        let uri = with_options(&uri, uri_options)?;
        let parsed = ClientOptions::parse_uri(&uri)
            .map_err(|error| Stop::Failed(format!("uriOptions: {uri}: {error}")))?;
        let mut options = parsed.options;
        if !has(uri_options, "heartbeatFrequencyMS") {
            options.heartbeat_freq = Some(Duration::from_millis(500));
        }
        options.tracing_max_document_length_bytes = Some(DOCUMENT_LENGTH);
        if let Ok(api) = entity.get_document("serverApi") {
            options.server_api = Some(server_api(api)?);
        }
        let recorder = Recorder::new(Wanted {
            events: names(entity, "observeEvents"),
            ignored: names(entity, "ignoreCommandMonitoringEvents"),
            sensitive: entity.get_bool("observeSensitiveCommands").unwrap_or(false),
        });
        recorder.attach(&mut options);
        let min_pool_size = options.min_pool_size.unwrap_or(0);
        let logs = match entity.get_document("observeLogMessages") {
            Ok(wanted) => Some(Observed::new(wanted)?),
            Err(_) => None,
        };
        let client = match &logs {
            None => Client::with_options(options),
            Some(logs) => {
                let builder = Client::builder().options(options).runtime(logs.runtime()?);
                tracing::dispatcher::with_default(logs.dispatch(), || builder.build())
            }
        };
        let this = Self {
            client: client.map_err(|error| Stop::Failed(format!("client: {error}")))?,
            recorder,
            logs,
        };
        if let Some(limit) = entity.get("awaitMinPoolSizeMS").and_then(natural) {
            this.await_pools(min_pool_size, Duration::from_millis(limit))
                .await?;
        }
        Ok(this)
    }

    /// Waits until the pools of all data-bearing servers hold what they have to, and forgets the
    /// events before that.
    async fn await_pools(&self, size: u32, limit: Duration) -> Checked {
        if size == 0 {
            return Ok(());
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let filled = || {
            let Some(topology) = self.client.handle().latest() else {
                return false;
            };
            let mut servers = topology.servers.values();
            !topology.servers.is_empty()
                && servers.all(|server| match server.server_type {
                    ServerType::Unknown | ServerType::PossiblePrimary => false,
                    ServerType::RsArbiter | ServerType::RsGhost | ServerType::RsOther => true,
                    _ => self.recorder.ready(&server.address) >= size,
                })
        };
        if !self.recorder.wait(limit, filled).await {
            return Err("awaitMinPoolSizeMS: the pools were not filled in time".into());
        }
        self.recorder.clear();
        if let Some(logs) = &self.logs {
            logs.clear();
        }
        Ok(())
    }
}

fn server_api(document: &Document) -> Checked<ServerApi> {
    let version = document.get_str("version").unwrap_or_default();
    let version = match version {
        "1" => ServerApiVersion::V1,
        other => {
            return Err(Stop::Failed(format!(
                "serverApi: there is no version {other:?}"
            )));
        }
    };
    let mut api = ServerApi::new(version);
    api.strict = document.get_bool("strict").ok();
    api.deprecation_errors = document.get_bool("deprecationErrors").ok();
    Ok(api)
}

fn has(options: &Document, name: &str) -> bool {
    options.keys().any(|key| key.eq_ignore_ascii_case(name))
}

/// Sets options of a connection string; what the test says wins.
fn with_options(uri: &str, wanted: &Document) -> Checked<String> {
    let (hosts, given) = uri.split_once('?').unwrap_or((uri, ""));
    let direct = wanted.get_bool("directConnection").unwrap_or(false);
    let mut options: Vec<String> = Vec::new();
    for option in given.split('&').filter(|option| !option.is_empty()) {
        let name = option.split('=').next().unwrap_or_default();
        let unwanted = direct && name.eq_ignore_ascii_case("replicaSet");
        if !has(wanted, name) && !unwanted {
            options.push(option.to_owned());
        }
    }
    for (name, value) in wanted {
        let values = match value {
            Bson::Array(values) => values.clone(),
            other => vec![other.clone()],
        };
        for value in values {
            options.push(format!("{name}={}", text(name, &value)?));
        }
    }
    let hosts = if direct {
        first_host(hosts)
    } else {
        hosts.to_owned()
    };
    let slash = if hosts.matches('/').count() < 3 {
        "/"
    } else {
        ""
    };
    let question = if options.is_empty() { "" } else { "?" };
    Ok(format!("{hosts}{slash}{question}{}", options.join("&")))
}

/// The value of an option of a connection string.
fn text(name: &str, value: &Bson) -> Checked<String> {
    let text = match value {
        Bson::String(text) => text.clone(),
        Bson::Boolean(value) => value.to_string(),
        Bson::Int32(value) => value.to_string(),
        Bson::Int64(value) => value.to_string(),
        // `1.0` is a number of a connection string only as `1`.
        Bson::Double(value) => format!("{value:.0}"),
        other => return Err(Stop::Failed(format!("uriOptions.{name}: {other}"))),
    };
    let escaped = text.bytes().map(|byte| match byte {
        b if b.is_ascii_alphanumeric() || b"-._~:,".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    });
    Ok(escaped.collect())
}

/// The connection string with the first host only.
fn first_host(uri: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("mongodb", uri));
    let (user, hosts) = match rest.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), rest),
    };
    let (hosts, path) = hosts.split_once('/').unwrap_or((hosts, ""));
    let first = hosts.split(',').next().unwrap_or_default();
    format!("{scheme}://{user}{first}/{path}")
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::with_options;

    #[test]
    fn options_of_the_test_win() {
        let uri = "mongodb://u:p@a:1,b:2/?replicaSet=rs&authSource=admin";
        let options = doc! {
            "authsource": "x y", "retryReads": false, "readPreferenceTags": ["a:1", "b:2"],
        };
        assert_eq!(
            with_options(uri, &options).unwrap(),
            "mongodb://u:p@a:1,b:2/?replicaSet=rs&authsource=x%20y&retryReads=false\
             &readPreferenceTags=a:1&readPreferenceTags=b:2"
        );
        assert_eq!(
            with_options("mongodb://a:1", &doc! {}).unwrap(),
            "mongodb://a:1/"
        );
    }

    #[test]
    fn a_direct_connection_has_one_host_and_no_set() {
        let uri = "mongodb://u:p@a:1,b:2/?replicaSet=rs&authSource=admin";
        assert_eq!(
            with_options(uri, &doc! { "directConnection": true }).unwrap(),
            "mongodb://u:p@a:1/?authSource=admin&directConnection=true"
        );
    }
}
