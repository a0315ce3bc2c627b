//! Time stamps of log lines, formatted once a second.
//!
//! It may ask the system for the time and the time zone; it must not allocate, nor call
//! localtime_r(3) twice for the same second on one thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sys;

/// 9999-12-31T00:00:00Z: four digits of year are all that the forms have room for, in any zone.
const LAST: u64 = 253_402_214_400;
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
/// No second that a clock can show.
const NEVER: u64 = u64::MAX;

type Stamp<const N: usize> = Cell<(u64, [u8; N])>;

thread_local! {
    static COMMON: Stamp<28> =
        const { Cell::new((NEVER, *b"[23/Nov/2026:02:58:16 +0000]")) };
    static ERROR: Stamp<27> =
        const { Cell::new((NEVER, *b"[2026-11-23 02:58:16 +0000]")) };
    static BSD: Stamp<15> = const { Cell::new((NEVER, *b"Nov 23 02:58:16")) };
    static RFC3339: Stamp<19> = const { Cell::new((NEVER, *b"2026-11-23T02:58:16")) };
}

/// Appends `[23/Nov/2026:02:58:16 +0000]`, local time: the common log format's.
pub(crate) fn push_common(unix_seconds: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&cached(&COMMON, unix_seconds, |second, text| {
        let (tm, offset) = sys::local_time(second);
        digits(&mut text[1..3], tm.tm_mday as u64);
        let month = (tm.tm_mon as usize).min(11) * 3;
        text[4..7].copy_from_slice(&MONTHS[month..month + 3]);
        digits(&mut text[8..12], (tm.tm_year + 1900) as u64);
        clock(
            &mut text[13..21],
            tm.tm_hour as u64,
            tm.tm_min as u64,
            tm.tm_sec as u64,
        );
        zone(&mut text[22..27], offset);
    }));
}

/// `[2026-11-23 02:58:16 +0000]` of now, local time: the error log's.
pub(crate) fn error_now() -> [u8; 27] {
    error(now_us() / 1_000_000)
}

/// The same of another second.
pub(crate) fn error(unix_seconds: u64) -> [u8; 27] {
    cached(&ERROR, unix_seconds, |second, text| {
        let (tm, offset) = sys::local_time(second);
        digits(&mut text[1..5], (tm.tm_year + 1900) as u64);
        digits(&mut text[6..8], (tm.tm_mon + 1) as u64);
        digits(&mut text[9..11], tm.tm_mday as u64);
        clock(
            &mut text[12..20],
            tm.tm_hour as u64,
            tm.tm_min as u64,
            tm.tm_sec as u64,
        );
        zone(&mut text[21..26], offset);
    })
}

/// Appends `Nov 23 02:58:16`, local time: what syslog(3) writes (RFC 3164 section 4.1.2).
pub(crate) fn push_bsd(unix_seconds: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&cached(&BSD, unix_seconds, |second, text| {
        let (tm, _) = sys::local_time(second);
        let month = (tm.tm_mon as usize).min(11) * 3;
        text[0..3].copy_from_slice(&MONTHS[month..month + 3]);
        digits(&mut text[4..6], tm.tm_mday as u64);
        // A day of one digit is led by a blank.
        if text[4] == b'0' {
            text[4] = b' ';
        }
        clock(
            &mut text[7..15],
            tm.tm_hour as u64,
            tm.tm_min as u64,
            tm.tm_sec as u64,
        );
    }));
}

/// Appends `2026-11-23T02:58:16.123456Z` (RFC 3339 §5.6).
pub(crate) fn push_rfc3339(unix_us: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&cached(&RFC3339, unix_us / 1_000_000, |second, text| {
        let (year, month, day) = civil(second as u64 / 86_400);
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        let second = second as u64 % 86_400;
        clock(
            &mut text[11..19],
            second / 3600,
            second / 60 % 60,
            second % 60,
        );
    }));
    let mut fraction = *b".000000Z";
    digits(&mut fraction[1..7], unix_us % 1_000_000);
    out.extend_from_slice(&fraction);
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_micros() as u64)
}

fn cached<const N: usize>(
    stamp: &'static std::thread::LocalKey<Stamp<N>>,
    unix_seconds: u64,
    format: impl FnOnce(i64, &mut [u8; N]),
) -> [u8; N] {
    let (second, mut text) = stamp.get();
    if second != unix_seconds {
        format(unix_seconds.min(LAST) as i64, &mut text);
        stamp.set((unix_seconds, text));
    }
    text
}

fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn clock(out: &mut [u8], hour: u64, minute: u64, second: u64) {
    digits(&mut out[0..2], hour);
    digits(&mut out[3..5], minute);
    digits(&mut out[6..8], second);
}

fn zone(out: &mut [u8], offset: i64) {
    out[0] = if offset < 0 { b'-' } else { b'+' };
    let minutes = offset.unsigned_abs() / 60;
    digits(&mut out[1..3], minutes / 60);
    digits(&mut out[3..5], minutes % 60);
}

/// Year, month and day of a day since 1970 in the Gregorian calendar, by eras of 400 years that
/// begin on a first of March (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// The machine may be in any zone, so local stamps are checked against the system's own idea.
    #[test]
    fn local_stamps_say_what_localtime_says() {
        for second in [0, 951_827_696, 1_732_330_696, 1_751_000_000] {
            let (tm, offset) = sys::local_time(second as i64);
            let sign = if offset < 0 { '-' } else { '+' };
            let zone = format!(
                "{sign}{:02}{:02}",
                offset.abs() / 3600,
                offset.abs() / 60 % 60
            );
            let clock = format!("{:02}:{:02}:{:02} {zone}", tm.tm_hour, tm.tm_min, tm.tm_sec);
            let (year, month, day) = (tm.tm_year + 1900, tm.tm_mon as usize, tm.tm_mday);
            assert_eq!(
                String::from_utf8_lossy(&error(second)),
                format!("[{year}-{:02}-{day:02} {clock}]", month + 1)
            );
            let name = std::str::from_utf8(&MONTHS[month * 3..month * 3 + 3]).unwrap();
            assert_eq!(
                shown(|out| push_common(second, out)),
                format!("[{day:02}/{name}/{year}:{clock}]")
            );
            let (time, _) = clock.split_once(' ').unwrap();
            assert_eq!(
                shown(|out| push_bsd(second, out)),
                format!("{name} {day:>2} {time}")
            );
        }
    }

    #[test]
    fn rfc3339_is_utc_with_microseconds() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_827_696_000_001, "2000-02-29T12:34:56.000001Z"),
            (951_827_696_999_999, "2000-02-29T12:34:56.999999Z"),
            (1_795_402_696_123_456, "2026-11-23T02:58:16.123456Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (1_735_689_599_000_000, "2024-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(shown(|out| push_rfc3339(us, out)), text);
        }
    }

    #[test]
    fn a_clock_gone_mad_keeps_the_form() {
        assert_eq!(shown(|out| push_rfc3339(u64::MAX, out)).len(), 27);
        assert_eq!(error(NEVER - 1).last(), Some(&b']'));
        assert_eq!(shown(|out| push_common(NEVER - 1, out)).len(), 28);
    }
}
