//! What a name server knows, and its messages: an encoder and a parser of its own, so that a
//! mistake of the client's codec is not made twice.
//!
//! Questions are taken as the client writes them: one, without compression. Answers compress names
//! where an earlier one has the same end.

use std::collections::BTreeMap;

/// The longest datagram that a client takes without having said more.
pub const DATAGRAM_BYTES_MAX: usize = 512;
/// The longest chain of aliases that is put into one answer.
const ALIASES_MAX: usize = 64;

/// The type of CNAME records.
pub const CNAME: u16 = 5;
/// The type of TXT records.
pub const TXT: u16 = 16;
/// The type of SRV records.
pub const SRV: u16 = 33;

/// The response code for a server's own failure.
pub const SERVFAIL: u8 = 2;
/// The response code for a name that does not exist.
pub const NXDOMAIN: u8 = 3;
/// The response code for a server that does not want to answer.
pub const REFUSED: u8 = 5;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The name is an alias of this one.
    Cname(String),
    /// Anything, as it is sent.
    Raw(u16, Vec<u8>),
    /// A host and its port.
    Srv(String, u16),
    /// The strings of a text.
    Txt(Vec<Vec<u8>>),
}

impl Data {
    /// A text of one string for every 255 bytes.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Txt(text.as_bytes().chunks(255).map(<[u8]>::to_vec).collect())
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Cname(_) => CNAME,
            Self::Raw(kind, _) => *kind,
            Self::Srv(..) => SRV,
            Self::Txt(_) => TXT,
        }
    }
}

/// A record without its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The seconds to live.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

impl Record {
    /// A record that lives for so many seconds.
    #[must_use]
    pub fn new(ttl: u32, data: Data) -> Self {
        Self { ttl, data }
    }

    /// An SRV record that lives for a minute.
    #[must_use]
    pub fn srv(host: &str, port: u16) -> Self {
        Self::new(60, Data::Srv(host.to_owned(), port))
    }

    /// A TXT record that lives for a minute.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::new(60, Data::text(text))
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The id of the message.
    pub id: u16,
    /// The name, in lower case.
    pub name: String,
    /// The type of the records.
    pub kind: u16,
    /// The question as it was asked, to be repeated in the answer.
    asked: Vec<u8>,
}

impl Question {
    /// Reads a message; `None` when it is no question.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let (mut name, mut at) = (String::new(), 12);
        while *message.get(at)? != 0 {
            let end = at + 1 + usize::from(message[at]);
            if !name.is_empty() {
                name.push('.');
            }
            let label = message.get(at + 1..end)?.to_ascii_lowercase();
            name.push_str(std::str::from_utf8(&label).ok()?);
            at = end;
        }
        let asked = message.get(12..at + 5)?.to_vec();
        Some(Self {
            id: u16::from_be_bytes([message[0], message[1]]),
            kind: u16::from_be_bytes([message[at + 1], message[at + 2]]),
            name,
            asked,
        })
    }

    /// An answer with this response code and these owners and records.
    ///
    /// # Panics
    ///
    /// When it is longer than a message can be.
    #[must_use]
    pub fn answer(&self, code: u8, records: &[(String, Record)]) -> Vec<u8> {
        let mut out = self.id.to_be_bytes().to_vec();
        // A response, with recursion wanted and available; then the counts of the four sections.
        out.extend([0x81, 0x80 | code, 0, 1]);
        let count = u16::try_from(records.len()).expect("a message has less than 65536 records");
        out.extend(count.to_be_bytes());
        out.extend([0; 4]);
        let mut seen = BTreeMap::new();
        remember(&mut seen, &self.name, 12);
        out.extend(&self.asked);
        for (owner, record) in records {
            put_name(&mut out, &mut seen, owner);
            out.extend(record.data.kind().to_be_bytes());
            out.extend([0, 1]);
            out.extend(record.ttl.to_be_bytes());
            let at = out.len();
            out.extend([0, 0]);
            match &record.data {
                Data::Cname(target) => put_name(&mut out, &mut seen, target),
                Data::Raw(_, bytes) => out.extend(bytes),
                Data::Srv(target, port) => {
                    // Priority and weight come before the port.
                    out.extend([0, 0, 0, 5]);
                    out.extend(port.to_be_bytes());
                    put_name(&mut out, &mut seen, target);
                }
                Data::Txt(strings) => {
                    for string in strings {
                        out.push(u8::try_from(string.len()).expect("a string has 255 bytes"));
                        out.extend(string);
                    }
                }
            }
            let len = u16::try_from(out.len() - at - 2).expect("data has less than 65536 bytes");
            out[at..at + 2].copy_from_slice(&len.to_be_bytes());
        }
        assert!(out.len() <= usize::from(u16::MAX), "the answer is too long");
        out
    }

    /// An answer that says no more than that it is too long for a datagram.
    #[must_use]
    pub fn truncated(&self) -> Vec<u8> {
        let mut out = self.answer(0, &[]);
        out[2] |= 2;
        out
    }
}

