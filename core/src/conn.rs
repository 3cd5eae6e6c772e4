//! The connection machine: one socket's protocol.
