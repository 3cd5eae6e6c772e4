//! The hello commands of monitors and probes.

use bson::{Document, doc};

use super::MonitorConfig;
use crate::{hello::TopologyVersion, op::Sequences, wire::Request};

/// Builds a hello: with the legacy name until the server said `helloOk`, awaitable when a
/// topologyVersion is given.
pub(super) fn request(
    config: &MonitorConfig,
    hello_ok: bool,
    await_change_of: Option<TopologyVersion>,
) -> Request {
    let name = if hello_ok { "hello" } else { "isMaster" };
    let mut command = doc! { name: 1, "helloOk": true };
    if let Some(version) = await_change_of {
        let millis = i64::try_from(config.heartbeat_frequency.as_millis()).unwrap_or(i64::MAX);
        command.insert("topologyVersion", version.to_document());
        command.insert("maxAwaitTimeMS", millis);
    }
    command.insert("$db", "admin");
    if let Some(api) = &config.server_api {
        declare_api(&mut command, api);
    }
    Request {
        name,
        document: command
            .to_vec()
            .expect("a few fields of fixed types can be encoded"),
        sequences: Sequences::None,
        more_to_come: false,
        exhaust_allowed: await_change_of.is_some(),
        compressible: false,
    }
}

fn declare_api(command: &mut Document, api: &crate::options::ServerApi) {
    command.insert("apiVersion", api.version.as_str());
    if let Some(strict) = api.strict {
        command.insert("apiStrict", strict);
    }
    if let Some(errors) = api.deprecation_errors {
        command.insert("apiDeprecationErrors", errors);
    }
}
