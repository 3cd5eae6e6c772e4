//! Authentication mechanisms.
