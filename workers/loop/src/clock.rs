//! Time as the loop has it: read once per turn, and after some handlers.
//!
//! A reading costs 30 ns, a tenth of what a pipelined request costs altogether, so that not each handler
//! has one. What the kernel's own clock said at its last tick costs a sixth of that: a handler in which
//! it ticked, and so every one that lasts for long, is followed by a reading, and so is one in
//! [`TOGETHER`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferricorn_base::sys::{coarse_us, monotonic_us};
use ferricorn_http::{Date, Defaults};

/// So many handlers have one reading of the clock at least.
const TOGETHER: u64 = 8;

/// The loop's clock, and the fields of a response that change with it.
#[derive(Debug)]
pub(crate) struct Clock {
    now_us: u64,
    /// Add to a CLOCK_MONOTONIC time to get Unix time, in µs.
    offset_us: u64,
    next_second_us: u64,
    date: Date,
    server: Option<String>,
    /// The lines of Server and Date.
    rendered: Vec<u8>,
    unix_seconds: Arc<AtomicU64>,
    /// Each handler has a reading of its own.
    exact: bool,
    /// Handlers that ended since the last reading.
    untimed: u64,
}

impl Clock {
    /// A clock for responses of this Server field. `exact` says that somebody is told how long each
    /// handler took.
    pub(crate) fn new(server: Option<String>, exact: bool) -> Clock {
        let mut clock = Clock {
            exact,
            untimed: 0,
            now_us: 0,
            offset_us: 0,
            next_second_us: 0,
            date: Date::new(),
            server,
            rendered: Vec::new(),
            unix_seconds: Arc::default(),
        };
        clock.read();
        clock
    }

    /// Reads CLOCK_MONOTONIC, and once a second the wall clock too.
    #[inline]
    pub(crate) fn read(&mut self) -> u64 {
        self.now_us = monotonic_us();
        if self.now_us >= self.next_second_us {
            self.read_wall_clock();
        }
        self.now_us
    }

    /// A handler has ended. Where the clock was read for it: how many have ended since the reading before.
    #[inline]
    pub(crate) fn handled(&mut self) -> Option<u64> {
        self.untimed += 1;
        let due = self.exact || self.untimed >= TOGETHER || coarse_us() > self.now_us;
        due.then(|| {
            self.read();
            self.take_untimed()
        })
    }

    /// Whether some have ended since the last reading.
    #[inline]
    pub(crate) fn has_untimed(&self) -> bool {
        self.untimed > 0
    }

    /// How many handlers have ended that nobody has asked for yet.
    #[inline]
    pub(crate) fn take_untimed(&mut self) -> u64 {
        std::mem::take(&mut self.untimed)
    }

    fn read_wall_clock(&mut self) {
        // Before 1970 there was no HTTP.
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        self.date.update(unix.as_secs());
        let mut rendered = std::mem::take(&mut self.rendered);
        rendered.clear();
        self.defaults(None).render(&mut rendered);
        self.rendered = rendered;
        self.unix_seconds.store(unix.as_secs(), Ordering::Relaxed);
        self.offset_us = (unix.as_micros() as u64).wrapping_sub(self.now_us);
        self.next_second_us = self.now_us + 1_000_000 - u64::from(unix.subsec_micros());
    }

    /// The time of the last reading, in µs of CLOCK_MONOTONIC.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now_us
    }

    /// When something of CLOCK_MONOTONIC was in Unix time, in µs.
    pub(crate) fn unix_us(&self, monotonic_us: u64) -> u64 {
        monotonic_us.wrapping_add(self.offset_us)
    }

    /// What a response gets whose handler set no other.
    #[inline]
    pub(crate) fn defaults<'a>(&'a self, content_type: Option<&'a str>) -> Defaults<'a> {
        Defaults {
            date: self.date.as_bytes(),
            server: self.server.as_deref().map(str::as_bytes),
            content_type,
            rendered: &self.rendered,
        }
    }

    /// Unix seconds for the stream threads.
    pub(crate) fn unix_seconds(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.unix_seconds)
    }
}
