//! The events of a turn that are not dealt with yet. They outlive the thread that asked for them: it may
//! be in a handler for long, while another one goes on with the turn.

use mio::Events;

/// What one event tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Whom it is about.
    pub(crate) token: usize,
    /// There is something to read.
    pub(crate) readable: bool,
    /// There is room to write.
    pub(crate) writable: bool,
    /// The other side sends nothing more, or is gone.
    pub(crate) closed: bool,
}

/// The events of a turn.
#[derive(Debug, Default)]
pub(crate) struct Found {
    told: Vec<Told>,
    next: usize,
    /// When they were told of: all that came before is among them, in µs of CLOCK_MONOTONIC.
    told_us: u64,
}

impl Found {
    /// Whether all have been dealt with.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.next == self.told.len()
    }

    /// Whether there were none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Those that were told of at `told_us`: how many.
    #[inline]
    pub(crate) fn renew(&mut self, events: &Events, told_us: u64) -> usize {
        self.told.clear();
        self.told.extend(events.iter().map(|event| Told {
            token: event.token().0,
            readable: event.is_readable(),
            writable: event.is_writable(),
            closed: event.is_read_closed() || event.is_error(),
        }));
        self.next = 0;
        self.told_us = told_us;
        self.told.len()
    }

    /// The next to be dealt with.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Told> {
        let told = *self.told.get(self.next)?;
        self.next += 1;
        Some(told)
    }

    /// When they were told of, in µs of CLOCK_MONOTONIC.
    #[inline]
    pub(crate) fn told_us(&self) -> u64 {
        self.told_us
    }
}
