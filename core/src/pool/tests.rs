//! Behaviours of the pool, one each; the model test is in `model.rs`.

use std::{io, time::Duration};

use super::*;
use crate::{event::cmap::CmapEvent, net::ServerAddress};

const T0: Instant = Instant::ZERO;
const SEC: Duration = Duration::from_secs(1);

type TestPool = Pool<ConnId>;

fn config(max: u32) -> PoolConfig {
    PoolConfig {
        max_pool_size: max,
        ..PoolConfig::new(ServerAddress::default())
    }
}

fn directive(epoch: u64, generation: u32, state: PoolState) -> PoolDirective {
    PoolDirective {
        epoch,
        generation: Generation(generation),
        state,
        interrupt_in_use: false,
        service_id: None,
        cause: None,
    }
}

fn ready(config: PoolConfig) -> TestPool {
    let mut pool = Pool::new(config, T0);
    pool.apply(directive(1, 0, PoolState::Ready), T0);
    pool
}

/// The actions since the last call, events by name.
fn actions(pool: &mut TestPool) -> Vec<String> {
    pool.check_invariants();
    let mut out = Vec::new();
    while let Some(action) = pool.poll_action() {
        out.push(match action {
            PoolAction::Close { id, why, .. } => format!("close {id} {why:?}"),
            PoolAction::Event(event) => match event {
                CmapEvent::ConnectionClosed(e) => format!("closed {:?}", e.reason),
                CmapEvent::ConnectionCheckoutFailed(e) => {
                    format!("checkout failed {:?} {:?}", e.reason, e.duration)
                }
                CmapEvent::ConnectionReady(e) => format!("ready {:?}", e.duration),
                CmapEvent::PoolCleared(_) => "cleared".to_owned(),
                CmapEvent::PoolClosed(_) => "pool closed".to_owned(),
                CmapEvent::ConnectionCheckedIn(_) => "checked in".to_owned(),
                _ => continue,
            },
            PoolAction::Fail { ticket, error } => match error {
                PoolError::Cleared { .. } => format!("fail {ticket} cleared"),
                PoolError::Closed => format!("fail {ticket} closed"),
                PoolError::ConnectionFailed { .. } => format!("fail {ticket} connection"),
                PoolError::WaitQueueFull => format!("fail {ticket} full"),
                PoolError::WaitQueueTimeout { .. } => format!("fail {ticket} timeout"),
            },
            PoolAction::Grant { ticket, lease } => format!("grant {ticket} {}", lease.token.id),
            PoolAction::Interrupt { id } => format!("interrupt {id}"),
            PoolAction::Open { id, .. } => format!("open {id}"),
        });
    }
    out
}

fn wait(pool: &mut TestPool) -> Ticket {
    match pool.checkout(T0) {
        Checkout::Wait(ticket) => ticket,
        other => panic!("did not wait: {other:?}"),
    }
}

fn take(pool: &mut TestPool, now: Instant) -> Lease<ConnId> {
    match pool.checkout(now) {
        Checkout::Ready(lease) => lease,
        other => panic!("not ready: {other:?}"),
    }
}

/// A pool with `n` available connections, c1 being the one that was returned last.
fn filled(config: PoolConfig, n: u32) -> TestPool {
    let mut pool = ready(config);
    for id in 1..=n {
        wait(&mut pool);
        pool.opened(ConnId(id), ConnId(id), None, T0);
    }
    let mut leases = Vec::new();
    while let Some(action) = pool.poll_action() {
        if let PoolAction::Grant { lease, .. } = action {
            leases.push(lease);
        }
    }
    for lease in leases.into_iter().rev() {
        pool.checkin(lease.token, lease.conn, true, None, T0);
    }
    actions(&mut pool);
    pool
}

fn network_error() -> Error {
    Error::from(io::ErrorKind::ConnectionReset)
}

