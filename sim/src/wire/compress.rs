//! The compressors of OP_COMPRESSED. `noop` is always there; the others by features.

/// How the body of a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressor {
    Noop,
    #[cfg(feature = "snappy")]
    Snappy,
    #[cfg(feature = "zlib")]
    Zlib,
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Compressor {
    /// All that are built in, with the names of the handshake.
    pub(crate) const ALL: &[(Self, &'static str)] = &[
        #[cfg(feature = "snappy")]
        (Self::Snappy, "snappy"),
        #[cfg(feature = "zstd")]
        (Self::Zstd, "zstd"),
        #[cfg(feature = "zlib")]
        (Self::Zlib, "zlib"),
        (Self::Noop, "noop"),
    ];

    pub(crate) fn from_id(id: u8) -> Option<Self> {
        let found = Self::ALL.iter().find(|(this, _)| this.id() == id);
        found.map(|(this, _)| *this)
    }

    pub(crate) fn id(self) -> u8 {
        match self {
            Self::Noop => 0,
            #[cfg(feature = "snappy")]
            Self::Snappy => 1,
            #[cfg(feature = "zlib")]
            Self::Zlib => 2,
            #[cfg(feature = "zstd")]
            Self::Zstd => 3,
        }
    }

    pub(crate) fn compress(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Self::Noop => plain.to_vec(),
            #[cfg(feature = "snappy")]
            Self::Snappy => {
                let compressed = snap::raw::Encoder::new().compress_vec(plain);
                compressed.expect("a message is smaller than the format's limit")
            }
            #[cfg(feature = "zlib")]
            Self::Zlib => {
                use std::io::Write as _;
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                let written = encoder.write_all(plain).and_then(|()| encoder.finish());
                written.expect("writing to memory does not fail")
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::bulk::compress(plain, 0).expect("compressing in memory succeeds"),
        }
    }

    /// The plain bytes; `None` when they are not exactly as many as announced.
    pub(crate) fn decompress(self, bytes: &[u8], size: usize) -> Option<Vec<u8>> {
        let plain = match self {
            Self::Noop => bytes.to_vec(),
            #[cfg(feature = "snappy")]
            Self::Snappy => {
                if snap::raw::decompress_len(bytes).ok()? != size {
                    return None;
                }
                snap::raw::Decoder::new().decompress_vec(bytes).ok()?
            }
            #[cfg(feature = "zlib")]
            Self::Zlib => {
                use std::io::Read as _;
                let mut plain = Vec::new();
                let limit = u64::try_from(size).ok()?.checked_add(1)?;
                let mut decoder = flate2::read::ZlibDecoder::new(bytes).take(limit);
                decoder.read_to_end(&mut plain).ok()?;
                plain
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::bulk::decompress(bytes, size).ok()?,
        };
        (plain.len() == size).then_some(plain)
    }
}
