//! The baton: what one of several threads has in hand, and how it passes on. Who runs a handler lays it
//! down and picks it up afterwards; if the handler lasts, the watch takes it up and passes it to a thread
//! that has nothing to do.
//!
//! Only moves of a value under a lock, and waiting for them; it knows nothing of loops. Checked by loom
//! (`tests/models`).
//!
//! ```text
//!            lay_down                 watch                 pass
//!   in hand ──────────► laid down ───────────► the watch's ──────► in another hand
//!      ▲                    │                       │                    │
//!      └──── pick_up ───────┘                       └── nobody is free:  │
//!      ▲                                                it keeps it      │
//!      └──── line_up ◄──────────── give_way ◄────────────────────────────┘
//! ```
//! For a handler that is likely to last it is passed on before (`let_go`), and lined up for afterwards.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

#[cfg(loom)]
use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, fence},
};
#[cfg(not(loom))]
use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, fence},
};

use crate::slot::Slot;

/// How long the baton lies until it passes on: a handler that lasts longer than this, and less than twice
/// as long, loses it.
const LIES: Duration = Duration::from_millis(1);
/// After so many looks at which nothing was new, the watch sleeps until it is woken.
const QUIET: u32 = if cfg!(loom) { 1 } else { 2 };

/// A `T` that one thread has, until they end with an `X`.
#[derive(Debug)]
pub(crate) struct Baton<T, X> {
    seats: Box<[Arc<Seat<T>>]>,
    /// How often it was laid down.
    calls: AtomicU64,
    /// Who has it should give way.
    wanted: AtomicBool,
    /// The watch waits until it is woken.
    asleep: AtomicBool,
    state: Mutex<State<T, X>>,
    watch: Condvar,
}

/// What belongs to one thread. A handler is called and returns without a lock, and without touching what
/// other threads write.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Seat<T> {
    /// It lies here while the handler of this thread runs.
    down: Slot<T>,
    /// What the thread waits at.
    bench: Condvar,
}

impl<T> Seat<T> {
    /// Picks it up on the thread of this seat, whose handler has returned, if it is still there.
    #[inline]
    pub(crate) fn pick_up(&self) -> Option<T> {
        self.down.take()
    }
}

#[derive(Debug)]
struct State<T, X> {
    /// What was given to each thread, and not taken yet.
    given: Box<[Option<T>]>,
    /// Who was given it last.
    last: usize,
    /// Threads that are to go on with a request, in the order in which they came back.
    line: VecDeque<usize>,
    /// Threads that have nothing to do; who came last has the warmest caches.
    spare: Vec<usize>,
    /// The watch has it, as nobody was free.
    kept: bool,
    /// It is for the watch, as nobody else was free.
    left: Option<T>,
    ended: bool,
    end: Option<X>,
}

impl<T, X> State<T, X> {
    /// Who is to have it next.
    fn next(&mut self) -> Option<usize> {
        self.line.pop_front().or_else(|| self.spare.pop())
    }
}

impl<T, X> Baton<T, X> {
    /// For so many threads. Nobody has it yet: the first is who calls [`Baton::pass`].
    pub(crate) fn new(threads: usize) -> Baton<T, X> {
        Baton {
            seats: (0..threads)
                .map(|_| Seat {
                    down: Slot::new(),
                    bench: Condvar::new(),
                })
                .map(Arc::new)
                .collect(),
            calls: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            state: Mutex::new(State {
                given: (0..threads).map(|_| None).collect(),
                last: 0,
                line: VecDeque::new(),
                spare: Vec::new(),
                kept: false,
                left: None,
                ended: false,
                end: None,
            }),
            watch: Condvar::new(),
        }
    }

    // No code that can panic runs under the lock.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State<T, X>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seat of thread `me`.
    pub(crate) fn seat(&self, me: usize) -> Arc<Seat<T>> {
        Arc::clone(&self.seats[me])
    }

    /// Lays it down on the thread of this seat, which runs a handler.
    #[inline]
    pub(crate) fn lay_down(&self, seat: &Seat<T>, baton: T) {
        // Nobody else has it, so that nobody else counts.
        self.calls.store(self.calls.load(Relaxed) + 1, Release);
        seat.down.put(baton);
        // Either the watch sees that it lies before it sleeps, or it is seen to sleep here.
        fence(SeqCst);
        if self.asleep.load(Relaxed) {
            self.wake_watch();
        }
    }

