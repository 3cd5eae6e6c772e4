//! Sessions.

/// An explicit session.
#[derive(Debug)]
pub struct ClientSession {}

/// A session that the client made for one operation or one cursor; returned to the pool on drop.
#[derive(Debug)]
pub(crate) struct ImplicitSession {}
