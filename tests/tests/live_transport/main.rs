//! How bytes reach a real server: addresses of both families, sockets in the file system, names
//! with several addresses, options of sockets, and what is compressed.

use bson::doc;
use mongo_client_tests::{deploy, live, rt};

mod addresses;
mod compression;
mod sockets;

/// Skips what needs IPv6, with a reason, on systems without.
fn has_ipv6() -> bool {
    let bound = std::net::TcpListener::bind("[::1]:0");
    if let Err(error) = &bound {
        println!("skipped, this system has no IPv6: {error}");
    }
    bound.is_ok()
}

#[test]
fn destructive_server_of_both_families_with_one_compressor() {
    rt::block_on(async {
        let mut plan = deploy::Plan::replica_set(1);
        plan.auth = true;
        plan.ipv6 = has_ipv6();
        plan.arguments = ["--networkMessageCompressors", "zlib"]
            .map(String::from)
            .into();
        let Some(cluster) = deploy::own_cluster("transport", plan) else {
            return;
        };
        compression::only_what_both_have_is_used(&cluster).await;
        addresses::socket_in_the_file_system(&cluster).await;
        if has_ipv6() {
            addresses::both_families(&cluster).await;
            addresses::member_that_calls_itself_by_ipv6(&cluster).await;
        }
        let root = live::client(
            &cluster
                .uri()
                .replace("replicaSet=rs", "directConnection=true"),
        );
        root.database("admin")
            .run_command(doc! { "ping": 1 })
            .await
            .unwrap();
    });
}