#[test]
fn a_new_pool_refuses_until_it_is_ready() {
    let mut pool: TestPool = Pool::new(config(1), T0);
    assert!(matches!(
        pool.checkout(T0),
        Checkout::Refused(PoolError::Cleared { cause: None })
    ));
    pool.apply(directive(1, 0, PoolState::Ready), T0);
    assert_eq!(wait(&mut pool), Ticket(1));
    assert_eq!(actions(&mut pool), ["open c1"]);
}

#[test]
fn the_connection_returned_last_is_handed_out_first() {
    let mut pool = filled(config(0), 2);
    assert_eq!(take(&mut pool, T0).conn, ConnId(1));
    assert_eq!(take(&mut pool, T0).conn, ConnId(2));
}

#[test]
fn a_returned_connection_serves_a_waiter_that_is_held_up_by_max_connecting() {
    let mut pool = filled(config(10), 1);
    let lease = take(&mut pool, T0);
    for _ in 0..3 {
        wait(&mut pool);
    }
    assert_eq!(actions(&mut pool), ["open c2", "open c3"]);
    pool.checkin(lease.token, lease.conn, true, None, T0);
    assert_eq!(actions(&mut pool), ["grant t2 c1"]);
    pool.open_failed(ConnId(2), &network_error(), T0);
    let after = actions(&mut pool);
    assert_eq!(after, ["open c4"], "t2 is served, so nobody fails with c2");
    pool.open_failed(ConnId(3), &network_error(), T0);
    assert_eq!(actions(&mut pool), ["fail t3 connection"]);
}

#[test]
fn an_opened_connection_serves_the_front_and_its_owner_waits_for_the_other() {
    let mut pool = ready(config(10));
    wait(&mut pool);
    wait(&mut pool);
    pool.opened(ConnId(2), ConnId(2), None, T0);
    assert_eq!(actions(&mut pool), ["open c1", "open c2", "grant t1 c2"]);
    pool.open_failed(ConnId(1), &network_error(), T0);
    assert_eq!(actions(&mut pool), ["fail t2 connection"]);
}

#[test]
fn a_cancelled_ticket_leaves_its_connection_to_the_next() {
    let mut pool = ready(config(1));
    let first = wait(&mut pool);
    wait(&mut pool);
    pool.cancel(first, CancelReason::Dropped, T0);
    pool.opened(ConnId(1), ConnId(1), None, T0);
    assert_eq!(actions(&mut pool), ["open c1", "grant t2 c1"]);
    pool.cancel(first, CancelReason::Timeout, T0);
    assert!(actions(&mut pool).is_empty(), "a ticket settles once");
}

#[test]
fn a_timeout_tells_the_state_of_the_pool() {
    let mut pool = filled(config(1), 1);
    let _lease = take(&mut pool, T0);
    let ticket = wait(&mut pool);
    pool.cancel(ticket, CancelReason::Timeout, T0 + SEC);
    let Some(PoolAction::Fail { error, .. }) = pool.poll_action() else {
        panic!("no failure");
    };
    let error = error.into_error(&ServerAddress::default());
    assert!(error.is_timeout() && !error.is_network());
    assert!(error.to_string().contains("maxPoolSize: 1, in use: 1"));
}

#[test]
fn a_clear_fails_the_queue_but_not_those_whose_connection_is_being_opened() {
    let mut pool = ready(PoolConfig {
        events: true,
        max_connecting: 1,
        ..config(10)
    });
    wait(&mut pool);
    wait(&mut pool);
    actions(&mut pool);
    pool.apply(directive(2, 1, PoolState::Paused), T0 + SEC);
    assert_eq!(
        actions(&mut pool),
        [
            "cleared",
            "checkout failed ConnectionError 1s",
            "fail t2 cleared"
        ]
    );
    pool.open_failed(ConnId(1), &network_error(), T0 + SEC);
    assert_eq!(
        actions(&mut pool),
        [
            "closed Error",
            "checkout failed ConnectionError 1s",
            "fail t1 connection"
        ]
    );
}

