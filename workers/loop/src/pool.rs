//! Stream threads: made when needed, bounded, ended when they were idle for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread waits for the next stream before it ends.
const IDLE: Duration = Duration::from_secs(10);

type Task = Box<dyn FnOnce() + Send>;

/// A bounded pool of threads.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    limit: usize,
    /// Tasks started and not yet [`done`](Pool::done).
    running: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    threads: usize,
    idle: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("tasks", &self.tasks.len())
            .field("threads", &self.threads)
            .field("idle", &self.idle)
            .finish()
    }
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Pool {
        Pool {
            shared: Arc::default(),
            limit,
            running: 0,
        }
    }

    /// Whether a task would start at once.
    pub(crate) fn has_room(&self) -> bool {
        self.running < self.limit
    }

    /// One of the tasks has done all that it was started for, or could not be started. Its thread
    /// may not know yet.
    pub(crate) fn done(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Starts a task. To be asked after [`Pool::has_room`].
    ///
    /// # Errors
    /// What starting a thread answers; the task is dropped then.
    pub(crate) fn start(&mut self, task: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.running += 1;
        let mut state = self.shared.lock();
        // At the limit a thread is about to be done with its task, and takes this one.
        if state.idle <= state.tasks.len() && state.threads < self.limit {
            let shared = Arc::clone(&self.shared);
            std::thread::Builder::new()
                .name("stream".into())
                .spawn(move || shared.run())?;
            state.threads += 1;
        }
        state.tasks.push_back(Box::new(task));
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }
}

impl Shared {
    // A task cannot panic while it holds the lock, so a poisoned lock guards sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // Without it, whom this thread serves is reset when the process dies.
        let _seated = ferricorn_base::sys::breath::sit(false);
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                task();
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (after, timeout) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
            if timeout.timed_out() && state.tasks.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn tasks_run_at_once_up_to_the_limit_and_threads_are_used_again() {
        let mut pool = Pool::new(2);
        let (done, finished) = mpsc::channel();
        let mut gates = vec![];
        for _ in 0..2 {
            assert!(pool.has_room());
            let (gate, wait) = mpsc::channel::<()>();
            let done = done.clone();
            pool.start(move || {
                let _ = wait.recv();
                let _ = done.send(());
            })
            .unwrap();
            gates.push(gate);
        }
        assert!(!pool.has_room());
        drop(gates);
        for _ in 0..2 {
            finished.recv().unwrap();
            pool.done();
            // Perhaps before the thread is idle.
            assert!(pool.has_room());
            let done = done.clone();
            pool.start(move || done.send(()).unwrap()).unwrap();
        }
        for _ in 0..2 {
            finished.recv().unwrap();
        }
        assert!(pool.shared.lock().threads <= 2);
    }
}
