//! Events and errors in the words of the files.

use std::time::Duration;

use mongo_client_core::{
    event::cmap::{CmapEvent, ConnectionCheckoutFailedReason, ConnectionClosedReason},
    pool::PoolError,
};
use serde_json::{Map, Value, json};

/// "MATCH": 42 stands for anything that exists; objects may have more fields.
pub(super) fn matches(want: &Value, got: &Value) -> bool {
    match want {
        Value::Number(n) if n.as_i64() == Some(42) => !got.is_null(),
        Value::String(s) if s == "42" => !got.is_null(),
        Value::Object(fields) => fields
            .iter()
            .all(|(name, want)| got.get(name).is_some_and(|got| matches(want, got))),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .all(|(n, want)| got.get(n).is_some_and(|got| matches(want, got))),
        _ => want == got,
    }
}

pub(super) fn check_error(got: &PoolError, want: &Value) -> Result<(), String> {
    let name = match got {
        PoolError::Closed => "PoolClosedError",
        PoolError::WaitQueueTimeout { .. } => "WaitQueueTimeoutError",
        _ => "other",
    };
    let message = want["message"].as_str().unwrap_or_default().to_lowercase();
    if want["type"] != name || !got.to_string().starts_with(&message) {
        return Err(format!("error: got {name}: {got}, want {want}"));
    }
    Ok(())
}

/// An event as the files show it.
pub(super) fn to_json(event: &CmapEvent) -> Value {
    match event {
        CmapEvent::PoolCreated(e) => {
            let mut options = Map::new();
            let ms = |d: Option<Duration>| d.map(|d| d.as_millis());
            let o = &e.options;
            let fields = [
                ("maxPoolSize", o.max_pool_size.map(u128::from)),
                ("minPoolSize", o.min_pool_size.map(u128::from)),
                ("maxConnecting", o.max_connecting.map(u128::from)),
                ("maxIdleTimeMS", ms(o.max_idle_time)),
                ("waitQueueTimeoutMS", ms(o.wait_queue_timeout)),
            ];
            for (name, value) in fields {
                if let Some(value) = value {
                    options.insert(name.to_owned(), json!(value as u64));
                }
            }
            json!({ "type": "ConnectionPoolCreated", "address": e.address.to_string(), "options": options })
        }
        CmapEvent::PoolReady(e) => {
            json!({ "type": "ConnectionPoolReady", "address": e.address.to_string() })
        }
        CmapEvent::PoolClosed(e) => {
            json!({ "type": "ConnectionPoolClosed", "address": e.address.to_string() })
        }
        CmapEvent::PoolCleared(e) => json!({
            "type": "ConnectionPoolCleared", "address": e.address.to_string(),
            "interruptInUseConnections": e.interrupt_in_use_connections,
        }),
        CmapEvent::ConnectionCheckoutStarted(e) => {
            json!({ "type": "ConnectionCheckOutStarted", "address": e.address.to_string() })
        }
        CmapEvent::ConnectionCheckoutFailed(e) => json!({
            "type": "ConnectionCheckOutFailed", "address": e.address.to_string(),
            "reason": match e.reason {
                ConnectionCheckoutFailedReason::PoolClosed => "poolClosed",
                ConnectionCheckoutFailedReason::Timeout => "timeout",
                _ => "connectionError",
            },
            "duration": e.duration.as_millis() as u64,
        }),
        CmapEvent::ConnectionCheckedOut(e) => json!({
            "type": "ConnectionCheckedOut", "address": e.address.to_string(),
            "connectionId": e.connection_id, "duration": e.duration.as_millis() as u64,
        }),
        CmapEvent::ConnectionCheckedIn(e) => json!({
            "type": "ConnectionCheckedIn", "address": e.address.to_string(),
            "connectionId": e.connection_id,
        }),
        CmapEvent::ConnectionCreated(e) => json!({
            "type": "ConnectionCreated", "address": e.address.to_string(),
            "connectionId": e.connection_id,
        }),
        CmapEvent::ConnectionReady(e) => json!({
            "type": "ConnectionReady", "address": e.address.to_string(),
            "connectionId": e.connection_id, "duration": e.duration.as_millis() as u64,
        }),
        CmapEvent::ConnectionClosed(e) => json!({
            "type": "ConnectionClosed", "address": e.address.to_string(),
            "connectionId": e.connection_id,
            "reason": match e.reason {
                ConnectionClosedReason::Idle => "idle",
                ConnectionClosedReason::PoolClosed => "poolClosed",
                ConnectionClosedReason::Stale => "stale",
                _ => "error",
            },
        }),
        _ => json!({ "type": "unknown" }),
    }
}