#[test]
fn a_stale_opened_connection_is_closed_and_its_ticket_fails_as_cleared() {
    let mut pool = ready(config(10));
    wait(&mut pool);
    pool.apply(directive(2, 1, PoolState::Paused), T0);
    pool.opened(ConnId(1), ConnId(1), None, T0);
    assert_eq!(
        actions(&mut pool),
        ["open c1", "fail t1 cleared", "close c1 Stale"]
    );
}

#[test]
fn ready_again_opens_another_connection_for_who_still_waits() {
    let mut pool = ready(config(10));
    wait(&mut pool);
    pool.apply(directive(2, 1, PoolState::Paused), T0);
    pool.apply(directive(3, 1, PoolState::Ready), T0);
    assert_eq!(actions(&mut pool), ["open c1", "open c2"]);
    pool.open_failed(ConnId(1), &network_error(), T0);
    pool.opened(ConnId(2), ConnId(2), None, T0);
    assert_eq!(actions(&mut pool), ["grant t1 c2"]);
}

#[test]
fn an_interrupting_clear_reaches_leases_draining_and_opening_ones() {
    let mut pool = filled(
        PoolConfig {
            events: true,
            ..config(10)
        },
        3,
    );
    let leased = take(&mut pool, T0);
    let draining = take(&mut pool, T0);
    pool.drain(draining.token, T0);
    take(&mut pool, T0);
    wait(&mut pool);
    actions(&mut pool);
    let clear = PoolDirective {
        interrupt_in_use: true,
        ..directive(2, 1, PoolState::Paused)
    };
    pool.apply(clear, T0);
    assert_eq!(
        actions(&mut pool),
        [
            "cleared",
            "closed Stale",
            "interrupt c4",
            "interrupt c1",
            "interrupt c2",
            "interrupt c3",
            "checkout failed ConnectionError 0ns",
            "fail t4 cleared",
        ]
    );
    pool.opened(ConnId(4), ConnId(4), None, T0);
    assert_eq!(actions(&mut pool), ["close c4 Stale"], "its end was told");
    pool.discard(leased.token, ConnectionClosedReason::Stale, T0);
    assert_eq!(actions(&mut pool), ["checked in", "closed Stale"]);
    assert_eq!(pool.counts().total(), 2);
}

#[test]
fn an_older_directive_is_ignored() {
    let mut pool = ready(config(1));
    pool.apply(directive(5, 3, PoolState::Ready), T0);
    pool.apply(directive(4, 3, PoolState::Paused), T0);
    pool.apply(directive(5, 4, PoolState::Paused), T0);
    assert_eq!(pool.generation(), Generation(3));
    wait(&mut pool);
}

#[test]
fn clearing_a_service_touches_only_its_connections() {
    let (a, b) = (ObjectId::from_bytes([1; 12]), ObjectId::from_bytes([2; 12]));
    let mut pool = ready(PoolConfig {
        load_balanced: true,
        ..config(10)
    });
    for (id, service) in [(1, a), (2, b)] {
        wait(&mut pool);
        pool.opened(ConnId(id), ConnId(id), Some(service), T0);
    }
    let mut leases = Vec::new();
    while let Some(action) = pool.poll_action() {
        if let PoolAction::Grant { lease, .. } = action {
            leases.push(lease);
        }
    }
    let clear = |epoch, service| PoolDirective {
        service_id: Some(service),
        ..directive(epoch, 1, PoolState::Ready)
    };
    pool.apply(clear(3, b), T0);
    pool.apply(clear(2, a), T0);
    for lease in leases {
        pool.checkin(lease.token, lease.conn, true, None, T0);
    }
    assert_eq!(actions(&mut pool), ["close c1 Stale", "close c2 Stale"]);
    wait(&mut pool);
    pool.opened(ConnId(3), ConnId(3), Some(a), T0);
    let Some(PoolAction::Grant { lease, .. }) = ({
        assert!(matches!(pool.poll_action(), Some(PoolAction::Open { .. })));
        pool.poll_action()
    }) else {
        panic!("not granted");
    };
    assert_eq!(lease.token.generation, Generation(1));
    pool.apply(clear(9, a), T0);
    pool.checkin(lease.token, lease.conn, true, None, T0);
    assert!(actions(&mut pool).is_empty(), "the same clear again");
}

