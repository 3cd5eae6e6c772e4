//! Server selection over replica sets of several sizes.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use mongo_client_core::{
    net::ServerAddress,
    op::Target,
    read_preference::ReadPreference,
    rng::Rng,
    select::{Criteria, Selection, select},
    topology::{ServerDescription, ServerType, TopologyDescription, TopologyType, TopologyView},
};

/// A set with a primary and secondaries, all in the latency window.
fn view(members: u16) -> TopologyView {
    let servers = (0..members).map(|port| {
        let mut server = ServerDescription::unknown(ServerAddress::tcp("a", port + 1));
        server.server_type = match port {
            0 => ServerType::RsPrimary,
            _ => ServerType::RsSecondary,
        };
        server.average_round_trip_time = Some(Duration::from_millis(5));
        server
    });
    let topology = TopologyDescription::new(TopologyType::ReplicaSetWithPrimary, servers);
    TopologyView::new(Arc::new(topology))
}

fn selecting(c: &mut Criterion) {
    let nearest = Target::Read(ReadPreference::nearest(None));
    for (name, target) in [("primary", Target::Write), ("nearest", nearest)] {
        let criteria = Criteria::new(target);
        let mut group = c.benchmark_group(format!("select/{name}"));
        for members in [1, 3, 50] {
            let view = view(members);
            let mut rng = Rng::from_seed(1);
            group.bench_function(members.to_string(), |b| {
                b.iter(|| {
                    let selection = select(black_box(&view), &criteria, |_| 0, &mut rng);
                    assert!(matches!(selection, Selection::Server { .. }));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, selecting);
criterion_main!(benches);
