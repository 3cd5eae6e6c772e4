//! Observations as lines of text.

use mongo_client_core::time::Instant;

use super::observe::{Observation, Outcome};

/// Longer descriptions are cut.
const LEN_MAX: usize = 300;

pub(super) fn line(at: Instant, what: &Observation<'_>) -> String {
    let seconds = at.as_nanos() as f64 / 1e9;
    let text = match what {
        Observation::ClientBytes { connection, bytes } => {
            format!("k{connection} > {}", message(bytes))
        }
        Observation::ServerBytes { connection, bytes } => {
            format!("k{connection} < {}", message(bytes))
        }
        Observation::Began(facts) => format!("op {} {facts:?}", facts.op),
        Observation::Ended {
            op,
            outcome: Outcome::Done { replies },
        } => {
            let last = replies.last().map(|r| format!("{r:?}"));
            format!("op {op} well: {}", last.unwrap_or_default())
        }
        Observation::Ended {
            op,
            outcome: Outcome::Failed(error),
        } => format!("op {op} failed: {error}"),
        Observation::Cmap { client, event } => format!("client {client} {event:?}"),
        Observation::Sdam { client, event } => format!("client {client} {event:?}"),
        Observation::Command { client, event } => format!("client {client} {event:?}"),
        other => format!("{other:?}"),
    };
    let mut text = format!("{seconds:12.6} {text}");
    if text.len() > LEN_MAX {
        let end = (0..=LEN_MAX).rev().find(|i| text.is_char_boundary(*i));
        text.truncate(end.unwrap_or(0));
    }
    text
}

/// The header of a message, and its document if it is whole.
fn message(bytes: &[u8]) -> String {
    let number = |from: usize| {
        let four = bytes.get(from..from + 4)?;
        Some(i32::from_le_bytes(four.try_into().ok()?))
    };
    let (Some(length), Some(id), Some(to), Some(code)) =
        (number(0), number(4), number(8), number(12))
    else {
        return format!("{} bytes", bytes.len());
    };
    let document = (code == 2013).then(|| bytes.get(21..)).flatten();
    let document = document.and_then(|d| {
        let end = usize::try_from(i32::from_le_bytes(d.get(..4)?.try_into().ok()?)).ok()?;
        bson::Document::from_reader(d.get(..end)?).ok()
    });
    let show = document.map(|d| d.to_string()).unwrap_or_default();
    format!(
        "{} bytes: length {length} id {id} to {to} code {code} {show}",
        bytes.len()
    )
}
