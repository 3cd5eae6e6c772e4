//! `close`: the end of a topology, and the next one with the next use.

use bson::{Document, doc};
use futures_util::StreamExt;
use mongo_client::{Client, error::ErrorKind, event::sdam::SdamEvent, topology::TopologyId};
use mongo_client_tests::{
    deploy,
    live::{self, Event},
    rt,
};

/// What the events say of whole topologies, in order.
fn topologies(events: &[Event]) -> Vec<(&'static str, TopologyId)> {
    let topologies = events.iter().filter_map(|event| match event {
        Event::Sdam(SdamEvent::TopologyOpening(e)) => Some(("opening", e.topology_id)),
        Event::Sdam(SdamEvent::TopologyClosed(e)) => Some(("closed", e.topology_id)),
        _ => None,
    });
    topologies.collect()
}

async fn leaves_no_connections(observer: &Client, app_name: &str) {
    live::eventually("no connections", || async {
        live::connections_of(observer, app_name).await.unwrap() == 0
    })
    .await;
}

#[test]
fn a_closed_client_has_no_connections_and_opens_again_with_another_topology() {
    live::on("REPLICA_SET", async |uri| {
        let mut options = live::options(&uri);
        let app_name = live::app_name(&options);
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let observer = live::client(&uri);
        let db = live::database(&client);
        let people = db.collection::<Document>("people");
        for round in 0..3_usize {
            people.insert_one(doc! {}).await.unwrap();
            assert!(!client.nodes().is_empty());

            client.close().await;

            assert!(client.nodes().is_empty());
            assert_eq!(client.address().unwrap(), None);
            leaves_no_connections(&observer, &app_name).await;
            let seen = topologies(&events.events());
            assert_eq!(seen.len(), 2 * (round + 1), "{seen:?}");
            assert_eq!(seen[2 * round], ("opening", seen[2 * round].1));
            assert_eq!(seen[2 * round + 1], ("closed", seen[2 * round].1));
            assert!(round == 0 || seen[2 * round].1 != seen[2 * round - 1].1);
            assert!(!events.started("endSessions").is_empty());
            // Nothing comes after the end, and a second close does nothing.
            let last = events
                .events()
                .into_iter()
                .rfind(|e| matches!(e, Event::Sdam(_)));
            assert!(
                matches!(last, Some(Event::Sdam(SdamEvent::TopologyClosed(_)))),
                "{last:?}"
            );
            client.close().await;
            assert_eq!(topologies(&events.events()).len(), 2 * (round + 1));
        }
        assert_eq!(people.count_documents(doc! {}).await.unwrap(), 3);
        live::forget(&db).await;
        client.shutdown().await;
        let error = people.find_one(doc! {}).await.unwrap_err();
        assert!(matches!(&*error.kind, ErrorKind::Shutdown), "{error:?}");
    });
}

#[test]
fn a_cursor_of_an_earlier_topology_ends_with_an_error_and_is_dropped_without_harm() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&uri);
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let db = live::database(&client);
        let numbers = db.collection::<Document>("numbers");
        let documents: Vec<Document> = (0..10).map(|n| doc! { "_id": n }).collect();
        numbers.insert_many(&documents).await.unwrap();
        let dropped = numbers.find(doc! {}).batch_size(2).await.unwrap();
        let mut session = client.start_session().await.unwrap();
        let read = numbers.find(doc! {}).batch_size(2).await.unwrap();

        client.close().await;

        drop(dropped);
        assert_eq!(topologies(&events.events()).len(), 2, "it stays closed");
        let rest: Vec<_> = read.collect().await;
        assert_eq!(rest.len(), 3, "what was fetched, then the error");
        let error = rest.into_iter().last().unwrap().unwrap_err();
        assert!(matches!(&*error.kind, ErrorKind::Closed), "{error:?}");
        assert!(events.started("getMore").is_empty());
        // Sessions go on.
        let found = numbers.find_one(doc! {}).session(&mut session).await;
        assert!(found.unwrap().is_some());
        live::forget(&db).await;
    });
}

#[test]
fn operations_that_wait_for_a_server_end_when_the_client_is_closed() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let mut options = live::options("mongodb://127.0.0.1:1/");
        let events = live::Recorder::attach(&mut options);
        let client = live::build(options);
        let waiting = rt::spawn({
            let client = client.clone();
            async move { client.list_database_names().await }
        });
        live::eventually("the operation waits", || async {
            client.handle().census().view_waiters == 1
        })
        .await;

        client.close().await;

        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(&*error.kind, ErrorKind::Closed), "{error:?}");
        assert_eq!(topologies(&events.events()).len(), 2, "it stays closed");
    });
}
