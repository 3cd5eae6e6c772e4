//! The example of an event loop on a real replica set, with TLS and a password.

use mongo_client_tests::deploy::{self, Plan};

#[test]
fn destructive_engine_in_a_hand_written_loop_survives_a_step_down() {
    let plan = Plan {
        auth: true,
        tls: true,
        ..Plan::replica_set(3)
    };
    let Some(set) = deploy::own_cluster("event-loop", plan) else {
        return;
    };

    let verdict = mongo_client_event_loop::run(&set.password_uri()).unwrap();

    println!("{verdict}");
    assert_eq!(verdict.complaints(), [""; 0], "{verdict:?}");
    assert_eq!(verdict.acknowledged.len(), 301);
}
