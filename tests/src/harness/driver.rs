//! The futures driver on the simulation's runtime.

use bson::Document;
use mongo_client_core::{
    error::Result,
    net::ServerAddress,
    op::CommandSpec,
    options::{ClientOptions, SessionOptions},
    pool::PoolCounts,
};
use mongo_client_driver::{
    Ambient, Executed, Handle, RuntimeSource, SessionArg, runtime::BoxFuture,
};

use super::{Harness, Ran};
use crate::sim::Servers;

/// The futures driver.
#[derive(Clone)]
pub struct DriverHarness {
    handle: Handle,
}

fn ran(executed: &Executed) -> Ran {
    let reply = Document::try_from(executed.reply.document());
    Ran {
        reply: reply.expect("a scripted reply"),
        server: executed.server,
        address: (*executed.address).clone(),
    }
}

impl Harness for DriverHarness {
    const NAME: &'static str = "driver";

    fn start(servers: &Servers, options: ClientOptions) -> Self {
        let runtime = servers.sim.runtime();
        let ambient = Ambient::of(&runtime);
        let source = RuntimeSource::given(runtime);
        let handle = Handle::new(options, source, ambient);
        Self {
            handle: handle.expect("a test's options are valid"),
        }
    }

    fn execute(&self, spec: CommandSpec) -> BoxFuture<'static, Result<Ran>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let executed = handle.execute(spec, SessionArg::Implicit).await?;
            Ok(ran(&executed))
        })
    }

    fn in_session(&self, specs: Vec<CommandSpec>) -> BoxFuture<'static, Result<Vec<Ran>>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let mut session = handle.start_session(SessionOptions::default()).await?;
            let mut all = Vec::new();
            for spec in specs {
                let explicit = SessionArg::Explicit(&mut session);
                all.push(ran(&handle.execute(spec, explicit).await?));
            }
            Ok(all)
        })
    }

    fn kill_cursor(&self, spec: CommandSpec) {
        self.handle
            .kill_cursor(spec, None, mongo_client_driver::Pinned::default());
    }

    fn pools(&self) -> Vec<(ServerAddress, PoolCounts)> {
        self.handle.census().pools
    }

    fn operations(&self) -> u32 {
        self.handle.census().operations
    }

    fn sessions(&self) -> usize {
        self.handle.census().sessions
    }

    fn shutdown(&self) -> BoxFuture<'static, ()> {
        let handle = self.handle.clone();
        Box::pin(async move { handle.shutdown().await })
    }
}
