//! The harness itself: clusters start, break, heal, and do not outlive their owner.

use std::time::{Duration, Instant};

use bson::doc;
use mongo_client_tests::deploy::{Plan, own_cluster};

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn destructive_set_elects_another_primary_after_a_crash_and_takes_the_member_back() {
    let Some(mut set) = own_cluster("harness", Plan::replica_set(3)) else {
        return;
    };
    let first = set.primary().expect("a started set has a primary");

    set.kill(first);
    eventually("another primary", || {
        set.primary().is_some_and(|primary| primary != first)
    });
    assert_eq!(set.pids().len(), 2);

    set.restart(first).expect("the member comes back");
    eventually("the old primary as a secondary", || {
        let hello = set
            .connect(first)
            .and_then(|mut wire| wire.admin(doc! { "hello": 1 }));
        hello.is_ok_and(|hello| hello.get_bool("secondary").unwrap_or(false))
    });
}

#[test]
fn destructive_cluster_ends_and_its_folder_goes_when_it_is_dropped() {
    let Some(server) = own_cluster("harness", Plan::standalone()) else {
        return;
    };
    let (folder, pids) = (server.folder().to_owned(), server.pids());
    assert!(folder.is_dir());

    drop(server);

    assert!(!folder.exists());
    for pid in pids {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(command.is_empty(), "process {pid} still runs");
    }
}
