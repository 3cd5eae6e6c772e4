//! The seeded single-thread executor and its virtual clock.

mod events;
mod tasks;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use mongo_client_driver::{
    Instant,
    runtime::{BoxFuture, RuntimeGone},
};

pub(crate) use self::events::{Event, EventId};
use self::{
    events::Events,
    tasks::{TaskId, TaskWaker, Tasks},
};
use crate::{
    choices::{Choices, Seeded},
    clock::Clocks,
    datagram::NameServer,
    machinery::Machinery,
    net::{Listener, fabric::Fabric},
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
    pub(crate) choices: Box<dyn Choices>,
    pub(crate) stats: Stats,
    pub(crate) listeners: BTreeMap<String, Listener>,
    pub(crate) connection_ids: u64,
    pub(crate) name_server: Option<NameServer>,
    /// How long work off the executor takes.
    pub(crate) offload: Duration,
    /// The network with faults, and when it wants to be called.
    pub(crate) fabric: Option<Fabric>,
    pub(crate) fabric_due: Option<Instant>,
    /// The clocks of the clients.
    clocks: Vec<Clocks>,
    /// One poll in so many is one that nothing asked for, and one in so many reads and writes is
    /// put off; 0: none.
    pub(crate) yields: u64,
    /// Tasks run in the order in which they were woken.
    in_order: bool,
    /// One read gives so many bytes at most.
    pub(crate) reads_max: usize,
    /// How often randomness was drawn for clients.
    pub(crate) entropy_draws: u64,
    tasks: Tasks,
    main: Arc<TaskWaker>,
    own: Weak<Mutex<Self>>,
    stopped: bool,
    events: Events,
    event_count: u64,
    poll_count: u64,
}

