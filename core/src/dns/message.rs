//! DNS messages: the question that is sent and what an answer says about it.
//!
//! Answers come from the network. Of them the question and the answer section are read, by a
//! [`Reader`] whose time and memory are bounded by the length of the message; what else there is
//! does not matter (RFC 1035, 4.1).

use std::time::Duration;

use super::{
    DnsFault,
    reader::{Broken, Data, Reader, Record},
};
use crate::net::ServerAddress;

/// The longest message: its length is sent in 16 bits.
pub(super) const MESSAGE_LEN_MAX: usize = 65_535;
/// The length of a message's header.
const HEADER_LEN: usize = 12;
/// The class of the internet.
pub(super) const CLASS_IN: u16 = 1;
/// The longest chain of aliases that is followed.
const ALIASES_MAX: usize = 8;

/// The type of record that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Hosts and ports.
    Srv,
    /// Options.
    Txt,
}

impl Kind {
    pub(super) fn record_type(self) -> u16 {
        match self {
            Self::Srv => 33,
            Self::Txt => 16,
        }
    }
}

/// What a message says about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not an answer to the question.
    Foreign,
    /// The server failed with a response code.
    Failure(u16),
    /// It is the answer, but cannot be read.
    Malformed,
    /// The name does not exist.
    NoSuchName,
    /// The SRV records and their shortest time to live; maybe none.
    Srv(Vec<ServerAddress>, Duration),
    /// An SRV record's target is not a host and port.
    InvalidTarget,
    /// The answer is longer than a datagram.
    Truncated,
    /// The TXT records, the strings of each joined; maybe none.
    Txt(Vec<String>),
    /// A TXT record is not UTF-8.
    TxtNotText,
}

/// Encodes a question.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, DnsFault> {
    let invalid = || DnsFault::InvalidName(name.chars().take(255).collect());
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    if name.len() > 253 || !name.split('.').all(label_ok) {
        return Err(invalid());
    }
    let mut out = id.to_be_bytes().to_vec();
    // Recursion is desired; there is one question and nothing else.
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).map_err(|_| invalid())?);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.record_type().to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    Ok(out)
}

/// Reads a message that may answer the question.
pub(super) fn answer(message: &[u8], id: u16, name: &str, kind: Kind) -> Verdict {
    let Some(header) = message.first_chunk::<HEADER_LEN>() else {
        return Verdict::Foreign;
    };
    if header[..2] != id.to_be_bytes() || header[2] & 0x80 == 0 {
        return Verdict::Foreign;
    }
    let code = u16::from(header[3] & 0x0f);
    if header[2] & 0x02 != 0 {
        return Verdict::Truncated;
    }
    let unreadable = match code {
        0 | 3 => Verdict::Malformed,
        // Servers that fail do not always repeat the question properly.
        _ => Verdict::Failure(code),
    };
    if !counts_fit(header, message.len()) {
        return unreadable;
    }
    let mut reader = Reader::new(message, HEADER_LEN);
    match count(header, 4) {
        0 if !matches!(code, 0 | 3) => {}
        1 => match reader.question() {
            Ok((Some(asked), record_type))
                if asked.eq_ignore_ascii_case(name) && record_type == kind.record_type() => {}
            Ok(_) => return Verdict::Foreign,
            Err(Broken) => return unreadable,
        },
        _ => return Verdict::Foreign,
    }
    match code {
        0 => match (0..count(header, 6))
            .map(|_| reader.record(kind))
            .collect::<Result<Vec<_>, _>>()
        {
            Ok(found) => records(found.into_iter().flatten().collect(), name, kind),
            Err(Broken) => Verdict::Malformed,
        },
        3 => Verdict::NoSuchName,
        code => Verdict::Failure(code),
    }
}

/// One of the four counts of a header.
fn count(header: &[u8; HEADER_LEN], at: usize) -> usize {
    usize::from(u16::from_be_bytes([header[at], header[at + 1]]))
}

/// Whether the message is long enough for the records that its header announces.
fn counts_fit(header: &[u8; HEADER_LEN], len: usize) -> bool {
    let records = count(header, 6) + count(header, 8) + count(header, 10);
    // The least lengths: root name, type and class; and with time to live and data length.
    HEADER_LEN + count(header, 4) * 5 + records * 11 <= len
}

fn records(found: Vec<Record>, name: &str, kind: Kind) -> Verdict {
    let mut owner = name;
    let mut ttl = u32::MAX;
    for _ in 0..ALIASES_MAX {
        let alias = found.iter().find_map(|record| match &record.data {
            Data::Alias(Some(target)) if record.is_owned_by(owner) => Some((target, record.ttl)),
            _ => None,
        });
        let Some((target, alias_ttl)) = alias else {
            break;
        };
        owner = target;
        ttl = ttl.min(alias_ttl);
    }
    let mut hosts = Vec::new();
    let mut texts = Vec::new();
    for record in found.iter().filter(|record| record.is_owned_by(owner)) {
        match &record.data {
            Data::Alias(_) => {}
            Data::Service { target, port } => {
                let target = target.as_deref().filter(|t| is_host(t) && *port != 0);
                let Some(target) = target else {
                    return Verdict::InvalidTarget;
                };
                ttl = ttl.min(record.ttl);
                hosts.push(ServerAddress::tcp(target, *port));
            }
            Data::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => texts.push(text.to_owned()),
                Err(_) => return Verdict::TxtNotText,
            },
        }
    }
    match kind {
        Kind::Srv => Verdict::Srv(hosts, Duration::from_secs(u64::from(ttl))),
        Kind::Txt => Verdict::Txt(texts),
    }
}

/// Whether a name can be a host's: letters, digits, hyphens and, as some use them, underscores.
fn is_host(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(plain)
}
