//! One direction of a connection: bytes that are under way, in order, and how they end.
//!
//! A lane decides when which bytes arrive; it moves none. TCP's rules hold: what was sent arrives in
//! order and without gaps, or the connection ends. A held lane loses nothing: what it holds arrives
//! after the release, as segments do that are sent again.

use std::{collections::VecDeque, time::Duration};

use mongo_client_core::time::Instant;

use crate::choices::Choices;

/// A send is cut into so many pieces at most; what is left is one more.
const PIECES_MAX: usize = 400;

/// What a slow link moves at once.
const SEGMENT_MAX: usize = 1_460;

/// How the bytes of one send follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Pieces of drawn sizes, up to this one.
    Pieces(u64),
    /// So many bytes in a second.
    Slow(u64),
    /// A byte in a millisecond.
    Trickle,
}

/// What arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Bytes(usize),
    Fin,
    Reset,
}

/// An end that comes when so many more bytes have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) left: usize,
    /// A reset, otherwise the end of the stream.
    pub(crate) reset: bool,
    /// The fault to tell when it happens.
    pub(crate) fault: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    buffer: Vec<u8>,
    start: usize,
    /// How many bytes of the buffer, from its start, have arrived and are not consumed.
    arrived: usize,
    segments: VecDeque<(Instant, Arrival)>,
    /// When the last segment arrives.
    last: Instant,
    /// An event is under way for the first segment.
    pub(crate) armed: bool,
    held: bool,
    pub(crate) cut: Option<Cut>,
    /// The next send is cut within.
    pub(crate) cut_in_next: Option<Cut>,
    /// A byte of the next segment is changed: the fault to tell.
    pub(crate) corrupt: Option<u64>,
    /// Nothing more can be sent.
    pub(crate) shut: bool,
}

impl Lane {
    /// Bytes that were sent and not consumed.
    pub(crate) fn in_flight(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Bytes that were sent and have not arrived.
    pub(crate) fn under_way(&self) -> usize {
        self.in_flight() - self.arrived
    }

    /// What has arrived.
    pub(crate) fn arrived(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.arrived]
    }

    /// The last of what has arrived.
    pub(crate) fn newest(&self, n: usize) -> &[u8] {
        let end = self.start + self.arrived;
        &self.buffer[end - n..end]
    }

    /// Takes the first of what has arrived away.
    pub(crate) fn consume(&mut self, n: usize) {
        let n = n.min(self.arrived);
        self.arrived -= n;
        self.start += n;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 1 << 16 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    /// Sends bytes of which the first arrives no earlier than `first`. Whether the pace changed
    /// anything.
    pub(crate) fn send(
        &mut self,
        bytes: &[u8],
        first: Instant,
        pace: Option<Pace>,
        choices: &mut dyn Choices,
    ) -> bool {
        if self.shut || bytes.is_empty() {
            return false;
        }
        if let Some(mut cut) = self.cut_in_next.take() {
            let within = choices.draw("cut within", bytes.len() as u64 - 1);
            cut.left = self.under_way() + 1 + usize::try_from(within).unwrap_or(0);
            self.cut = Some(cut);
        }
        self.buffer.extend_from_slice(bytes);
        let mut at = first.max(self.last);
        let Some(pace) = pace else {
            self.push(at, Arrival::Bytes(bytes.len()));
            return false;
        };
        let mut left = bytes.len();
        for _ in 0..PIECES_MAX {
            let (piece, gap) = match pace {
                Pace::Pieces(most) => {
                    let drawn = 1 + choices.draw("piece", most);
                    let gap = 50 * choices.draw("piece gap", 3);
                    (
                        usize::try_from(drawn).unwrap_or(1),
                        Duration::from_micros(gap),
                    )
                }
                Pace::Slow(rate) => {
                    let piece = left.min(SEGMENT_MAX);
                    let nanos = piece as u64 * 1_000_000_000 / rate.max(1);
                    (piece, Duration::from_nanos(nanos))
                }
                Pace::Trickle => (1, Duration::from_millis(1)),
            };
            at = at + gap;
            let piece = piece.min(left);
            self.push(at, Arrival::Bytes(piece));
            left -= piece;
            if left == 0 {
                return true;
            }
        }
        self.push(at, Arrival::Bytes(left));
        true
    }

    /// Ends the lane after what was sent.
    pub(crate) fn end(&mut self, end: Arrival, first: Instant) {
        if !self.shut {
            self.shut = true;
            let at = first.max(self.last);
            self.push(at, end);
        }
    }

    /// Ends the lane and forgets what has not arrived.
    pub(crate) fn abort(&mut self) {
        self.shut = true;
        self.segments.clear();
        self.buffer.truncate(self.start + self.arrived);
        // An event that is under way finds nothing, or what comes next.
        self.armed = false;
        self.last = Instant::ZERO;
    }

    fn push(&mut self, at: Instant, what: Arrival) {
        self.last = at;
        self.segments.push_back((at, what));
    }

    /// When the first segment arrives, if no event is under way for it.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        if self.armed || self.held {
            return None;
        }
        let (at, _) = self.segments.front()?;
        self.armed = true;
        Some(*at)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Holds everything up from here on.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Lets everything go on, no earlier than `first`.
    pub(crate) fn release(&mut self, first: Instant) {
        self.held = false;
        for (at, _) in &mut self.segments {
            *at = first.max(*at);
        }
        self.last = self.last.max(first);
    }

