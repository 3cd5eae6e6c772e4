//! Hosts, ports and lists of them; when a client connects.

use std::time::Duration;

use bson::doc;
use mongo_client::{
    Client, ClientBuilder,
    error::{ErrorKind, Result},
    event::sdam::SdamEvent,
    options::{HedgedReadOptions, ReadPreference, ReadPreferenceOptions, ServerAddress},
    topology::TopologyType,
};
use mongo_client_tests::{
    deploy::{self, PASSWORD, Plan},
    fault::Proxy,
    live, rt,
    secure::{assert_hides, ping, whoami},
};

/// A client on the runtime of the test.
fn build(builder: ClientBuilder) -> Result<Client> {
    match rt::adapter() {
        Some(runtime) => builder.runtime(runtime).build(),
        None => builder.build(),
    }
}

fn name_and_port(host: &ServerAddress) -> (String, u16) {
    (host.host().into_owned(), host.port().unwrap())
}

#[test]
fn hosts_and_connection_strings_of_one_list_lead_to_the_set() {
    live::on("REPLICA_SET", async |uri| {
        let options = live::options(&uri);
        let set = options.repl_set_name.as_deref().unwrap();
        let hosts = [
            "127.0.0.1:1".to_owned(),
            options.hosts[0].to_string(),
            format!("mongodb://{}/first?replicaSet=another", options.hosts[1]),
            format!("mongodb://{}/last?replicaSet={set}", options.hosts[2]),
        ];
        let client = build(Client::builder().hosts(hosts).unwrap()).unwrap();

        ping(&client).await.unwrap();

        assert_eq!(client.default_database().unwrap().name(), "last");
        let unreachable = ServerAddress::tcp("127.0.0.1", 1);
        live::eventually("the members only", || async {
            let nodes = client.topology_description().await.unwrap();
            let mut seen = nodes.servers.values().map(|server| &server.address);
            !seen.any(|address| *address == unreachable) && client.nodes().len() == 3
        })
        .await;
    });
}

#[test]
fn the_port_of_a_host_wins_over_the_separate_one() {
    live::on("STANDALONE", async |uri| {
        let (name, port) = name_and_port(&live::options(&uri).hosts[0]);
        let without = Client::builder().hosts([&name]).unwrap().port(port);
        let with = Client::builder().hosts([format!("{name}:{port}")]);
        let in_a_uri = Client::builder().uri(&format!("mongodb://{name}"));
        for builder in [without, with.unwrap().port(1), in_a_uri.unwrap().port(port)] {
            let client = build(builder).unwrap();
            ping(&client).await.unwrap();
            assert_eq!(
                client.address().unwrap(),
                Some(ServerAddress::tcp(&name, port))
            );
        }
        let error = build(Client::builder().port(0)).unwrap_err();
        let invalid = matches!(&*error.kind, ErrorKind::InvalidArgument { .. });
        assert!(invalid && error.to_string().contains("\"port\""), "{error}");
    });
}

/// An IPv6 literal with and without a port, by an entry of a list and in a connection string.
#[test]
fn an_ipv6_literal_has_the_separate_port_unless_it_has_its_own() {
    live::on("STANDALONE", async |uri| {
        let target = live::options(&uri).hosts[0].to_string();
        let proxy = match Proxy::transparent("::1", target).await {
            Ok(proxy) => proxy,
            Err(error) => {
                println!("skipped, this system has no IPv6: {error}");
                return;
            }
        };
        let port = proxy.address().port();
        for (host, separate) in [
            ("[::1]".to_owned(), port),
            (format!("[::1]:{port}"), 1),
            ("[0:0:0:0:0:0:0:1]".to_owned(), port),
        ] {
            let listed = Client::builder().hosts([&host]).unwrap();
            let in_a_uri = Client::builder().uri(&format!("mongodb://{host}")).unwrap();
            for builder in [listed, in_a_uri] {
                let client = build(builder.port(separate)).unwrap();
                ping(&client)
                    .await
                    .unwrap_or_else(|e| panic!("{host}: {e}"));
                let (_, seen) = name_and_port(&client.address().unwrap().unwrap());
                assert_eq!(seen, port);
            }
        }
    });
}

