//! Timers and clocks.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use mongo_client::runtime::{Runtime, Timer};
use mongo_client_driver::Instant;

use super::Wakes;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(3600);

async fn fire(timer: &mut dyn Timer) {
    poll_fn(|cx| timer.poll(cx)).await;
}

fn poll_once(timer: &mut dyn Timer) -> Poll<()> {
    timer.poll(&mut Context::from_waker(Waker::noop()))
}

/// A timer is ready at its deadline and not before.
pub async fn fires_and_not_early(runtime: Arc<dyn Runtime>) {
    for micros in [0, 1, 700, 5_000, 31_500] {
        let deadline = runtime.now() + Duration::from_micros(micros);
        let mut timer = runtime.timer();
        timer.reset(deadline);
        fire(&mut *timer).await;
        assert!(runtime.now() >= deadline, "{micros} µs");
    }
}

/// Without a deadline a timer is never ready.
pub async fn is_pending_without_a_deadline(runtime: Arc<dyn Runtime>) {
    assert_eq!(poll_once(&mut *runtime.timer()), Poll::Pending);
}

/// A deadline that has passed is ready at the first poll, or soon after it.
pub async fn passed_deadline_is_ready(runtime: Arc<dyn Runtime>) {
    let mut timer = runtime.timer();
    timer.reset(Instant::from_nanos(0));
    fire(&mut *timer).await;
}

/// A deadline moves away; the earlier one does not fire.
pub async fn reset_to_later_waits_longer(runtime: Arc<dyn Runtime>) {
    let mut timer = runtime.timer();
    let now = runtime.now();
    timer.reset(now + SHORT);
    assert_eq!(poll_once(&mut *timer), Poll::Pending);
    timer.reset(now + SHORT * 4);
    fire(&mut *timer).await;
    assert!(runtime.now() >= now + SHORT * 4);
}

/// A deadline moves closer while a task waits; the task is woken without another poll.
pub async fn reset_to_earlier_wakes_the_waiting_task(runtime: Arc<dyn Runtime>) {
    let timer = Arc::new(Mutex::new(runtime.timer()));
    let waiting = Arc::new(AtomicWaker::new());
    timer.lock().unwrap().reset(runtime.now() + LONG);
    let mover = {
        let (timer, waiting) = (Arc::clone(&timer), Arc::clone(&waiting));
        let runtime = Arc::clone(&runtime);
        thread::spawn(move || {
            // The first poll has registered its waker when `waiting` has one.
            while waiting.take().is_none() {
                thread::yield_now();
            }
            timer.lock().unwrap().reset(runtime.now() + SHORT);
        })
    };
    poll_fn(|cx| {
        let polled = timer.lock().unwrap().poll(cx);
        waiting.register(cx.waker());
        polled
    })
    .await;
    mover.join().unwrap();
}

/// A timer is used again and again.
pub async fn is_armed_again_after_firing(runtime: Arc<dyn Runtime>) {
    let mut timer = runtime.timer();
    for _ in 0..5 {
        let deadline = runtime.now() + Duration::from_millis(3);
        timer.reset(deadline);
        fire(&mut *timer).await;
        assert!(runtime.now() >= deadline);
    }
    timer.reset(runtime.now() + LONG);
    assert_eq!(poll_once(&mut *timer), Poll::Pending);
}

/// Deadlines that no platform can represent are simply far away.
pub async fn far_deadline_is_pending(runtime: Arc<dyn Runtime>) {
    let century = Duration::from_secs(100 * 365 * 86_400);
    for deadline in [Instant::MAX, runtime.now() + century] {
        let mut timer = runtime.timer();
        timer.reset(deadline);
        assert_eq!(poll_once(&mut *timer), Poll::Pending);
        // It can come back from there.
        timer.reset(runtime.now() + Duration::from_millis(1));
        fire(&mut *timer).await;
    }
}

/// The waker of the last poll is the one that is woken.
pub async fn waker_moves_to_another_task(runtime: Arc<dyn Runtime>) {
    let former = Arc::new(Wakes::default());
    let mut timer = runtime.timer();
    let deadline = runtime.now() + SHORT;
    timer.reset(deadline);
    let waker = Waker::from(Arc::clone(&former));
    let polled = timer.poll(&mut Context::from_waker(&waker));
    assert_eq!(polled, Poll::Pending);
    fire(&mut *timer).await;
    assert_eq!(former.count(), 0);
}

/// A dropped timer wakes nobody, and others go on.
pub async fn dropped_timer_leaves_the_others_alone(runtime: Arc<dyn Runtime>) {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let deadline = runtime.now() + Duration::from_millis(10);
    let mut dropped = runtime.timer();
    dropped.reset(deadline);
    assert!(dropped.poll(&mut Context::from_waker(&waker)).is_pending());
    drop(dropped);
    let mut timer = runtime.timer();
    timer.reset(deadline + SHORT);
    fire(&mut *timer).await;
    assert_eq!(wakes.count(), 0);
}

/// The monotonic clock never goes back, and advances like the system's.
pub async fn clock_is_monotone(runtime: Arc<dyn Runtime>) {
    let (start, begin) = (std::time::Instant::now(), runtime.now());
    let mut last = begin;
    for _ in 0..10_000 {
        let now = runtime.now();
        assert!(now >= last);
        last = now;
    }
    let elsewhere = Arc::clone(&runtime);
    let later = thread::spawn(move || elsewhere.now()).join().unwrap();
    assert!(later >= last, "another thread sees another time");
    let passed = Duration::from_nanos(runtime.now().as_nanos() - begin.as_nanos());
    assert!(passed <= start.elapsed());
}

/// The wall clock is the system's.
pub async fn wall_clock_is_the_systems(runtime: Arc<dyn Runtime>) {
    let millis = |time: std::time::SystemTime| {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    };
    let before = millis(std::time::SystemTime::now());
    let read = runtime.unix_time().0;
    let after = millis(std::time::SystemTime::now());
    // A step of the system's clock in between would be the test's bad luck.
    assert!((before..=after).contains(&read));
}
