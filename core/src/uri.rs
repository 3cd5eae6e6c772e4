//! Connection strings and their options.
