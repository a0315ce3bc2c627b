//! What a reload must bear, as clients see it: the list of the acceptance tests, each with no failure at
//! all.
//!
//! Load of all kinds over many reloads (`load`), clients at awkward moments (`moments`), exchanges that
//! last longer than a generation (`across`; they come first, since they take longest), every way in which
//! the next generation can be broken (`broken`), the program replaced by another (`versions`), a master
//! or a worker that dies or stands still (`deaths`). Reloads behind nginx and HAProxy are in `tests/proxies`; what one reload does in
//! detail, in `tests/server`.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "../support/mod.rs"]
mod support;

mod across;
mod broken;
mod chaos;
mod deaths;
mod load;
mod moments;
mod versions;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The machine to oneself, as far as these tests go: who loads it and who measures takes turns.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets clients go on, each in a thread of its own, while something happens. Each is given its number, and
/// asked to end when that is set.
pub fn meanwhile<T>(
    clients: usize,
    client: impl Fn(usize, &AtomicBool) + Sync,
    happens: impl FnOnce() -> T,
) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..clients {
            let (client, over) = (&client, &over);
            scope.spawn(move || client(number, over));
        }
        // Also when what happens is a failure.
        let _over = Over(&over);
        happens()
    })
}
