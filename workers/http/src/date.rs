//! The Date field, formatted once a second. No clock here: the caller says what time it is.

use std::time::{Duration, SystemTime};

/// Length of an IMF-fixdate.
const LENGTH: usize = 29;
/// 9999-12-31T23:59:59Z: four digits of year are all that IMF-fixdate has.
const LAST: u64 = 253_402_300_799;

/// A cached IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
#[derive(Clone, Debug)]
pub struct Date {
    seconds: u64,
    text: [u8; LENGTH],
}

impl Date {
    /// The start of 1970.
    pub fn new() -> Self {
        let mut date = Self {
            seconds: u64::MAX,
            text: [0; LENGTH],
        };
        date.update(0);
        date
    }

    /// Sets the time, in seconds since 1970 (UTC). Formats only when the second has changed.
    #[inline]
    pub fn update(&mut self, unix_seconds: u64) {
        if unix_seconds != self.seconds {
            self.format(unix_seconds);
        }
    }

    #[cold]
    fn format(&mut self, unix_seconds: u64) {
        self.seconds = unix_seconds;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST));
        let text = httpdate::fmt_http_date(time);
        if let Ok(bytes) = text.as_bytes().try_into() {
            self.text = bytes;
        }
    }

    /// The date, 29 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

impl Default for Date {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let mut date = Date::new();
        assert_eq!(date.as_bytes(), b"Thu, 01 Jan 1970 00:00:00 GMT");
        date.update(784_111_777);
        assert_eq!(date.as_bytes(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        date.update(784_111_777);
        assert_eq!(date.as_bytes(), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_clock_gone_mad_does_not_panic() {
        let mut date = Date::new();
        date.update(u64::MAX);
        assert_eq!(date.as_bytes(), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
