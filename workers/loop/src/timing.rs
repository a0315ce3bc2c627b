//! How long handlers take, for the scoreboard. Where several have one reading of the clock, they share the
//! time between two of them equally: the sum is right, and no long one hides among short ones.

use ferricorn_base::board::Cell;

use crate::core::Core;
use crate::protocol::Protocol;

/// What handlers share at most, in µs: the slowest kernel ticks every 10 ms. What lasted longer was the
/// last of them, behind which the clock was read.
const SHARED_US: u64 = 20_000;

impl<P: Protocol> Core<P> {
    /// The handler of the request of `cell` is done with it: how long it took, in µs, as far as that is
    /// known, which is to the next tick of the kernel's clock (see `clock`).
    #[inline(always)]
    pub(crate) fn end_handler(&mut self, cell: Cell, status: u16) -> u64 {
        let ended = self.clock.handled();
        let page = &self.context.page;
        let took = page.end_uncounted(cell, status, self.clock.now());
        match ended {
            Some(handlers) if handlers > 1 && took > SHARED_US => {
                page.count_handlers(1, took);
                page.count_handlers(handlers - 1, 0);
            }
            Some(handlers) => page.count_handlers(handlers, took),
            None => {}
        }
        took
    }

    /// Reads the clock, for handlers that share the time until now, too.
    #[inline]
    pub(crate) fn read_clock(&mut self) -> u64 {
        let before = self.clock.now();
        let now = self.clock.read();
        let handlers = self.clock.take_untimed();
        if handlers > 0 {
            self.context.page.count_handlers(handlers, now - before);
        }
        now
    }
}
