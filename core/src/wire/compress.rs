//! The compressors of OP_COMPRESSED, each behind its feature.

use super::FrameError;
use crate::options::Compressor;

/// Whether this build contains the compressor.
#[must_use]
pub fn is_compiled_in(compressor: Compressor) -> bool {
    match compressor {
        Compressor::Snappy => cfg!(feature = "snappy"),
        Compressor::Zlib { .. } => cfg!(feature = "zlib"),
        Compressor::Zstd { .. } => cfg!(feature = "zstd"),
    }
}

/// The compressor's `compressorId`.
pub(super) fn id(compressor: Compressor) -> u8 {
    match compressor {
        Compressor::Snappy => 1,
        Compressor::Zlib { .. } => 2,
        Compressor::Zstd { .. } => 3,
    }
}

/// Appends the compressed `input` to `out`.
pub(super) fn deflate(
    compressor: Compressor,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    match compressor {
        Compressor::Snappy => snappy::deflate(input, out),
        Compressor::Zlib { level } => zlib::deflate(input, level, out),
        Compressor::Zstd { level } => zstandard::deflate(input, level, out),
    }
}

/// Inflates `input` to exactly `size` bytes; the caller has checked `size` against its limit.
pub(super) fn inflate(id: u8, input: &[u8], size: usize) -> Result<Vec<u8>, FrameError> {
    match id {
        0 if input.len() == size => Ok(input.to_vec()),
        0 => Err(FrameError::Corrupt("noop")),
        1 => snappy::inflate(input, size),
        2 => zlib::inflate(input, size),
        3 => zstandard::inflate(input, size),
        id => Err(FrameError::CompressorUnknown(id)),
    }
}

#[cfg(feature = "snappy")]
mod snappy {
    use super::FrameError;

    const CORRUPT: FrameError = FrameError::Corrupt("snappy");

    pub(super) fn deflate(input: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let start = out.len();
        let bound = snap::raw::max_compress_len(input.len());
        out.resize(start.saturating_add(bound), 0);
        let result = snap::raw::Encoder::new().compress(input, &mut out[start..]);
        out.truncate(start + result.as_ref().copied().unwrap_or(0));
        result.map(drop).map_err(|_| CORRUPT)
    }

    pub(super) fn inflate(input: &[u8], size: usize) -> Result<Vec<u8>, FrameError> {
        if snap::raw::decompress_len(input) != Ok(size) {
            return Err(CORRUPT);
        }
        let mut out = vec![0; size];
        match snap::raw::Decoder::new().decompress(input, &mut out) {
            Ok(n) if n == size => Ok(out),
            _ => Err(CORRUPT),
        }
    }
}

#[cfg(not(feature = "snappy"))]
mod snappy {
    use super::FrameError;

    const MISSING: FrameError = FrameError::CompressorNotBuilt("snappy");

    pub(super) fn deflate(_: &[u8], _: &mut Vec<u8>) -> Result<(), FrameError> {
        Err(MISSING)
    }

    pub(super) fn inflate(_: &[u8], _: usize) -> Result<Vec<u8>, FrameError> {
        Err(MISSING)
    }
}

#[cfg(feature = "zlib")]
mod zlib {
    use std::io::Write as _;

    use flate2::{Compression, Decompress, FlushDecompress, Status, write::ZlibEncoder};

    use super::FrameError;

    const CORRUPT: FrameError = FrameError::Corrupt("zlib");

    pub(super) fn deflate(
        input: &[u8],
        level: Option<i32>,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        // -1 and everything else that is no level means the default.
        let level = level
            .and_then(|l| u32::try_from(l).ok())
            .filter(|l| *l <= 9);
        let level = level.map_or_else(Compression::default, Compression::new);
        let mut encoder = ZlibEncoder::new(out, level);
        encoder.write_all(input).map_err(|_| CORRUPT)?;
        encoder.finish().map(drop).map_err(|_| CORRUPT)
    }

    pub(super) fn inflate(input: &[u8], size: usize) -> Result<Vec<u8>, FrameError> {
        let mut out = vec![0; size];
        let mut machine = Decompress::new(true);
        match machine.decompress(input, &mut out, FlushDecompress::Finish) {
            Ok(Status::StreamEnd) if machine.total_out() == size as u64 => Ok(out),
            _ => Err(CORRUPT),
        }
    }
}

#[cfg(not(feature = "zlib"))]
mod zlib {
    use super::FrameError;

    const MISSING: FrameError = FrameError::CompressorNotBuilt("zlib");

    pub(super) fn deflate(_: &[u8], _: Option<i32>, _: &mut Vec<u8>) -> Result<(), FrameError> {
        Err(MISSING)
    }

    pub(super) fn inflate(_: &[u8], _: usize) -> Result<Vec<u8>, FrameError> {
        Err(MISSING)
    }
}

#[cfg(feature = "zstd")]
mod zstandard {
    use super::FrameError;

    const CORRUPT: FrameError = FrameError::Corrupt("zstd");

    pub(super) fn deflate(
        input: &[u8],
        level: Option<i32>,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        // Level 0 is the library's default.
        let compressed = zstd::bulk::compress(input, level.unwrap_or(0)).map_err(|_| CORRUPT)?;
        out.extend_from_slice(&compressed);
        Ok(())
    }

    pub(super) fn inflate(input: &[u8], size: usize) -> Result<Vec<u8>, FrameError> {
        let mut out = vec![0; size];
        match zstd::bulk::decompress_to_buffer(input, &mut out[..]) {
            Ok(n) if n == size => Ok(out),
            _ => Err(CORRUPT),
        }
    }
}

#[cfg(not(feature = "zstd"))]
mod zstandard {
    use super::FrameError;

    const MISSING: FrameError = FrameError::CompressorNotBuilt("zstd");

    pub(super) fn deflate(_: &[u8], _: Option<i32>, _: &mut Vec<u8>) -> Result<(), FrameError> {
        Err(MISSING)
    }

    pub(super) fn inflate(_: &[u8], _: usize) -> Result<Vec<u8>, FrameError> {
        Err(MISSING)
    }
}
