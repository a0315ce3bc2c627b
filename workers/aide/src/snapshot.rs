//! How the server stands at one moment: what every page and every duty is made from.

use std::sync::Arc;
use std::time::Duration;

use ferricorn_base::board::Board;
use ferricorn_base::sys::monotonic;
use ferricorn_base::words::Status;

/// What the master has said last, and the scoreboard, which is always as of now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the master says.
    pub status: Arc<Status>,
    /// When it said so, in time of CLOCK_MONOTONIC.
    pub told: Duration,
    /// It does not answer now, so that this may be old.
    pub is_silent: bool,
    /// What the workers say.
    pub board: Arc<Board>,
}

impl Snapshot {
    /// How old what the master says is.
    #[must_use]
    pub fn age(&self) -> Duration {
        monotonic().saturating_sub(self.told)
    }
}
