//! The seeded single-thread executor and its virtual clock.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use mongo_client_driver::{
    Instant,
    core::rng::Rng,
    runtime::{BoxFuture, RuntimeGone},
};

use crate::{
    datagram::NameServer,
    machinery::Machinery,
    net::{Listener, SharedPipe},
};

/// More task polls than this without time moving is a busy loop.
const POLLS_PER_INSTANT_MAX: u64 = 1_000_000;

/// A future that takes longer than this, in virtual time, is taken to wait for ever: background
/// tasks with timers would otherwise keep the simulation busy.
const TIME_MAX: Duration = Duration::from_secs(86_400);

/// Where virtual time begins.
pub(crate) const BEGINNING: Instant = Instant::from_nanos(1_000_000_000);

/// Counters since the simulation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tasks that were spawned.
    pub spawns: u64,
    /// Wake-ups of the task that [`Sim::block_on`] runs.
    pub main_wakes: u64,
    /// Wake-ups of all tasks.
    pub wakes: u64,
    /// Calls of `poll_read` on streams.
    pub reads: u64,
    /// Calls of `poll_write` and `poll_write_vectored` on streams.
    pub writes: u64,
    /// Connections that were dialled with success.
    pub dials: u64,
}

/// A simulation. Cheap to clone; all clones are the same simulation.
#[derive(Clone)]
pub struct Sim {
    pub(crate) world: Arc<Mutex<World>>,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) stats: Stats,
    pub(crate) listeners: BTreeMap<String, Listener>,
    pub(crate) connection_ids: u64,
    pub(crate) name_server: Option<NameServer>,
    /// How long work off the executor takes.
    pub(crate) offload: Duration,
    tasks: BTreeMap<u64, Option<BoxFuture<'static, ()>>>,
    next_task: u64,
    stopped: bool,
    ready: Vec<u64>,
    events: BinaryHeap<Reverse<(Instant, u64)>>,
    payloads: BTreeMap<u64, Event>,
    next_event: u64,
}

/// Something that happens at an instant.
pub(crate) enum Event {
    Call(Box<dyn FnOnce() + Send>),
    Wake(Waker),
    Deliver(SharedPipe, usize),
    Close(SharedPipe, std::io::ErrorKind),
}

const MAIN: u64 = 0;

struct TaskWaker {
    id: u64,
    world: Arc<Mutex<World>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _own = Machinery::enter();
        let mut world = lock(&self.world);
        world.stats.wakes += 1;
        if self.id == MAIN {
            world.stats.main_wakes += 1;
        }
        if !world.ready.contains(&self.id) {
            world.ready.push(self.id);
        }
    }
}