    /// Lets everything arrive by `first`.
    pub(crate) fn hasten(&mut self, first: Instant) {
        if self.segments.back().is_none_or(|(at, _)| *at <= first) {
            return;
        }
        for (at, _) in &mut self.segments {
            *at = first.min(*at);
        }
        self.last = first;
        // The event that is under way comes too late, and finds what is there then.
        self.armed = false;
    }

    /// The first segment arrives, if it is time: its bytes are the newest of [`Self::arrived`].
    pub(crate) fn arrive(&mut self, now: Instant) -> Option<(Arrival, Option<u64>)> {
        if self.held {
            return None;
        }
        let (at, what) = *self.segments.front()?;
        if at > now {
            return None;
        }
        self.segments.pop_front();
        let Arrival::Bytes(mut n) = what else {
            return Some((what, None));
        };
        let mut fault = None;
        if let Some(cut) = &mut self.cut {
            if n >= cut.left {
                n = cut.left;
                let end = if cut.reset {
                    Arrival::Reset
                } else {
                    Arrival::Fin
                };
                fault = Some(cut.fault);
                self.cut = None;
                self.shut = true;
                self.segments.clear();
                self.buffer.truncate(self.start + self.arrived + n);
                if n == 0 {
                    return Some((end, fault));
                }
                self.segments.push_front((now, end));
            } else {
                cut.left -= n;
            }
        }
        self.arrived += n;
        Some((Arrival::Bytes(n), fault))
    }

