//! Cursors that nobody reads any more.

use std::sync::Arc;

use mongo_client_core::{
    net::ServerAddress,
    op::{CommandSpec, Target},
};

use super::Client;
use crate::{action::Body, client::Pinned, cursor::CursorManager};

impl Client {
    /// Removes cursors from the server soon, in the background: by their ids, as replies of
    /// commands tell them. Those of a [`Cursor`](crate::Cursor) are removed when it is dropped.
    ///
    /// Without an address they are those of the current standalone, primary or router. Never
    /// blocks and never fails: when no such server is known, nothing happens, and the server
    /// removes the cursors after its own timeout (10 minutes by default).
    pub fn kill_cursors(&self, ids: &[i64], address: Option<&ServerAddress>) {
        if ids.is_empty() {
            return;
        }
        let Some(topology) = self.handle.latest() else {
            return;
        };
        let address = address.or_else(|| topology.current().map(|s| &s.address));
        let Some((server, _)) = address.and_then(|address| topology.server(address)) else {
            return;
        };
        // Servers find cursors by their ids alone; the collection only has to be named.
        let mut body = Body::new("killCursors", "$cmd");
        let Ok(body) = body.put("cursors", ids).and_then(|()| body.finish()) else {
            return;
        };
        let mut spec = CommandSpec::new("killCursors", "admin", body);
        spec.target = Target::Server(server);
        self.handle.kill_now(spec, None, Pinned::default());
    }

    /// Removes one cursor from the server; see [`kill_cursors`](Self::kill_cursors).
    pub fn close_cursor(&self, id: i64, address: Option<&ServerAddress>) {
        self.kill_cursors(&[id], address);
    }

    /// Decides from now on, for all clones, when dropped cursors are removed from the server;
    /// `None` restores the default: soon, in the background.
    pub fn set_cursor_manager(&self, manager: Option<Arc<dyn CursorManager>>) {
        self.handle.set_cursor_manager(manager);
    }
}
