//! Server monitors and round-trip time probes.
