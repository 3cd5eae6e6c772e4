//! Makes `ObjectId`s from injected entropy and time.
//!
//! Layout: 4 bytes of seconds since the Unix epoch, 5 random bytes of the process, 3 bytes of a
//! counter that starts at random, all big-endian. A process that forks must build a new generator
//! in the child: parent and child would otherwise hand out the same ids.

use std::sync::atomic::{AtomicU32, Ordering};

use bson::oid::ObjectId;

use crate::{rng::Entropy, time::UnixMillis};

/// Hands out ids that are unique in the process; shared by reference.
#[derive(Debug)]
pub struct ObjectIdGenerator {
    process: [u8; 5],
    counter: AtomicU32,
}

impl ObjectIdGenerator {
    /// Draws the process bytes and the start of the counter.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        let mut process = [0; 5];
        let mut start = [0; 4];
        entropy.fill(&mut process);
        entropy.fill(&mut start);
        Self {
            process,
            counter: AtomicU32::new(u32::from_be_bytes(start)),
        }
    }

    /// The next id. Seconds before 1970 or after 2106 wrap around, as the format demands.
    pub fn generate(&self, now: UnixMillis) -> ObjectId {
        let seconds = (now.0.div_euclid(1000) as u32).to_be_bytes();
        let count = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds);
        bytes[4..9].copy_from_slice(&self.process);
        bytes[9..].copy_from_slice(&count[1..]);
        ObjectId::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_seconds_process_and_counter() {
        let mut next = 0xfcu8;
        let mut entropy = |out: &mut [u8]| {
            for byte in out {
                *byte = next;
                next = next.wrapping_add(1);
            }
        };
        let ids = ObjectIdGenerator::new(&mut entropy);
        let id = ids.generate(UnixMillis(0x0102_0304_i64 * 1000 + 999));
        assert_eq!(id.bytes(), [1, 2, 3, 4, 0xfc, 0xfd, 0xfe, 0xff, 0, 2, 3, 4]);
        let id = ids.generate(UnixMillis(0));
        assert_eq!(id.bytes()[9..], [2, 3, 5]);
    }

    #[test]
    fn the_counter_wraps_without_touching_the_process_bytes() {
        let mut entropy = |out: &mut [u8]| out.fill(0xff);
        let ids = ObjectIdGenerator::new(&mut entropy);
        assert_eq!(ids.generate(UnixMillis(-1)).bytes(), [0xff; 12]);
        let next = ids.generate(UnixMillis(-1)).bytes();
        assert_eq!(next[..9], [0xff; 9]);
        assert_eq!(next[9..], [0, 0, 0]);
    }
}