#[test]
fn the_last_user_and_password_of_one_list_log_in() {
    live::on("AUTH", async |uri| {
        let options = live::options(&uri);
        let set = options.repl_set_name.as_deref().unwrap();
        let host = |n: usize| options.hosts[n].to_string();
        let root = format!("root:{PASSWORD}");
        let last = [
            format!("mongodb://nobody:wr0ng-0ne@{}/first", host(0)),
            format!("mongodb://{root}@{}/admin?replicaSet={set}", host(1)),
            host(2),
        ];
        let client = build(Client::builder().hosts(last).unwrap()).unwrap();
        assert_eq!(
            whoami(&client).await.unwrap().as_deref(),
            Some("root@admin")
        );
        assert_eq!(client.default_database().unwrap().name(), "admin");

        let first = [
            format!("mongodb://{root}@{}/admin?replicaSet={set}", host(0)),
            format!("mongodb://nobody:wr0ng-0ne@{}", host(1)),
        ];
        let client = build(Client::builder().hosts(first).unwrap()).unwrap();
        let error = ping(&client).await.unwrap_err();
        assert!(error.is_authentication(), "{error:?}");
        assert_hides(&error, &["wr0ng-0ne", PASSWORD]);
    });
}

#[test]
fn standalones_of_one_list_are_dropped() {
    live::on("STANDALONE", async |uri| {
        let target = live::options(&uri).hosts[0].to_string();
        let proxy = Proxy::transparent("127.0.0.1", &target).await.unwrap();
        let alone = format!("mongodb://{}/", proxy.address());
        ping(&live::client(&alone)).await.unwrap();

        let both = format!("mongodb://{},{target}/", proxy.address());
        let mut options = live::options(&both);
        options.server_selection_timeout = Some(Duration::from_secs(2));
        let client = live::build(options);

        let error = ping(&client).await.unwrap_err();
        assert!(error.is_server_selection(), "{error:?}");
        let topology = client.topology_description().await.unwrap();
        assert_eq!(topology.topology_type, TopologyType::Unknown);
        assert!(topology.servers.is_empty(), "{topology:?}");
    });
}

/// Two servers that know nothing of each other, whichever answers first.
#[test]
fn destructive_two_standalones_of_one_list_are_both_dropped() {
    live::on("STANDALONE", async |uri| {
        let Some(other) = deploy::own_cluster("options-standalone", Plan::standalone()) else {
            return;
        };
        let one = live::options(&uri).hosts[0].to_string();
        for hosts in [[one.clone(), other.address(0)], [other.address(0), one]] {
            for host in &hosts {
                let alone = live::client(&format!("mongodb://{host}/"));
                ping(&alone).await.unwrap();
            }
            let mut options = live::options(&format!("mongodb://{}/", hosts.join(",")));
            options.server_selection_timeout = Some(Duration::from_secs(2));
            let events = live::Recorder::attach(&mut options);
            let client = live::build(options);

            let error = ping(&client).await.unwrap_err();
            assert!(error.is_server_selection(), "{error:?}");
            let topology = client.topology_description().await.unwrap();
            assert_eq!(topology.topology_type, TopologyType::Unknown);
            assert!(topology.servers.is_empty(), "{topology:?}");
            let seen = events.events();
            let mut dropped: Vec<String> = seen
                .iter()
                .filter_map(|event| match event {
                    live::Event::Sdam(SdamEvent::ServerClosed(e)) => Some(e.address.to_string()),
                    _ => None,
                })
                .collect();
            let mut hosts = hosts.to_vec();
            hosts.sort_unstable();
            dropped.sort_unstable();
            assert_eq!(dropped, hosts);
        }
    });
}

#[test]
fn without_connect_nothing_happens_before_the_first_operation() {
    live::on("STANDALONE", async |uri| {
        let mut options = live::options(&uri);
        let patient = live::Recorder::attach(&mut options);
        let client = build(Client::builder().options(options).connect(false)).unwrap();
        let by_uri = live::options(&format!("{uri}?connect=false"));
        assert_eq!(by_uri.connect, Some(false));

        // Another one, which is told nothing, has found its server meanwhile.
        let mut options = live::options(&uri);
        let eager = live::Recorder::attach(&mut options);
        let other = live::build(options);
        let found = |_: &[live::Event]| !other.nodes().is_empty();
        eager.wait("a server, without an operation", found).await;

        assert!(patient.events().is_empty(), "{:?}", patient.events());
        assert!(client.nodes().is_empty());
        ping(&client).await.unwrap();
        assert!(!patient.events().is_empty());
    });
}

#[test]
fn hedged_reads_are_served_as_if_nothing_had_been_said() {
    live::on("REPLICA_SET", async |uri| {
        let hedge = HedgedReadOptions::builder().enabled(true).build();
        let hedged = ReadPreferenceOptions::builder().hedge(hedge).build();
        let mut options = live::options(&uri);
        options.selection_criteria = Some(ReadPreference::nearest(hedged).into());
        let client = live::build(options);
        let people = client.database("live_options").collection("people");
        let found: Option<bson::Document> = people.find_one(doc! {}).await.unwrap();
        assert_eq!(found, None);
    });
}
