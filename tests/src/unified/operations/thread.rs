//! Threads of a test: tasks that run the operations they are given, one after the other.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::execute;
use crate::unified::{Checked, case::Run, format::Operation};

/// How long a thread may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

type Work = (Arc<Run>, Box<Operation>);

#[derive(Debug)]
struct Inner {
    work: mpsc::UnboundedSender<Work>,
    task: JoinHandle<Checked>,
}

/// A thread entity; `None` after the test has waited for it.
#[derive(Clone, Debug)]
pub(in crate::unified) struct ThreadEntity(Arc<Mutex<Option<Inner>>>);

impl ThreadEntity {
    pub(in crate::unified) fn start() -> Self {
        let (work, mut queue) = mpsc::unbounded_channel::<Work>();
        let task = tokio::spawn(async move {
            while let Some((run, operation)) = queue.recv().await {
                execute(&run, &operation).await?;
            }
            Ok(())
        });
        Self(Arc::new(Mutex::new(Some(Inner { work, task }))))
    }

    /// Gives it an operation.
    pub(in crate::unified) fn run(&self, run: &Arc<Run>, operation: Operation) -> Checked {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = inner
            .as_ref()
            .map(|i| i.work.send((Arc::clone(run), Box::new(operation))));
        match sent {
            // A thread whose operation failed has ended: `join` says why.
            Some(_) => Ok(()),
            None => Err("runOnThread: the thread was stopped".into()),
        }
    }

    /// Waits for its operations.
    pub(in crate::unified) async fn join(&self) -> Checked {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Inner { work, mut task }) = inner else {
            return Err("waitForThread: the thread was stopped before".into());
        };
        drop(work);
        match tokio::time::timeout(PATIENCE, &mut task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(format!("waitForThread: {error}").into()),
            Err(_) => {
                task.abort();
                Err("waitForThread: it did not end within 10 s".into())
            }
        }
    }
}
