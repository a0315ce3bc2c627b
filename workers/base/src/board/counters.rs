//! What a worker says of itself in numbers: its state, its counters, its histogram.

/// What a worker is doing as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// Forked; its application is not ready.
    #[default]
    Booting = 0,
    /// It accepts and serves.
    Serving = 1,
    /// It accepts no more and finishes what it has.
    Draining = 2,
}

/// Counters of one worker, since its start. They only grow.
///
/// What is counted as it happens are requests and responses by status code; those of a class are added
/// up when somebody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Connections accepted.
    Accepted = 0,
    /// Requests answered, by a handler or by the loop.
    Requests,
    /// Responses 1xx (final ones: 101).
    Informational,
    /// Responses 2xx.
    Success,
    /// Responses 3xx.
    Redirection,
    /// Responses 4xx.
    ClientError,
    /// Responses 5xx.
    ServerError,
    /// Requests that the loop refused before any handler saw them.
    Refused,
    /// Handlers that returned an error.
    Errors,
    /// Handlers that panicked.
    Panics,
    /// Responses cut after their head was sent.
    Aborted,
    /// Connections ended because a deadline passed.
    TimedOut,
    /// Requests that went to a stream thread.
    Streams,
    /// Bytes read from clients.
    BytesIn,
    /// Bytes written to clients.
    BytesOut,
    /// Lines of the access log dropped because their reader was too slow.
    LogDropped,
    /// Connections and requests refused because their peer had taken its share.
    Limited,
    /// Connections handed to a sibling while this worker drained.
    Given,
    /// Connections taken over from a sibling; they are not among the accepted ones.
    Taken,
    /// µs in handlers: the sum of what the histogram of handler times counts.
    HandlerMicros,
    /// µs in queues: the sum of what the histogram of queue times counts.
    QueueMicros,
    /// Requests refused because they and others had waited too long for the worker.
    Shed,
    /// Requests refused because workers have died of their like.
    Poisoned,
    /// Messages of the error log at level error.
    LogErrors,
    /// Messages of the error log at level warning.
    LogWarnings,
    /// Messages of the error log dropped because their reader was too slow.
    LogLost,
}

/// How many counters there are.
pub const COUNTERS: usize = Counter::LogLost as usize + 1;
/// Buckets of a histogram: bucket `n` counts times below 2^n µs and not below 2^(n-1); the last one
/// counts what is longer, too.
pub const BUCKETS: usize = 40;

/// Status codes that responses are counted by: 100..=599.
pub const CODES: usize = 500;

/// Fills in the counters of classes from the responses by code.
pub(super) fn classify(counters: &mut [u64; COUNTERS], codes: impl IntoIterator<Item = u64>) {
    for (n, count) in codes.into_iter().enumerate() {
        let class = &mut counters[Counter::Informational as usize + n / 100];
        *class = class.wrapping_add(count);
    }
}

/// The bucket that counts this time, in µs.
#[inline]
pub(super) fn bucket(micros: u64) -> usize {
    ((u64::BITS - micros.leading_zeros()) as usize).min(BUCKETS - 1)
}
