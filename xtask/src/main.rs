//! The project's daily commands.
fn main() {}
