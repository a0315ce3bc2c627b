//! Minimum rates: what a client must bring of its request and take of its response in each window.
//!
//! Windows are the body and the write deadline, and so as long as all others of their kind. It asks
//! the socket what it still holds, and reads no clock but on stream threads, which wait in place.

use std::io;
use std::time::{Duration, Instant};

use ferricorn_base::clients;
use ferricorn_base::conf::Deadlines;
use ferricorn_base::transport::{Ready, Transport, wait};

/// Bytes of a body that so much of a window of its deadline must bring.
pub(crate) fn least_brought(deadlines: &Deadlines, waited: Duration) -> u64 {
    least(deadlines.body_min_rate, waited)
}

/// At least one, so that what stands still is always too slow.
fn least(rate: u64, window: Duration) -> u64 {
    let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    (rate.saturating_mul(millis) / 1000).max(1)
}

/// What a client takes of its response in one window of the write deadline.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Bytes that it had not taken when the window began.
    unsent: u32,
    /// Bytes written since.
    written: u64,
}

impl Pace {
    /// A window begins.
    pub(crate) fn begin(wire: &dyn Transport) -> Pace {
        Pace {
            unsent: wire.unsent().unwrap_or(0),
            written: 0,
        }
    }

    /// So many bytes more went to the system.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Whether the client was fast enough, at the end of the window. It is not to blame where it has
    /// taken all there was.
    pub(crate) fn is_kept(&self, wire: &dyn Transport, deadlines: &Deadlines) -> bool {
        let unsent = wire.unsent();
        let given = self.written + u64::from(self.unsent);
        let taken = given.saturating_sub(unsent.unwrap_or(0).into());
        unsent == Some(0) || taken >= least(deadlines.write_min_rate, deadlines.write)
    }
}

/// The same on a stream thread, where only the time in which it waits for the client counts.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    pace: Pace,
    /// How much of this window is over.
    waited: Duration,
}

impl Patience {
    /// Writes all.
    ///
    /// # Errors
    /// The client's: `TimedOut` when it takes less than it must, and what writing answers.
    pub(crate) fn send_all(
        &mut self,
        wire: &mut dyn Transport,
        mut bytes: &[u8],
        deadlines: &Deadlines,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match wire.write(bytes) {
                Ok(0) => return Err(clients(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.pace.wrote(n as u64);
                    bytes = &bytes[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(wire, deadlines).map_err(clients)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(clients(error)),
            }
        }
        Ok(())
    }

    fn wait(&mut self, wire: &dyn Transport, deadlines: &Deadlines) -> io::Result<()> {
        if self.waited.is_zero() {
            self.pace = Pace::begin(wire);
        }
        let start = Instant::now();
        let left = deadlines.write.saturating_sub(self.waited);
        let result = wait(wire.as_fd(), Ready::Writable, Some(left));
        self.waited += start.elapsed();
        match result {
            // The window is over; the next begins with the next wait.
            Err(error)
                if error.kind() == io::ErrorKind::TimedOut
                    && self.pace.is_kept(wire, deadlines) =>
            {
                self.waited = Duration::ZERO;
                Ok(())
            }
            result => result,
        }
    }
}
