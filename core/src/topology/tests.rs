//! The traps of the specification that its files do not reach.
