//! Benchmarks of the machines: `cargo bench -p mongo-client-benches`.
