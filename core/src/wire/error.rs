//! Why bytes are not a message.

use std::fmt;

use crate::error::Error;

/// A message that breaks the wire protocol, or that cannot be built by it; names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// `checksum` is not the CRC-32C of the message.
    Checksum,
    /// A compressor of the OP_COMPRESSED header that this build does not contain.
    CompressorNotBuilt(&'static str),
    /// `compressorId` is none that exists.
    CompressorUnknown(u8),
    /// The compressed bytes do not inflate to what `uncompressedSize` announces.
    Corrupt(&'static str),
    /// A document or section whose own length, terminator or name is wrong.
    Document(&'static str),
    /// `flagBits` has a required bit that is unknown.
    Flags(u32),
    /// `messageLength` is smaller than a header or larger than the limit.
    Length {
        /// The announced length.
        length: i32,
        /// The limit.
        max: usize,
    },
    /// `opCode` is neither OP_MSG nor OP_COMPRESSED.
    OpCode(i32),
    /// A section kind other than 0 and 1.
    SectionKind(u8),
    /// A message to be sent is longer than the server accepts.
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The message ends inside a field.
    Truncated(&'static str),
    /// `uncompressedSize` is negative or larger than the limit.
    UncompressedSize {
        /// The announced size.
        size: i32,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => f.write_str("field checksum: does not match the message"),
            Self::CompressorNotBuilt(name) => {
                write!(f, "field compressorId: {name} is not compiled in")
            }
            Self::CompressorUnknown(id) => write!(f, "field compressorId: unknown id {id}"),
            Self::Corrupt(name) => {
                write!(
                    f,
                    "field compressedMessage: not {name} data of uncompressedSize"
                )
            }
            Self::Document(field) => write!(f, "field {field}: malformed"),
            Self::Flags(flags) => write!(f, "field flagBits: unknown required bits in {flags:#x}"),
            Self::Length { length, max } => {
                write!(f, "field messageLength: {length} is not within 16..={max}")
            }
            Self::OpCode(code) => write!(f, "field opCode: unexpected {code}"),
            Self::SectionKind(kind) => write!(f, "field sections: unknown kind {kind}"),
            Self::TooLong { length, max } => {
                write!(
                    f,
                    "message of {length} bytes exceeds maxMessageSizeBytes ({max})"
                )
            }
            Self::Truncated(field) => write!(f, "field {field}: message ends inside it"),
            Self::UncompressedSize { size, max } => {
                write!(f, "field uncompressedSize: {size} is not within 0..={max}")
            }
        }
    }
}

impl std::error::Error for FrameError {}

impl From<FrameError> for Error {
    /// Remote misbehaviour becomes an invalid response, a message of ours that is too long an
    /// invalid argument.
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong { .. } => Self::invalid_argument(error.to_string()),
            _ => Self::invalid_response(format!("wire message: {error}")),
        }
    }
}
