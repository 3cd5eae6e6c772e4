//! TLS inside the connection machine.
