//! How many tasks a client keeps: one per server, whatever it does for it.

use std::time::Duration;

use bson::doc;
use mongo_client::Client;
use mongo_client_sim::{Script, Scripted, Sim, hello_reply};

fn tasks_of_a_client(addresses: &[&'static str]) -> usize {
    let sim = Sim::new(1);
    for address in addresses {
        let (me, hosts) = (*address, addresses.to_vec());
        let script = Script::new(move |_, command| {
            let Some(mut hello) = hello_reply(command) else {
                return Scripted::Reply(doc! { "n": 1, "ok": 1.0 });
            };
            if hosts.len() > 1 {
                hello.extend(doc! {
                    "setName": "rs", "hosts": hosts.clone(), "me": me,
                    "isWritablePrimary": me == hosts[0], "secondary": me != hosts[0],
                });
            }
            Scripted::Reply(hello)
        });
        sim.listen(address, move |n| script.peer(n));
    }
    let mut uri = format!("mongodb://{}/", addresses.join(","));
    if addresses.len() > 1 {
        uri.push_str("?replicaSet=rs");
    }
    let builder = Client::builder().uri(&uri).unwrap();
    let client = builder.runtime(sim.runtime()).build().unwrap();
    sim.block_on(async {
        let things = client.database("db").collection("c");
        for _ in 0..3 {
            things.insert_one(doc! { "_id": 1 }).await.unwrap();
            sim.sleep(Duration::from_secs(1)).await;
        }
    });
    sim.tasks_alive()
}

#[test]
fn client_of_a_standalone_server_keeps_one_task() {
    assert_eq!(tasks_of_a_client(&["a.test:27017"]), 1);
}

#[test]
fn client_of_a_replica_set_keeps_a_task_per_member() {
    let addresses = ["a.test:27017", "b.test:27017", "c.test:27017"];
    assert_eq!(tasks_of_a_client(&addresses), 3);
}