    /// Changes a byte of the newest `n`.
    pub(crate) fn corrupt(&mut self, n: usize, choices: &mut dyn Choices) {
        let end = self.start + self.arrived;
        let place = choices.draw("corrupt place", n as u64);
        let place = end - n + usize::try_from(place).unwrap_or(0);
        let bit = choices.draw("corrupt bit", 8);
        self.buffer[place] ^= 1 << bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Listed, Seeded};

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1000)
    }

    /// Everything that arrives, and the bytes in their order.
    fn run(lane: &mut Lane) -> (Vec<(Instant, Arrival)>, Vec<u8>) {
        let (mut arrivals, mut bytes) = (Vec::new(), Vec::new());
        while let Some(time) = lane.arm() {
            lane.armed = false;
            let (what, _) = lane.arrive(time).unwrap();
            arrivals.push((time, what));
            bytes.extend_from_slice(lane.arrived());
            lane.consume(usize::MAX);
        }
        (arrivals, bytes)
    }

    #[test]
    fn bytes_arrive_together_and_in_order() {
        let mut lane = Lane::default();
        lane.send(b"later", at(30), None, &mut Seeded::new(1));
        lane.send(b"sooner", at(10), None, &mut Seeded::new(1));
        lane.end(Arrival::Fin, at(0));
        let (arrivals, bytes) = run(&mut lane);
        assert_eq!(bytes, b"latersooner");
        let expected = [Arrival::Bytes(5), Arrival::Bytes(6), Arrival::Fin];
        assert_eq!(arrivals, expected.map(|what| (at(30), what)));
    }

    #[test]
    fn pieces_are_all_of_the_bytes_in_their_order() {
        for pace in [
            Pace::Pieces(1),
            Pace::Pieces(7),
            Pace::Slow(100),
            Pace::Trickle,
        ] {
            let message: Vec<u8> = (0..1_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            let mut lane = Lane::default();
            assert!(lane.send(&message, at(0), Some(pace), &mut Seeded::new(3)));
            let (arrivals, bytes) = run(&mut lane);
            assert_eq!(bytes, message, "{pace:?}");
            assert!(arrivals.len() > 1 || matches!(pace, Pace::Slow(_)));
            assert!(arrivals.is_sorted_by_key(|(at, _)| *at));
        }
    }

    #[test]
    fn a_trickle_is_a_byte_in_a_millisecond() {
        let mut lane = Lane::default();
        lane.send(b"abc", at(0), Some(Pace::Trickle), &mut Seeded::new(1));
        let times: Vec<Instant> = run(&mut lane).0.into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, [at(1_000), at(2_000), at(3_000)]);
    }

    #[test]
    fn a_reset_comes_after_so_many_bytes_and_nothing_comes_after_it() {
        for left in 0..6 {
            let mut lane = Lane::default();
            lane.send(b"abc", at(1), None, &mut Seeded::new(1));
            lane.cut = Some(Cut {
                left,
                reset: true,
                fault: 9,
            });
            lane.send(b"defg", at(2), None, &mut Seeded::new(1));
            let (arrivals, bytes) = run(&mut lane);
            assert_eq!(bytes, &b"abcdefg"[..left]);
            assert_eq!(arrivals.last().unwrap().1, Arrival::Reset);
            assert!(!lane.send(b"h", at(3), None, &mut Seeded::new(1)));
            assert_eq!(lane.arm(), None);
        }
    }

    #[test]
    fn a_cut_in_the_next_send_is_within_it() {
        for drawn in 0..3 {
            let cut = Cut {
                left: 0,
                reset: false,
                fault: 9,
            };
            let mut lane = Lane {
                cut_in_next: Some(cut),
                ..Lane::default()
            };
            lane.send(b"abcd", at(1), None, &mut Listed::new([drawn]));
            let (arrivals, bytes) = run(&mut lane);
            assert!((1..4).contains(&bytes.len()), "{bytes:?}");
            assert_eq!(arrivals.last().unwrap().1, Arrival::Fin);
        }
    }

    #[test]
    fn a_held_lane_loses_nothing() {
        let mut lane = Lane::default();
        lane.send(b"ab", at(1), None, &mut Seeded::new(1));
        lane.hold();
        lane.send(b"cd", at(2), None, &mut Seeded::new(1));
        assert_eq!(lane.arm(), None);
        assert_eq!(lane.arrive(at(5)), None);
        lane.release(at(9));
        let (arrivals, bytes) = run(&mut lane);
        assert_eq!(bytes, b"abcd");
        assert_eq!(arrivals[0].0, at(9));
    }

    #[test]
    fn a_hastened_lane_delivers_in_order_what_would_have_come_late() {
        let mut lane = Lane::default();
        let pace = Some(Pace::Trickle);
        lane.send(b"abc", at(0), pace, &mut Seeded::new(1));
        assert_eq!(lane.arm(), Some(at(1_000)));
        lane.hasten(at(1_500));
        lane.send(b"d", at(1_200), None, &mut Seeded::new(1));
        let (arrivals, bytes) = run(&mut lane);
        assert_eq!(bytes, b"abcd");
        let times: Vec<Instant> = arrivals.into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, [at(1_000), at(1_500), at(1_500), at(1_500)]);
    }

    #[test]
    fn a_corrupted_byte_is_one_of_the_newest() {
        let mut lane = Lane::default();
        lane.send(b"abcd", at(1), None, &mut Seeded::new(1));
        lane.arrive(at(1));
        lane.corrupt(2, &mut Listed::new([1, 0]));
        assert_eq!(lane.arrived(), b"abce");
    }
}
