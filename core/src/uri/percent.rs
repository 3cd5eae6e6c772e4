//! Strict percent-decoding (RFC 3986 section 2.1).
//!
//! A `%` must start two hexadecimal digits and the result must be UTF-8. `+` stands for itself.

use std::borrow::Cow;

/// Why a text is not percent-encoded. Never carries the text, which may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PercentFault {
    /// A `%` without two hexadecimal digits.
    Escape,
    /// The decoded bytes are not UTF-8.
    Utf8,
}

impl PercentFault {
    /// The fault in words.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Escape => "a percent sign must be followed by two hexadecimal digits (write %25)",
            Self::Utf8 => "the percent-encoded bytes are not UTF-8",
        }
    }
}

/// Decodes a text.
pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, PercentFault> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = hex(bytes.next())?;
            let low = hex(bytes.next())?;
            out.push(high << 4 | low);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out)
        .map(Cow::Owned)
        .map_err(|_| PercentFault::Utf8)
}

fn hex(byte: Option<u8>) -> Result<u8, PercentFault> {
    match byte {
        Some(b @ b'0'..=b'9') => Ok(b - b'0'),
        Some(b @ b'a'..=b'f') => Ok(b - b'a' + 10),
        Some(b @ b'A'..=b'F') => Ok(b - b'A' + 10),
        _ => Err(PercentFault::Escape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode("a%2Fb%25%32%35+").as_deref(), Ok("a/b%25+"));
        assert_eq!(decode("%C3%BC").as_deref(), Ok("ü"));
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["%", "%2", "a%", "%zz", "%2g", "% 2", "%+2", "ü%é"] {
            assert_eq!(decode(text), Err(PercentFault::Escape), "{text}");
        }
        assert_eq!(decode("%ff%fe"), Err(PercentFault::Utf8));
    }
}
