//! Newtype identifiers: never reused, short to print.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty) $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}

ids! {
    /// A client (its topology), unique in the process.
    TopologyId(u64) "y";
    /// A server in a topology.
    ServerId(u32) "s";
    /// A connection: per pool, from 1 (CMAP: "Connection"); monitors use 0.
    ConnId(u32) "c";
    /// A place in a pool's wait queue.
    Ticket(u64) "t";
    /// One request and its replies on a connection: the wire protocol's `requestID`.
    ExchangeId(i32) "x";
    /// A pool's generation (CMAP: "generation").
    Generation(u32) "g";
    /// Identifies all attempts of one operation in command events.
    OperationId(i64) "o";
}