pub(crate) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    /// Creates a simulation whose every choice follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_choices(Box::new(Seeded::new(seed)))
    }

    /// Creates a simulation whose executor draws from these choices.
    #[must_use]
    pub fn with_choices(choices: Box<dyn Choices>) -> Self {
        let world = Arc::new_cyclic(|own: &Weak<Mutex<World>>| {
            Mutex::new(World {
                now: BEGINNING,
                choices,
                stats: Stats::default(),
                listeners: BTreeMap::new(),
                connection_ids: 0,
                name_server: None,
                offload: Duration::ZERO,
                fabric: None,
                fabric_due: None,
                clocks: Vec::new(),
                yields: 0,
                in_order: false,
                reads_max: usize::MAX,
                entropy_draws: 0,
                tasks: Tasks::new(),
                main: TaskWaker::new(TaskId::MAIN, own),
                own: Weak::clone(own),
                stopped: false,
                events: Events::default(),
                event_count: 0,
                poll_count: 0,
            })
        });
        Self { world }
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
        lock(&self.world).tasks.alive()
    }

    /// How many events have happened: pops of the queue that were delivered.
    #[must_use]
    pub fn events(&self) -> u64 {
        lock(&self.world).event_count
    }

    /// How often a task was polled.
    #[must_use]
    pub fn polls(&self) -> u64 {
        lock(&self.world).poll_count
    }

    /// Lets one poll in so many be one that nothing asked for, and puts one in so many reads and
    /// writes of hosted servers' connections off: the task is woken at once. 0, the beginning: none.
    pub fn set_yields(&self, one_in: u64) {
        lock(&self.world).yields = one_in;
    }

    /// Lets one read of a hosted server's connection give so many bytes at most, but one; at first
    /// it gives all that have come.
    pub fn set_reads_max(&self, most: usize) {
        lock(&self.world).reads_max = most.max(1);
    }

    /// Runs a future and all spawned tasks until the future is ready.
    ///
    /// # Panics
    ///
    /// When nothing can run any more while the future is pending, when tasks run for ever without
    /// time moving, or when the future takes more than a day.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = {
            let mut world = lock(&self.world);
            if world.main.queue() {
                world.tasks.ready.push(TaskId::MAIN);
            }
            Waker::from(Arc::clone(&world.main))
        };
        let mut polls = 0_u64;
        let end = self.now() + TIME_MAX;
        loop {
            let next = lock(&self.world).next_ready();
            match next {
                Some(TaskId::MAIN) => {
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

    /// From here on tasks run in the order in which they were woken, as on an executor of one queue,
    /// and not in one that is drawn.
    pub fn set_in_order(&self) {
        lock(&self.world).in_order = true;
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
        let tasks = lock(&self.world).tasks.clear();
        drop(tasks);
    }

    /// Drops all spawned tasks and takes no more, as a runtime does that is shut down. Futures given
    /// to [`Self::block_on`] still run.
    pub fn stop_tasks(&self) {
        let tasks = {
            let mut world = lock(&self.world);
            world.stopped = true;
            world.tasks.clear()
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
        world.stats.spawns += 1;
        let World { tasks, own, .. } = &mut *world;
        tasks.insert(task, own);
        Ok(())
    }

    fn poll_task(&self, id: TaskId) {
        let taken = lock(&self.world).tasks.take(id);
        let Some((mut task, waker)) = taken else {
            return;
        };
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            drop(task);
            lock(&self.world).tasks.remove(id);
        } else {
            let dropped = lock(&self.world).tasks.put_back(id, task);
            drop(dropped);
        }
    }

    /// Moves time to the next event and lets it happen; false when there is none.
    fn advance(&self) -> bool {
        let _own = Machinery::enter();
        let event = {
            let mut world = lock(&self.world);
            let own = world.events.next();
            let fabric = world.fabric_due;
            let first = own.into_iter().chain(fabric).min();
            let Some(at) = first else {
                return false;
            };
            world.now = world.now.max(at);
            // Of two that are due at the same time one is drawn.
            let network = fabric == first
                && (own != first || world.choices.draw("network before timers", 2) == 0);
            if network {
                None
            } else {
                world.event_count += 1;
                world.events.pop()
            }
        };
        match event {
            Some(Event::Call(call)) => call(),
            Some(Event::Wake(waker)) => waker.wake(),
            Some(Event::Deliver(pipe, bytes)) => pipe.deliver(bytes),
            Some(Event::Close(pipe, why)) => pipe.close(why),
            None => {
                let happened = self.fabric_turn();
                lock(&self.world).event_count += u64::from(happened);
            }
        }
        true
    }
}

impl World {
    /// Schedules an event.
    pub(crate) fn at(&mut self, at: Instant, event: Event) -> EventId {
        self.events.schedule(at, event)
    }

    /// Forgets an event.
    pub(crate) fn cancel(&mut self, id: EventId) {
        self.events.cancel(id);
    }

    /// Whether an event is under way that wakes this waker.
    pub(crate) fn will_wake(&self, id: EventId, waker: &Waker) -> bool {
        self.events
            .waker(id)
            .is_some_and(|own| own.will_wake(waker))
    }

    /// The clocks of a client.
    pub(crate) fn clocks(&mut self, client: usize) -> &Clocks {
        if self.clocks.len() <= client {
            self.clocks.resize_with(client + 1, Clocks::new);
        }
        let clocks = &self.clocks[client];
        clocks.set(self.now);
        clocks
    }

    pub(crate) fn all_clocks(&self) -> &[Clocks] {
        &self.clocks
    }

    /// Whether to yield here.
    pub(crate) fn yields(&mut self) -> bool {
        self.yields > 0 && self.choices.draw("yield", self.yields) == 0
    }

    fn next_ready(&mut self) -> Option<TaskId> {
        if !self.tasks.ready.is_empty() && self.yields() {
            let any = self.tasks.draw_any(&mut *self.choices);
            if any.is_some() {
                self.poll_count += 1;
                return any;
            }
        }
        let choices = (!self.in_order).then_some(&mut *self.choices);
        let id = self.tasks.draw(choices)?;
        self.poll_count += 1;
        if id == TaskId::MAIN {
            self.main.unqueue();
        }
        Some(id)
    }
}
