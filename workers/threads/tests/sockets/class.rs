//! The class that these tests are about.

use ferricorn_base::{App, Worker};
use ferricorn_threads::Threads;

/// Handler threads of each worker.
pub const THREADS: usize = 3;

/// An application in it.
pub fn of(app: impl App) -> Box<dyn Worker> {
    Box::new(Threads::new(app))
}