/// Writes a name; its end as a pointer if it was written before.
fn put_name(out: &mut Vec<u8>, seen: &mut BTreeMap<String, u16>, name: &str) {
    let start = out.len();
    let mut rest = name.trim_end_matches('.');
    while !rest.is_empty() {
        if let Some(at) = seen.get(&rest.to_ascii_lowercase()) {
            out.extend((0xc000 | at).to_be_bytes());
            remember(seen, name, start);
            return;
        }
        let (label, after) = rest.split_once('.').unwrap_or((rest, ""));
        out.push(u8::try_from(label.len()).expect("a label is short"));
        out.extend(label.as_bytes());
        rest = after;
    }
    out.push(0);
    remember(seen, name, start);
}

/// Keeps where a name and each of its ends stand, if a pointer reaches so far.
fn remember(seen: &mut BTreeMap<String, u16>, name: &str, mut at: usize) {
    let mut rest = name.trim_end_matches('.').to_ascii_lowercase();
    while !rest.is_empty() {
        // The ends behind a pointer are known already, from where it points to.
        match u16::try_from(at) {
            Ok(at) if at < 0x4000 && !seen.contains_key(&rest) => {
                seen.insert(rest.clone(), at);
            }
            _ => return,
        }
        let Some((label, after)) = rest.split_once('.') else {
            return;
        };
        at += label.len() + 1;
        rest = after.to_owned();
    }
}

/// Names and their records.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: BTreeMap<String, Vec<Record>>,
}

impl Zone {
    /// A zone without names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a name these records and no others; without any, it exists all the same.
    pub fn set(&mut self, name: &str, records: Vec<Record>) {
        self.names.insert(name.to_ascii_lowercase(), records);
    }

    /// Gives the `mongodb` service of a host these SRV records, which live for a minute.
    pub fn set_service(&mut self, host: &str, targets: &[(String, u16)]) {
        let records = targets.iter().map(|(host, port)| Record::srv(host, *port));
        self.set(&format!("_mongodb._tcp.{host}"), records.collect());
    }

    /// Forgets a name: it does not exist.
    pub fn remove(&mut self, name: &str) {
        self.names.remove(&name.to_ascii_lowercase());
    }

    /// The complete answer to a question, with the aliases that lead to the records.
    #[must_use]
    pub fn answer(&self, question: &Question) -> Vec<u8> {
        let mut found = Vec::new();
        let mut owner = question.name.clone();
        for _ in 0..=ALIASES_MAX {
            let Some(records) = self.names.get(&owner) else {
                return question.answer(NXDOMAIN, &found);
            };
            let mut alias = None;
            for record in records {
                if let Data::Cname(target) = &record.data {
                    alias = Some(target.to_ascii_lowercase());
                } else if record.data.kind() != question.kind {
                    continue;
                }
                found.push((owner.clone(), record.clone()));
            }
            match alias {
                Some(target) => owner = target,
                None => break,
            }
        }
        question.answer(0, &found)
    }
}