    /// Lets go of it for a handler that is likely to last: who waits for it has it at once, or who has
    /// nothing to do, or the watch.
    pub(crate) fn let_go(&self, baton: T) {
        if let Some(baton) = self.pass(baton) {
            let mut state = self.lock();
            state.left = Some(baton);
            self.watch.notify_one();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_watch(&self) {
        let _state = self.lock();
        self.asleep.store(false, Relaxed);
        self.watch.notify_one();
    }

    /// Waits for it to go on with a request, on thread `me`; `wake` makes who has it look up from a sleep.
    /// Does not return when the threads have ended meanwhile.
    pub(crate) fn line_up(&self, me: usize, wake: impl FnOnce()) -> T {
        let mut state = self.lock();
        state.line.push_back(me);
        self.wanted.store(true, Release);
        drop(state);
        wake();
        state = self.lock();
        loop {
            if let Some(baton) = state.given[me].take() {
                return baton;
            }
            state = self.rest(&self.seats[me].bench, state);
        }
    }

    /// Waits on thread `me`, which has nothing to do, until it is given the baton; `None` when the threads
    /// end. `wake` as for [`Baton::line_up`].
    pub(crate) fn wait(&self, me: usize, wake: impl FnOnce()) -> Option<T> {
        let mut state = self.lock();
        state.spare.push(me);
        if state.kept {
            self.wanted.store(true, Release);
            drop(state);
            wake();
            state = self.lock();
        }
        loop {
            if state.ended {
                return None;
            }
            if let Some(baton) = state.given[me].take() {
                return Some(baton);
            }
            state = self.rest(&self.seats[me].bench, state);
        }
    }

    /// Whether who has it should give way.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Gives it to the first who waits for it, or back.
    pub(crate) fn give_way(&self, baton: T) -> Option<T> {
        let mut state = self.lock();
        let next = state.line.pop_front();
        let next = next.or_else(|| if state.kept { state.spare.pop() } else { None });
        self.wanted.store(!state.line.is_empty(), Release);
        self.give(state, next, baton)
    }

    /// Passes it to who waits for it, or to who has nothing to do; back, if there is nobody, to be kept
    /// until somebody wants it.
    pub(crate) fn pass(&self, baton: T) -> Option<T> {
        let mut state = self.lock();
        let next = state.next();
        self.wanted.store(!state.line.is_empty(), Release);
        state.kept = next.is_none();
        self.give(state, next, baton)
    }

    fn give(
        &self,
        mut state: MutexGuard<'_, State<T, X>>,
        next: Option<usize>,
        baton: T,
    ) -> Option<T> {
        let Some(next) = next else {
            return Some(baton);
        };
        state.kept = false;
        state.last = next;
        state.given[next] = Some(baton);
        self.seats[next].bench.notify_one();
        None
    }

    /// Watches until it has lain for long, and takes it then.
    ///
    /// # Errors
    /// That the threads have ended.
    pub(crate) fn watch(&self) -> Result<T, X> {
        let mut state = self.lock();
        let (mut seen, mut quiet) = (self.calls.load(Acquire), 0);
        loop {
            state = if state.left.is_some() {
                state
            } else if quiet >= QUIET {
                quiet = 0;
                self.asleep.store(true, Relaxed);
                fence(SeqCst);
                // Laid down since the last look; after this one whoever does it wakes the watch.
                if let Some(baton) = self.seats[state.last].down.take() {
                    self.asleep.store(false, Relaxed);
                    return Ok(baton);
                }
                self.rest(&self.watch, state)
            } else {
                self.look_away(state)
            };
            self.asleep.store(false, Relaxed);
            if let Some(end) = state.end.take() {
                return Err(end);
            }
            if let Some(baton) = state.left.take() {
                return Ok(baton);
            }
            let calls = self.calls.load(Acquire);
            if calls != seen {
                (seen, quiet) = (calls, 0);
                continue;
            }
            match self.seats[state.last].down.take() {
                Some(baton) => return Ok(baton),
                None => quiet += 1,
            }
        }
    }

    /// Ends the threads. Thread `me`, where one says so, has nothing to do any more.
    pub(crate) fn end(&self, with: X, me: Option<usize>) {
        let mut state = self.lock();
        state.spare.extend(me);
        state.ended = true;
        state.end = Some(with);
        self.watch.notify_one();
        for seat in &*self.seats {
            seat.bench.notify_one();
        }
    }

    /// The threads that had nothing to do when all ended: they are done soon. Others may be in handlers.
    pub(crate) fn resting(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().spare)
    }

    /// Waits at `bench`.
    fn rest<'a>(
        &self,
        bench: &Condvar,
        state: MutexGuard<'a, State<T, X>>,
    ) -> MutexGuard<'a, State<T, X>> {
        bench.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the time pass after which a baton that lies is taken up.
    #[cfg(not(loom))]
    fn look_away<'a>(&'a self, state: MutexGuard<'a, State<T, X>>) -> MutexGuard<'a, State<T, X>> {
        let waited = self.watch.wait_timeout(state, LIES);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    // loom knows no time: any number of steps of the others may lie between two looks.
    #[cfg(loom)]
    fn look_away<'a>(&'a self, state: MutexGuard<'a, State<T, X>>) -> MutexGuard<'a, State<T, X>> {
        let _ = LIES;
        drop(state);
        loom::thread::yield_now();
        self.lock()
    }
}

#[cfg(all(test, loom))]
mod tests {
    use loom::model::Builder;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread::{self, JoinHandle};

