//! Reserved for the async-std adapter of mongo-client.
//!
//! async-std is discontinued upstream, and its futures run on the same reactor as smol's: until this
//! adapter exists, give a client `SmolRuntime` (feature `smol`), which works in async-std's executor.
