//! What a request is called in logs: the name that came with it, or a number of this worker's.
//!
//! A number costs an addition; its text is made when somebody looks. No I/O but one getrandom(2)
//! per worker.

use std::fmt;

use ferricorn_http::{Head, Initials};

/// Bytes of a name that may come with a request.
pub(super) const GIVEN_MAX: usize = 128;
const FIELD: &str = "x-request-id";

/// What a request is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestId<'a> {
    /// The number that the worker gave it; never 0. Its text has 16 hexadecimal digits.
    Made(u64),
    /// What a trusted proxy calls it: letters, digits and `-_.:` only, at most 128 of them.
    Given(&'a str),
}

impl fmt::Display for RequestId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Made(number) => write!(f, "{:016x}", scattered(*number)),
            RequestId::Given(text) => f.write_str(text),
        }
    }
}

/// A bijection whose values look unlike those of neighbours, so that ids of one worker are told apart
/// at a glance (the finisher of splitmix64; Steele, Lea, Flood: "Fast Splittable Pseudorandom
/// Number Generators").
pub(super) fn scattered(number: u64) -> u64 {
    let n = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// The numbers of one worker: one after the other from a random one on, so that two workers, or
/// two servers, hardly ever give the same.
#[derive(Debug)]
pub struct RequestIds(u64);

impl RequestIds {
    /// Numbers for this process; to be made after its fork (getrandom(2)).
    #[must_use]
    pub fn new() -> RequestIds {
        let [a, b, c, d, e, f, g, h, ..] = crate::sys::random();
        RequestIds(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The next one; 0 once in 2^64, which only makes that request draw a name of its own.
    #[inline]
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

impl Default for RequestIds {
    fn default() -> RequestIds {
        RequestIds::new()
    }
}

/// The name that came with a request, if it is a plain one.
#[inline]
pub(super) fn given(head: &Head) -> Option<&str> {
    // Most requests have no field of this initial, and pay no more than this test.
    if !head.initials().meets(Initials::of(FIELD)) {
        return None;
    }
    let id = std::str::from_utf8(head.field(FIELD)?).ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    ((1..=GIVEN_MAX).contains(&id.len()) && id.bytes().all(plain)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_worker_differ_and_look_different() {
        let mut ids = RequestIds::new();
        let mut text = || RequestId::Made(ids.next_number()).to_string();
        let (first, second) = (text(), text());
        assert_eq!((first.len(), second.len()), (16, 16));
        let same = first.bytes().zip(second.bytes()).filter(|(a, b)| a == b);
        assert!(same.count() < 10, "{first} {second}");
    }
}
