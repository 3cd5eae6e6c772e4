//! What a client tells `tracing` when it is closed and opened again.

use std::sync::{Arc, Mutex};

use bson::doc;
use mongo_client::event::{EventHandler, sdam::SdamEvent};
use mongo_client_tests::{logs::Logs, sim::Servers};
use tracing::Level;

#[test]
fn a_client_that_opens_again_tells_the_id_of_its_new_topology() {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let logs = Logs::new(Level::DEBUG);
    logs.listen(|| {
        let servers = Servers::standalone(1);
        let ids = Arc::clone(&opened);
        let client = servers.client(|options| {
            options.sdam_event_handler = Some(EventHandler::callback(move |event| {
                if let SdamEvent::TopologyOpening(e) = event {
                    ids.lock().unwrap().push(e.topology_id.0);
                }
            }));
        });
        servers.sim.block_on(async {
            for _ in 0..3 {
                let db = client.database("db");
                db.run_command(doc! { "ping": 1 }).await.unwrap();
                client.close().await;
            }
        });
    });
    let opened = opened.lock().unwrap().clone();
    assert_eq!(opened.len(), 3);
    let mut ids = opened.into_iter();
    let mut id = None;
    let mut heartbeats = 0;
    for event in logs.component("topology") {
        if event.message == "Starting topology monitoring" {
            id = ids.next();
        }
        assert_eq!(event.field("topologyId").as_u64(), id, "{event:?}");
        heartbeats += usize::from(event.message.contains("heartbeat"));
    }
    assert_eq!(ids.next(), None);
    assert!(heartbeats >= 6, "{heartbeats}");
}
