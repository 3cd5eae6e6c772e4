//! The tasks, those of them that can run, and how they are woken.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use mongo_client_driver::runtime::BoxFuture;

use super::{World, lock};
use crate::{choices::Choices, machinery::Machinery};

/// A task: its place and how many others had the place before. [`TaskId::MAIN`] is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskId {
    place: u32,
    turn: u32,
}

impl TaskId {
    /// The future that [`Sim::block_on`](super::Sim::block_on) runs.
    pub(super) const MAIN: Self = Self {
        place: u32::MAX,
        turn: 0,
    };
}

pub(super) struct TaskWaker {
    id: TaskId,
    /// Whether the task waits for its turn to run.
    queued: AtomicBool,
    /// Tasks are part of the world: a strong reference would keep it for ever.
    world: Weak<Mutex<World>>,
}

impl TaskWaker {
    pub(super) fn new(id: TaskId, world: &Weak<Mutex<World>>) -> Arc<Self> {
        Arc::new(Self {
            id,
            queued: AtomicBool::new(false),
            world: Weak::clone(world),
        })
    }

    /// Marks the task as queued; false when it is already.
    pub(super) fn queue(&self) -> bool {
        !self.queued.swap(true, Ordering::Relaxed)
    }

    pub(super) fn unqueue(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _own = Machinery::enter();
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let mut world = lock(&world);
        world.stats.wakes += 1;
        if self.id == TaskId::MAIN {
            world.stats.main_wakes += 1;
        }
        if self.queue() {
            world.tasks.ready.push(self.id);
        }
    }
}

struct Task {
    /// `None` while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    wake: Arc<TaskWaker>,
    waker: Waker,
}

struct Place {
    turn: u32,
    task: Option<Task>,
}

/// See the module.
pub(super) struct Tasks {
    places: Vec<Place>,
    free: Vec<u32>,
    pub(super) ready: Vec<TaskId>,
    alive: usize,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            ready: Vec::with_capacity(64),
            alive: 0,
        }
    }

    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    pub(super) fn insert(&mut self, future: BoxFuture<'static, ()>, world: &Weak<Mutex<World>>) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                turn: 0,
                task: None,
            });
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX - 1)
        });
        let slot = &mut self.places[place as usize];
        let id = TaskId {
            place,
            turn: slot.turn,
        };
        let wake = TaskWaker::new(id, world);
        wake.queue();
        slot.task = Some(Task {
            future: Some(future),
            waker: Waker::from(Arc::clone(&wake)),
            wake,
        });
        self.alive += 1;
        self.ready.push(id);
    }

    fn get(&mut self, id: TaskId) -> Option<&mut Task> {
        let place = self.places.get_mut(id.place as usize)?;
        place.task.as_mut().filter(|_| place.turn == id.turn)
    }

    /// Takes a task out to poll it.
    pub(super) fn take(&mut self, id: TaskId) -> Option<(BoxFuture<'static, ()>, Waker)> {
        let task = self.get(id)?;
        task.wake.unqueue();
        Some((task.future.take()?, task.waker.clone()))
    }

    /// Puts a task back that is pending; gives it back when it was dropped meanwhile.
    pub(super) fn put_back(
        &mut self,
        id: TaskId,
        future: BoxFuture<'static, ()>,
    ) -> Option<BoxFuture<'static, ()>> {
        match self.get(id) {
            Some(task) => {
                task.future = Some(future);
                None
            }
            None => Some(future),
        }
    }

    /// Forgets a task. What is left of it is to be dropped without the world's lock.
    pub(super) fn remove(&mut self, id: TaskId) {
        if self.get(id).is_none() {
            return;
        }
        let place = &mut self.places[id.place as usize];
        place.task = None;
        place.turn += 1;
        self.alive -= 1;
        self.free.push(id.place);
    }

    /// Takes the futures of all tasks; none is left.
    pub(super) fn clear(&mut self) -> Vec<BoxFuture<'static, ()>> {
        let mut futures = Vec::new();
        for (place, slot) in (0..).zip(&mut self.places) {
            if let Some(task) = slot.task.take() {
                futures.extend(task.future);
                slot.turn += 1;
                self.free.push(place);
            }
        }
        self.alive = 0;
        futures
    }

    /// Draws the next task to run; `None` for the choices: the one that was woken first.
    pub(super) fn draw(&mut self, choices: Option<&mut (dyn Choices + 'static)>) -> Option<TaskId> {
        let Some(choices) = choices else {
            return (!self.ready.is_empty()).then(|| self.ready.remove(0));
        };
        let index = match self.ready.len() {
            0 => return None,
            1 => 0,
            n => usize::try_from(choices.draw("next task", n as u64)).unwrap_or(0),
        };
        Some(self.ready.swap_remove(index))
    }

    /// Draws any task at all, to poll it although nothing woke it.
    pub(super) fn draw_any(&mut self, choices: &mut dyn Choices) -> Option<TaskId> {
        let place = choices.draw("task without need", self.places.len() as u64);
        let place = usize::try_from(place).ok()?;
        let task = self.places.get(place)?.task.as_ref()?;
        Some(task.wake.id)
    }
}
