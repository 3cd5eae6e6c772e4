//! Reads the parts of a DNS message from front to back.
//!
//! A name follows pointers, but only backwards and only so many: a name costs a few hundred steps
//! at most, wherever it leads, and never more than 254 bytes.

use super::message::{CLASS_IN, Kind};

/// The longest name in a message, without the root at its end.
const NAME_LEN_MAX: usize = 254;
/// The most pointers that a name follows: it has no more labels.
const POINTERS_MAX: usize = 127;
const TYPE_CNAME: u16 = 5;

/// The message breaks the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A record of the class and of a type that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) owner: String,
    /// Seconds to live.
    pub(super) ttl: u32,
    pub(super) data: Data,
}

impl Record {
    pub(super) fn is_owned_by(&self, name: &str) -> bool {
        self.owner.eq_ignore_ascii_case(name)
    }
}

/// What a record says; a name that is no plain text is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// The owner is an alias.
    Alias(Option<String>),
    /// An SRV record; priority and weight are of no concern.
    Service { target: Option<String>, port: u16 },
    /// The strings of a TXT record, joined.
    Text(Vec<u8>),
}

/// A place in a message.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at }
    }

    /// The name and the type of a question.
    pub(super) fn question(&mut self) -> Result<(Option<String>, u16), Broken> {
        let name = self.name()?;
        let record_type = self.number()?;
        self.bytes(2)?;
        Ok((name, record_type))
    }

    /// The next record; `None` if it does not matter.
    pub(super) fn record(&mut self, kind: Kind) -> Result<Option<Record>, Broken> {
        let owner = self.name()?;
        let record_type = self.number()?;
        let class = self.number()?;
        let ttl = u32::from(self.number()?) << 16 | u32::from(self.number()?);
        let len = usize::from(self.number()?);
        let mut data = Reader::new(self.message, self.at);
        self.bytes(len)?;
        // The data may point at what is before it, but does not reach beyond its end.
        data.message = &self.message[..self.at];
        let data = match record_type {
            _ if class != CLASS_IN => return Ok(None),
            TYPE_CNAME => Data::Alias(data.name()?),
            other if other != kind.record_type() => return Ok(None),
            _ => data.of(kind)?,
        };
        Ok(owner.map(|owner| Record {
            owner,
            ttl: lifetime(ttl),
            data,
        }))
    }

    /// The data of a record of the type that was asked for.
    fn of(&mut self, kind: Kind) -> Result<Data, Broken> {
        match kind {
            Kind::Srv => {
                self.bytes(4)?;
                let port = self.number()?;
                let target = self.name()?;
                Ok(Data::Service { target, port })
            }
            Kind::Txt => {
                let mut text = Vec::new();
                while self.at < self.message.len() {
                    let len = usize::from(self.bytes(1)?[0]);
                    text.extend_from_slice(self.bytes(len)?);
                }
                Ok(Data::Text(text))
            }
        }
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let bytes = self.message.get(self.at..).and_then(|b| b.get(..len));
        self.at += len;
        bytes.ok_or(Broken)
    }

    fn number(&mut self) -> Result<u16, Broken> {
        let bytes = self.bytes(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name with dots; `None` when a label is not plain ASCII or contains a dot itself.
    fn name(&mut self) -> Result<Option<String>, Broken> {
        let mut text = Some(String::new());
        let (mut len, mut pointers) = (0, 0);
        // Where reading goes on; and where this run of labels began, which pointers go before.
        let (mut end, mut start) = (None, self.at);
        loop {
            let first = usize::from(self.bytes(1)?[0]);
            match first {
                0 => break,
                1..=63 => {
                    len += 1 + first;
                    if len > NAME_LEN_MAX {
                        return Err(Broken);
                    }
                    let label = self.bytes(first)?;
                    text = text.and_then(|text| with_label(text, label));
                }
                0xc0.. => {
                    let to = (first & 0x3f) << 8 | usize::from(self.bytes(1)?[0]);
                    end = end.or(Some(self.at));
                    pointers += 1;
                    if to >= start || pointers > POINTERS_MAX {
                        return Err(Broken);
                    }
                    (self.at, start) = (to, to);
                }
                _ => return Err(Broken),
            }
        }
        self.at = end.unwrap_or(self.at);
        Ok(text)
    }
}

/// The name with one more label, if that is plain.
fn with_label(mut name: String, label: &[u8]) -> Option<String> {
    if !label.iter().all(|&b| b.is_ascii_graphic() && b != b'.') {
        return None;
    }
    if !name.is_empty() {
        name.push('.');
    }
    name.push_str(std::str::from_utf8(label).ok()?);
    Some(name)
}

/// RFC 2181, 8: a time to live with its highest bit set means zero.
fn lifetime(ttl: u32) -> u32 {
    i32::try_from(ttl).map_or(0, |_| ttl)
}