pub(crate) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    /// Creates a simulation whose every choice follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            now: BEGINNING,
            rng: Rng::from_seed(seed),
            stats: Stats::default(),
            listeners: BTreeMap::new(),
            connection_ids: 0,
            name_server: None,
            offload: Duration::ZERO,
            tasks: BTreeMap::new(),
            next_task: MAIN + 1,
            stopped: false,
            ready: Vec::with_capacity(64),
            events: BinaryHeap::with_capacity(64),
            payloads: BTreeMap::new(),
            next_event: 0,
        };
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        lock(&self.world).now
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        lock(&self.world).stats
    }

    /// How many spawned tasks have not ended.
    #[must_use]
    pub fn tasks_alive(&self) -> usize {
        lock(&self.world).tasks.len()
    }

    /// Runs a future and all spawned tasks until the future is ready.
    ///
    /// # Panics
    ///
    /// When nothing can run any more while the future is pending, when tasks run for ever without
    /// time moving, or when the future takes more than a day.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = self.waker(MAIN);
        lock(&self.world).ready.push(MAIN);
        let mut polls = 0_u64;
        let end = self.now() + TIME_MAX;
        loop {
            let next = lock(&self.world).next_ready();
            match next {
                Some(MAIN) => {
                    if let Poll::Ready(out) = future.as_mut().poll(&mut Context::from_waker(&waker))
                    {
                        return out;
                    }
                }
                Some(id) => self.poll_task(id),
                None => {
                    assert!(
                        self.advance(),
                        "deadlock: nothing can run and no event is due"
                    );
                    assert!(self.now() < end, "the future does not end");
                    polls = 0;
                }
            }
            polls += 1;
            assert!(
                polls < POLLS_PER_INSTANT_MAX,
                "busy loop: time does not move"
            );
        }
    }

    /// Waits on the virtual clock.
    pub async fn sleep(&self, duration: Duration) {
        let until = self.now() + duration;
        let mut armed = false;
        std::future::poll_fn(|cx| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut armed, true) {
                lock(&self.world).at(until, Event::Wake(cx.waker().clone()));
            }
            Poll::Pending
        })
        .await;
    }

    /// How long work takes that is kept off the executor: it is done at the end of that time. At
    /// first it takes none.
    pub fn set_offload_time(&self, time: Duration) {
        lock(&self.world).offload = time;
    }

    /// Runs a task in the background.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let _ = self.spawn_boxed(Box::pin(task));
    }

    /// Drops all spawned tasks, as a runtime does that is shut down; it can be used again, as if it
    /// were the next one.
    pub fn drop_tasks(&self) {
        let tasks = std::mem::take(&mut lock(&self.world).tasks);
        drop(tasks);
    }

    /// Drops all spawned tasks and takes no more, as a runtime does that is shut down. Futures given
    /// to [`Self::block_on`] still run.
    pub fn stop_tasks(&self) {
        let tasks = {
            let mut world = lock(&self.world);
            world.stopped = true;
            std::mem::take(&mut world.tasks)
        };
        drop(tasks);
    }

    pub(crate) fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone> {
        let _own = Machinery::enter();
        let mut world = lock(&self.world);
        if world.stopped {
            drop(world);
            return Err(RuntimeGone);
        }
        let id = world.next_task;
        world.next_task += 1;
        world.stats.spawns += 1;
        world.tasks.insert(id, Some(task));
        world.ready.push(id);
        Ok(())
    }

    fn waker(&self, id: u64) -> Waker {
        let _own = Machinery::enter();
        Waker::from(Arc::new(TaskWaker {
            id,
            world: Arc::clone(&self.world),
        }))
    }

    fn poll_task(&self, id: u64) {
        let task = lock(&self.world).tasks.get_mut(&id).and_then(Option::take);
        let Some(mut task) = task else { return };
        let waker = self.waker(id);
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            drop(task);
            lock(&self.world).tasks.remove(&id);
        } else {
            let mut world = lock(&self.world);
            if let Some(place) = world.tasks.get_mut(&id) {
                *place = Some(task);
            }
        }
    }

    /// Moves time to the next event and lets it happen; false when there is none.
    fn advance(&self) -> bool {
        let _own = Machinery::enter();
        let event = {
            let mut world = lock(&self.world);
            let Some(Reverse((at, id))) = world.events.pop() else {
                return false;
            };
            world.now = world.now.max(at);
            world.payloads.remove(&id)
        };
        match event {
            Some(Event::Call(call)) => call(),
            Some(Event::Wake(waker)) => waker.wake(),
            Some(Event::Deliver(pipe, bytes)) => pipe.deliver(bytes),
            Some(Event::Close(pipe, why)) => pipe.close(why),
            None => {}
        }
        true
    }
}

impl World {
    /// Schedules an event.
    pub(crate) fn at(&mut self, at: Instant, event: Event) -> u64 {
        let id = self.next_event;
        self.next_event += 1;
        self.events.push(Reverse((at, id)));
        self.payloads.insert(id, event);
        id
    }

    /// Forgets an event.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.payloads.remove(&id);
    }

    fn next_ready(&mut self) -> Option<u64> {
        if self.ready.is_empty() {
            return None;
        }
        let index = self.rng.below(self.ready.len());
        Some(self.ready.swap_remove(index))
    }
}