    use super::*;

    /// What passes from hand to hand: the types see to it that there is one.
    #[derive(Debug)]
    struct Loop {
        requests: usize,
        answers: usize,
        /// Whose handler was called last, unless it lasts.
        calling: Option<usize>,
    }

    impl Loop {
        fn is_over(&self) -> bool {
            self.requests + self.answers == 0
        }
    }

    type Shared = Arc<Baton<Loop, ()>>;

    /// Handlers of which the first lasts until the last is called.
    #[derive(Default)]
    struct Handlers {
        last: Mutex<bool>,
        called: Condvar,
    }

    impl Handlers {
        fn call(&self, left: usize, first: bool) {
            let mut last = self.last.lock().unwrap();
            if left == 0 {
                *last = true;
                self.called.notify_all();
            }
            while first && !*last {
                last = self.called.wait(last).unwrap();
            }
        }
    }

    /// Gives way if it is wanted, else looks at it again.
    fn yielded(baton: &Shared, turned: Loop) -> Option<Loop> {
        if baton.is_wanted() {
            baton.give_way(turned)
        } else {
            Some(turned)
        }
    }

    /// A handler thread: turns the loop, and in each handler another thread may take it.
    fn handler_thread(baton: Shared, me: usize, handlers: &Handlers, all: usize) {
        let seat = baton.seat(me);
        while let Some(turned) = baton.wait(me, || {}) {
            let mut hand = Some(turned);
            while let Some(mut turned) = hand {
                if turned.is_over() {
                    return baton.end((), Some(me));
                }
                if turned.requests > 0 {
                    turned.requests -= 1;
                    turned.calling = Some(me);
                    let left = turned.requests;
                    let lasts = left == 0 && all > 1;
                    if lasts {
                        turned.calling = None;
                        baton.let_go(turned);
                    } else {
                        baton.lay_down(&seat, turned);
                    }
                    handlers.call(left, left + 1 == all);
                    let picked = seat.pick_up();
                    turned = match picked {
                        Some(turned) => {
                            assert_eq!(turned.calling, Some(me), "another's is not picked up");
                            turned
                        }
                        None => baton.line_up(me, || {}),
                    };
                    turned.answers -= 1;
                } else {
                    // Others are in their handlers; a real loop sleeps.
                    thread::yield_now();
                }
                hand = yielded(&baton, turned);
            }
        }
    }

    /// The watch: passes on what lies for long, and keeps it when nobody is free.
    fn watch(baton: &Shared, first: Loop) {
        let mut kept = baton.pass(first);
        loop {
            while let Some(turned) = kept {
                thread::yield_now();
                kept = yielded(baton, turned);
            }
            match baton.watch() {
                Ok(mut turned) => {
                    turned.calling = None;
                    kept = baton.pass(turned);
                }
                Err(()) => return,
            }
        }
    }

    /// Whatever the order of the steps: each request is answered, and all threads end.
    fn all_is_answered(threads: usize, requests: usize, preemptions: usize) {
        let mut model = Builder::new();
        model.preemption_bound = Some(preemptions);
        model.check(move || {
            let baton: Shared = Arc::new(Baton::new(threads));
            let handlers = Arc::new(Handlers::default());
            let crew: Vec<JoinHandle<()>> = (0..threads)
                .map(|me| {
                    let (baton, handlers) = (Arc::clone(&baton), Arc::clone(&handlers));
                    thread::spawn(move || handler_thread(baton, me, &handlers, requests))
                })
                .collect();
            let answers = requests;
            let calling = None;
            watch(
                &baton,
                Loop {
                    requests,
                    answers,
                    calling,
                },
            );
            for thread in crew {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn one_thread_and_its_watch() {
        all_is_answered(1, 1, 4);
    }

    #[test]
    fn two_threads_and_their_watch() {
        all_is_answered(2, 2, 2);
    }

    #[test]
    fn more_requests_than_threads() {
        all_is_answered(2, 3, 1);
    }
}