#[test]
fn the_minimum_size_is_kept_and_retried_after_a_pause() {
    let mut pool = ready(PoolConfig {
        min_pool_size: 3,
        ..config(10)
    });
    assert_eq!(actions(&mut pool), ["open c1", "open c2"]);
    pool.open_failed(ConnId(1), &network_error(), T0);
    assert!(actions(&mut pool).is_empty(), "no storm of attempts");
    let due = T0 + POPULATE_DELAY;
    assert_eq!(pool.poll_timeout(), Some((due, PoolTimer::Populate)));
    pool.handle_timeout(due);
    assert_eq!(actions(&mut pool), ["open c3"]);
    assert_eq!(pool.poll_timeout(), None);
    pool.opened(ConnId(3), ConnId(3), None, due);
    assert_eq!(actions(&mut pool), ["open c4"]);
}

#[test]
fn idle_connections_are_closed_by_the_timer_and_at_checkout() {
    let idle = PoolConfig {
        max_idle_time: Some(SEC),
        ..config(10)
    };
    let mut pool = filled(idle.clone(), 2);
    assert_eq!(pool.poll_timeout(), Some((T0 + SEC, PoolTimer::Idle)));
    pool.handle_timeout(T0 + SEC);
    assert_eq!(actions(&mut pool), ["close c2 Idle", "close c1 Idle"]);

    let mut pool = filled(idle, 1);
    let _ = pool.checkout(T0 + SEC);
    assert_eq!(actions(&mut pool), ["close c1 Idle", "open c2"]);
}

#[test]
fn the_wait_queue_is_bounded_by_its_multiple() {
    let mut pool = filled(
        PoolConfig {
            wait_queue_multiple: Some(2),
            ..config(1)
        },
        1,
    );
    let _lease = take(&mut pool, T0);
    wait(&mut pool);
    wait(&mut pool);
    assert!(matches!(
        pool.checkout(T0),
        Checkout::Refused(PoolError::WaitQueueFull)
    ));
}

#[test]
fn a_draining_connection_counts_until_it_comes_back() {
    let mut pool = filled(config(1), 1);
    let lease = take(&mut pool, T0);
    pool.drain(lease.token, T0);
    wait(&mut pool);
    assert!(actions(&mut pool).is_empty(), "maxPoolSize is reached");
    assert_eq!(pool.counts().draining, 1);
    pool.checkin(lease.token, lease.conn, true, None, T0);
    assert_eq!(actions(&mut pool), ["grant t2 c1"]);
}

#[test]
fn close_ends_everything_but_the_leases() {
    let mut pool = filled(
        PoolConfig {
            events: true,
            ..config(2)
        },
        1,
    );
    let lease = take(&mut pool, T0);
    wait(&mut pool);
    actions(&mut pool);
    pool.close(T0);
    assert_eq!(
        actions(&mut pool),
        [
            "closed PoolClosed",
            "interrupt c2",
            "pool closed",
            "checkout failed PoolClosed 0ns",
            "fail t2 closed",
        ]
    );
    pool.checkin(lease.token, lease.conn, true, None, T0);
    assert_eq!(
        actions(&mut pool),
        ["checked in", "closed PoolClosed", "close c1 PoolClosed"]
    );
    pool.apply(directive(9, 9, PoolState::Ready), T0);
    assert!(matches!(
        pool.checkout(T0),
        Checkout::Refused(PoolError::Closed)
    ));
}

#[test]
fn a_cleared_pool_is_a_network_error_with_its_cause() {
    let error = PoolError::Cleared {
        cause: Some(network_error()),
    }
    .into_error(&ServerAddress::default());
    assert!(error.is_network() && !error.is_timeout());
    assert!(std::error::Error::source(&error).is_some());
}
