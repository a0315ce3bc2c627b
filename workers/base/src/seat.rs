//! Where a handler sits: which worker, which thread, with which configuration.

use std::sync::Arc;

use crate::conf::Conf;

/// What `App::boot` is told of its place. In the worker.
#[derive(Clone, Debug)]
pub struct Seat {
    slot: usize,
    generation: u64,
    thread: usize,
    conf: Arc<Conf>,
}

impl Seat {
    /// A seat; tests of applications make one by hand.
    #[must_use]
    pub fn new(slot: usize, generation: u64, thread: usize, conf: Arc<Conf>) -> Seat {
        Seat {
            slot,
            generation,
            thread,
            conf,
        }
    }

    /// The number of the worker's place, from 0; a respawned worker has its predecessor's.
    #[must_use]
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The number of the configuration's generation; each reload begins another.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The number of the handler thread in the worker, from 0, below [`Conf::threads`]. Each has a
    /// handler of its own, booted on it, that no other thread ever sees; 0 is the only one in the class sync.
    #[must_use]
    pub fn thread(&self) -> usize {
        self.thread
    }

    /// The worker's configuration.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.conf
    }
}

impl Default for Seat {
    fn default() -> Self {
        Seat::new(0, 0, 0, Arc::new(Conf::default()))
    }
}
