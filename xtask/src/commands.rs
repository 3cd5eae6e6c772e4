//! One module per command.

pub(crate) mod bench;
pub(crate) mod bench_rows;
pub(crate) mod cluster;
pub(crate) mod event_loop;
pub(crate) mod instructions;
pub(crate) mod quickstart;
pub(crate) mod sim;
pub(crate) mod spec;
pub(crate) mod test;
pub(crate) mod tidy;
