//! DNS messages: the question that is sent and what an answer says about it.
//!
//! Answers come from the network: their header is checked before the codec sees them, so that its
//! memory is bounded by their length.

use std::time::Duration;

use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE, rdata::RData};

use super::DnsFault;
use crate::net::ServerAddress;

/// The longest message: its length is sent in 16 bits.
pub(super) const MESSAGE_LEN_MAX: usize = 65_535;
/// The length of a message's header.
const HEADER_LEN: usize = 12;
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
    fn record_type(self) -> TYPE {
        match self {
            Self::Srv => TYPE::SRV,
            Self::Txt => TYPE::TXT,
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
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).map_err(|_| invalid())?,
        QTYPE::TYPE(kind.record_type()),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().map_err(|_| invalid())
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
    if !counts_fit(header, message.len()) {
        return Verdict::Malformed;
    }
    let Ok(packet) = Packet::parse(message) else {
        return match code {
            0 | 3 => Verdict::Malformed,
            // Servers that fail do not always repeat the question properly.
            _ => Verdict::Failure(code),
        };
    };
    let asked = |q: &Question<'_>| {
        text(&q.qname).is_some_and(|n| n.eq_ignore_ascii_case(name))
            && q.qtype == QTYPE::TYPE(kind.record_type())
    };
    match packet.questions.as_slice() {
        [question] if asked(question) => {}
        [] if code != 0 && code != 3 => {}
        _ => return Verdict::Foreign,
    }
    match code {
        0 => records(&packet, name, kind),
        3 => Verdict::NoSuchName,
        code => Verdict::Failure(code),
    }
}

/// Whether the message is long enough for the records that its header announces.
fn counts_fit(header: &[u8; HEADER_LEN], len: usize) -> bool {
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let records = count(6) + count(8) + count(10);
    // The least lengths: root name, type and class; and with time to live and data length.
    HEADER_LEN + count(4) * 5 + records * 11 <= len
}

fn records(packet: &Packet<'_>, name: &str, kind: Kind) -> Verdict {
    let mut owner = name.to_owned();
    let mut ttl = u32::MAX;
    for _ in 0..ALIASES_MAX {
        let alias = packet
            .answers
            .iter()
            .find_map(|record| match &record.rdata {
                RData::CNAME(target) if is_owned_by(&record.name, &owner) => {
                    Some((text(&target.0)?, lifetime(record.ttl)))
                }
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
    for record in &packet.answers {
        if record.class != CLASS::IN || !is_owned_by(&record.name, &owner) {
            continue;
        }
        match (&record.rdata, kind) {
            (RData::SRV(srv), Kind::Srv) => {
                let Some(target) = host(&srv.target).filter(|_| srv.port != 0) else {
                    return Verdict::InvalidTarget;
                };
                ttl = ttl.min(lifetime(record.ttl));
                hosts.push(ServerAddress::tcp(&target, srv.port));
            }
            (RData::TXT(txt), Kind::Txt) => match String::try_from(txt.clone()) {
                Ok(joined) => texts.push(joined),
                Err(_) => return Verdict::TxtNotText,
            },
            _ => {}
        }
    }
    match kind {
        Kind::Srv => Verdict::Srv(hosts, Duration::from_secs(u64::from(ttl))),
        Kind::Txt => Verdict::Txt(texts),
    }
}

/// A time to live in seconds (RFC 2181, 8: a number with the highest bit set means zero).
fn lifetime(ttl: u32) -> u32 {
    i32::try_from(ttl).map_or(0, |_| ttl)
}

fn is_owned_by(name: &Name<'_>, owner: &str) -> bool {
    text(name).is_some_and(|name| name.eq_ignore_ascii_case(owner))
}

/// The name with dots; `None` when a label is not plain ASCII or contains a dot itself.
fn text(name: &Name<'_>) -> Option<String> {
    let mut out = String::new();
    for label in name.get_labels() {
        let bytes = label.as_ref();
        if !bytes.iter().all(|&b| b.is_ascii_graphic() && b != b'.') {
            return None;
        }
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(std::str::from_utf8(bytes).ok()?);
    }
    Some(out)
}

/// The name if it can be a host's: letters, digits, hyphens and, as some use them, underscores.
fn host(name: &Name<'_>) -> Option<String> {
    let name = text(name)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (!name.is_empty() && name.bytes().all(plain)).then_some(name)
}
