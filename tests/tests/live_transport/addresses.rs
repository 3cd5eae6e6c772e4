//! Which address is dialled, and what happens when it does not answer.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc};
use mongo_client::{
    Client,
    options::{ClientOptions, ServerAddress},
    runtime::DialTarget,
};
use mongo_client_tests::{
    deploy::{self, OwnCluster, PASSWORD},
    fault::{BlackHole, Proxy},
    live, rt,
    secure::{ping, refusal, whoami},
    watched::Watched,
};

use crate::has_ipv6;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A path as the host of a connection string.
fn encoded(path: &str) -> String {
    path.replace('%', "%25").replace('/', "%2F")
}

pub(crate) async fn socket_in_the_file_system(cluster: &OwnCluster) {
    let port = cluster.ports()[0];
    let folder = cluster.folder().join(port.to_string());
    let socket = folder.join(format!("mongodb-{port}.sock"));
    let socket = encoded(&socket.display().to_string());
    for (user, who) in [("", None), ("both:secret@", Some("both@admin"))] {
        let uri = format!("mongodb://{user}{socket}/?directConnection=true");
        let found = whoami(&live::client(&uri)).await.unwrap();
        assert_eq!(found.as_deref(), who);
    }
    let uri = format!("mongodb://root:{PASSWORD}@{socket}/?directConnection=true");
    let client = live::client(&uri);
    let db = live::database(&client);
    let big = doc! { "_id": 1, "filling": "x".repeat(5_000_000) };
    db.collection::<Document>("c")
        .insert_one(&big)
        .await
        .unwrap();
    let found = db
        .collection::<Document>("c")
        .find_one(doc! {})
        .await
        .unwrap();
    assert_eq!(found, Some(big));
    live::forget(&db).await;

    // A wrong password is refused there as anywhere, and a wrong path is named.
    let uri = format!("mongodb://both:wr0ng-0ne@{socket}/?directConnection=true");
    let error = whoami(&live::client(&uri)).await.unwrap_err();
    assert!(error.is_authentication(), "{error:?}");
    assert!(error.to_string().contains(".sock"), "{error}");
    let missing = socket.replace(".sock", "-none.sock");
    let refusal = refusal(live::options(&format!("mongodb://{missing}/"))).await;
    refusal.assert_names("-none.sock");
}

pub(crate) async fn both_families(cluster: &OwnCluster) {
    let port = cluster.ports()[0];
    for host in ["[::1]", "127.0.0.1", "localhost", "[0:0:0:0:0:0:0:1]"] {
        let uri = format!("mongodb://both:{PASSWORD}@{host}:{port}/?directConnection=true");
        let client = live::client(&uri);
        let who = whoami(&client)
            .await
            .unwrap_or_else(|e| panic!("{host}: {e}"));
        assert_eq!(who.as_deref(), Some("both@admin"), "{host}");
    }
    // The server sees which family it is.
    let uri = format!("mongodb://root:{PASSWORD}@[::1]:{port}/?directConnection=true");
    let client = live::client(&uri);
    let admin = client.database("admin");
    let you = admin.run_command(doc! { "whatsmyuri": 1 }).await.unwrap();
    assert!(you.get_str("you").unwrap().contains("::1"), "{you}");
}

pub(crate) async fn member_that_calls_itself_by_ipv6(cluster: &OwnCluster) {
    let port = cluster.ports()[0];
    let direct = format!("mongodb://root:{PASSWORD}@[::1]:{port}/?directConnection=true");
    let admin = live::client(&direct).database("admin");
    let found = admin
        .run_command(doc! { "replSetGetConfig": 1 })
        .await
        .unwrap();
    let mut config = found.get_document("config").unwrap().clone();
    let member = config.get_array_mut("members").unwrap()[0].as_document_mut();
    member.unwrap().insert("host", format!("[::1]:{port}"));
    let version = config.get_i32("version").unwrap();
    config.insert("version", version + 1);
    let command = doc! { "replSetReconfig": config, "force": true };
    admin.run_command(command).await.unwrap();

    let uri = format!("mongodb://root:{PASSWORD}@localhost:{port},[::1]:{port}/?replicaSet=rs");
    let client = live::client(&uri);
    let db = live::database(&client);
    let people = db.collection::<Document>("people");
    people.insert_one(doc! { "_id": 1 }).await.unwrap();
    let hello = client
        .database("admin")
        .run_command(doc! { "hello": 1 })
        .await
        .unwrap();
    let hosts = hello.get_array("hosts").unwrap();
    assert_eq!(*hosts, [Bson::String(format!("[::1]:{port}"))]);
    live::forget(&db).await;
}

/// The port of the shared plain server, which listens on 127.0.0.1 alone.
fn plain() -> Option<u16> {
    live::options(&deploy::uri("STANDALONE")?).hosts[0].port()
}

