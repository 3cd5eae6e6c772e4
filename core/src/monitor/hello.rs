//! The hello commands of monitors and probes.

use bson::{RawDocumentBuf, raw::cstr};

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
    let mut command = RawDocumentBuf::new();
    command.append(
        if hello_ok {
            cstr!("hello")
        } else {
            cstr!("isMaster")
        },
        1,
    );
    command.append(cstr!("helloOk"), true);
    if let Some(version) = await_change_of {
        let millis = i64::try_from(config.heartbeat_frequency.as_millis()).unwrap_or(i64::MAX);
        let mut known = RawDocumentBuf::new();
        known.append(cstr!("processId"), version.process_id);
        known.append(cstr!("counter"), version.counter);
        command.append(cstr!("topologyVersion"), known);
        command.append(cstr!("maxAwaitTimeMS"), millis);
    }
    command.append(cstr!("$db"), "admin");
    if let Some(api) = &config.server_api {
        declare_api(&mut command, api);
    }
    Request {
        name,
        document: command.into_bytes(),
        sequences: Sequences::None,
        more_to_come: false,
        exhaust_allowed: await_change_of.is_some(),
        compressible: false,
    }
}

fn declare_api(command: &mut RawDocumentBuf, api: &crate::options::ServerApi) {
    command.append(cstr!("apiVersion"), api.version.as_str());
    if let Some(strict) = api.strict {
        command.append(cstr!("apiStrict"), strict);
    }
    if let Some(errors) = api.deprecation_errors {
        command.append(cstr!("apiDeprecationErrors"), errors);
    }
}
