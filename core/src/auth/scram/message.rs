//! The text messages of SCRAM (RFC 5802 section 7): writing the client's, reading the server's.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// The longest message accepted from a server; real ones have fewer than 200 bytes.
const MESSAGE_LEN_MAX: usize = 4096;
/// Fewer rounds are refused (Authentication: a downgrade would ease guessing the password).
const ITERATIONS_MIN: u32 = 4096;
/// More rounds are refused, so that a hostile server cannot burn CPU time: about a second. Servers
/// use 10,000 and 15,000 unless configured otherwise.
const ITERATIONS_MAX: u32 = 1_000_000;

/// How a server's message breaks the rules. Carries no part of the message but a server error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MessageError {
    /// The message lacks an attribute at its place, or has it malformed.
    Attribute(&'static str),
    /// The iteration count is out of bounds.
    Iterations(u32),
    /// The server demands an extension (`m=`) that this client does not have.
    Mandatory,
    /// The server's nonce does not continue the client's.
    Nonce,
    /// The server reports an error (`e=`).
    Server(String),
    /// The message is too long.
    TooLong,
    /// The message is not text.
    Utf8,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => {
                write!(f, "the server's message has no valid attribute \"{name}\"")
            }
            Self::Iterations(count) => write!(
                f,
                "iteration count {count} is not between {ITERATIONS_MIN} and {ITERATIONS_MAX}"
            ),
            Self::Mandatory => f.write_str("the server demands an unknown extension"),
            Self::Nonce => f.write_str("the server's nonce does not continue the client's"),
            Self::Server(error) => write!(f, "the server reports \"{}\"", error.escape_debug()),
            Self::TooLong => {
                write!(f, "the server's message exceeds {MESSAGE_LEN_MAX} bytes")
            }
            Self::Utf8 => f.write_str("the server's message is not UTF-8"),
        }
    }
}

/// The server's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerFirst {
    /// The whole message, which both sides sign.
    pub(super) text: String,
    /// The client's nonce followed by the server's.
    pub(super) nonce: String,
    /// The salt of the stored password.
    pub(super) salt: Vec<u8>,
    /// The rounds of the derivation, within bounds.
    pub(super) iterations: u32,
}

/// A nonce of printable characters without comma.
pub(super) fn nonce(random: &[u8]) -> String {
    BASE64.encode(random)
}

/// The client's first message without its header.
pub(super) fn first_bare(username: &str, nonce: &str) -> String {
    // The equals sign goes first: the escape of the comma contains one.
    let username = username.replace('=', "=3D").replace(',', "=2C");
    format!("n={username},r={nonce}")
}

/// The client's final message without the proof; `biws` is `n,,` in Base64.
pub(super) fn final_without_proof(nonce: &str) -> String {
    format!("c=biws,r={nonce}")
}

/// The client's final message.
pub(super) fn client_final(without_proof: &str, proof: &[u8]) -> String {
    format!("{without_proof},p={}", BASE64.encode(proof))
}

/// Reads `r=<nonce>,s=<salt>,i=<rounds>`; extensions at the end are ignored.
pub(super) fn parse_server_first(
    message: &[u8],
    client_nonce: &str,
) -> Result<ServerFirst, MessageError> {
    let text = text(message)?;
    let mut attributes = text.split(',');
    let mut next = |name: &'static str| {
        attributes
            .next()
            .and_then(|attribute| attribute.strip_prefix(name)?.strip_prefix('='))
            .ok_or(MessageError::Attribute(name))
    };
    if text.starts_with("m=") {
        return Err(MessageError::Mandatory);
    }
    let nonce = next("r")?;
    match nonce.strip_prefix(client_nonce) {
        Some(own) if !own.is_empty() => {}
        _ => return Err(MessageError::Nonce),
    }
    let salt = next("s")?;
    let salt = match BASE64.decode(salt) {
        Ok(salt) if !salt.is_empty() => salt,
        _ => return Err(MessageError::Attribute("s")),
    };
    let iterations = next("i")?;
    // `parse` alone would take a plus sign.
    if !iterations.bytes().all(|b| b.is_ascii_digit()) {
        return Err(MessageError::Attribute("i"));
    }
    let iterations = iterations
        .parse()
        .map_err(|_| MessageError::Attribute("i"))?;
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Err(MessageError::Iterations(iterations));
    }
    Ok(ServerFirst {
        nonce: nonce.to_owned(),
        salt,
        iterations,
        text: text.to_owned(),
    })
}

/// Reads `v=<signature>`; extensions at the end are ignored.
pub(super) fn parse_server_final(message: &[u8]) -> Result<Vec<u8>, MessageError> {
    let text = text(message)?;
    let signature = text
        .split(',')
        .next()
        .and_then(|attribute| attribute.strip_prefix("v="))
        .ok_or(MessageError::Attribute("v"))?;
    BASE64
        .decode(signature)
        .map_err(|_| MessageError::Attribute("v"))
}

/// The message as text, unless it is the server's error.
fn text(message: &[u8]) -> Result<&str, MessageError> {
    if message.len() > MESSAGE_LEN_MAX {
        return Err(MessageError::TooLong);
    }
    let text = std::str::from_utf8(message).map_err(|_| MessageError::Utf8)?;
    match text.strip_prefix("e=") {
        Some(error) => {
            let error = error.split(',').next().unwrap_or(error);
            Err(MessageError::Server(error.to_owned()))
        }
        None => Ok(text),
    }
}
