//! The class that these tests are about.

use ferricorn_base::{App, Worker};
use ferricorn_sync::Sync;

/// Handler threads of each worker.
pub const THREADS: usize = 1;

/// An application in it.
pub fn of(app: impl App) -> Box<dyn Worker> {
    Box::new(Sync::new(app))
}