/// A client of a name with these addresses, and what it dials.
fn named(addresses: &[IpAddr], port: u16) -> (ClientOptions, Watched) {
    let name = "dual-stack.test";
    let mut options = live::options("mongodb://dual-stack.test/");
    options.hosts = vec![ServerAddress::tcp(name, port)];
    (options, Watched::new().with_name(name, addresses))
}

fn build(options: ClientOptions, runtime: &Watched) -> Client {
    let builder = Client::builder().options(options);
    builder.runtime(Arc::new(runtime.clone())).build().unwrap()
}

/// The addresses that were dialled first, in their order.
fn dialled(runtime: &Watched, count: usize) -> Vec<IpAddr> {
    let ips = runtime.dialled().into_iter().map(|target| match target {
        DialTarget::Tcp { address, .. } => address.ip(),
        other => panic!("{other:?}"),
    });
    ips.take(count).collect()
}

#[test]
fn name_of_two_families_reaches_a_server_of_either() {
    rt::block_on(async {
        let Some(port) = plain() else {
            return;
        };
        let proxy = if has_ipv6() {
            Some(
                Proxy::transparent("::1", format!("127.0.0.1:{port}"))
                    .await
                    .unwrap(),
            )
        } else {
            None
        };
        let only_v6 = proxy.as_ref().map(|proxy| proxy.address().port());
        for (first, second, port) in [(V6, V4, Some(port)), (V4, V6, only_v6)] {
            let Some(port) = port else {
                continue;
            };
            let (options, runtime) = named(&[first, second], port);
            let client = build(options, &runtime);
            let start = Instant::now();
            ping(&client).await.unwrap();
            // A refused address is left at once.
            assert!(start.elapsed() < Duration::from_secs(5));
            assert_eq!(dialled(&runtime, 2), [first, second]);
        }
    });
}

#[test]
fn system_resolves_localhost() {
    rt::block_on(async {
        let Some(port) = plain() else {
            return;
        };
        let client = live::client(&format!("mongodb://localhost:{port}/"));
        ping(&client).await.unwrap();
    });
}

#[test]
fn address_that_does_not_answer_is_not_waited_for() {
    rt::block_on(async {
        let Some(port) = plain() else {
            return;
        };
        let silent = IpAddr::from([127, 0, 0, 2]);
        let Some(hole) = BlackHole::start(silent, port).await.unwrap() else {
            println!("skipped, this system's listeners are never full");
            return;
        };
        let (mut options, runtime) = named(&[silent, V4], port);
        options.connect_timeout = Some(Duration::from_secs(20));
        let client = build(options, &runtime);
        let start = Instant::now();
        ping(&client).await.unwrap();
        let took = start.elapsed();
        // RFC 8305: 250 ms after the first attempt begins the second. The monitor and the pool
        // dial one after the other, and each waits as long.
        assert!(took >= Duration::from_millis(250), "{took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(dialled(&runtime, 2), [silent, V4]);

        // Alone, it costs the whole timeout, and the error says what and where.
        let mut options = live::options(&format!("mongodb://{}/", hole.address()));
        options.connect_timeout = Some(Duration::from_millis(300));
        let refusal = refusal(options).await;
        refusal.assert_names(&hole.address().to_string());
        assert!(refusal.check.is_network_timeout(), "{:?}", refusal.check);
    });
}

#[test]
fn all_addresses_of_a_name_are_tried_before_it_fails() {
    rt::block_on(async {
        let Some(port) = plain() else {
            return;
        };
        let nobody = [2, 3, 4].map(|last| IpAddr::from([127, 0, 0, last]));
        let addresses = [nobody[0], nobody[1], nobody[2], V4];
        let (options, runtime) = named(&addresses, port);
        ping(&build(options, &runtime)).await.unwrap();
        assert_eq!(dialled(&runtime, 4), addresses);

        let (mut options, runtime) = named(&nobody, port);
        options.server_selection_timeout = Some(Duration::from_millis(300));
        let error = ping(&build(options, &runtime)).await.unwrap_err();
        assert!(error.is_server_selection(), "{error:?}");
        assert!(error.to_string().contains("dual-stack.test"), "{error}");
        assert_eq!(dialled(&runtime, 3), nobody);
    });
}

#[test]
fn name_without_addresses_is_named() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let (mut options, runtime) = named(&[], 27017);
        options.server_selection_timeout = Some(Duration::from_millis(200));
        let error = ping(&build(options, &runtime)).await.unwrap_err();
        assert!(error.is_server_selection(), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("dual-stack.test") && text.contains("no addresses"),
            "{text}"
        );
        assert_eq!(runtime.dialled(), []);
    });
}
