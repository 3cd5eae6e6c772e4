//! The wire protocol: OP_MSG and OP_COMPRESSED.
