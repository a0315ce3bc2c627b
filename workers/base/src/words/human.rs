//! Numbers as people read them, and what a histogram says: for `ctl`, `top` and the status page.
//! Pure.

use std::time::Duration;

/// "3 d 2 h", "5 min 3 s", "0.4 s"; "?" for what is no time.
#[must_use]
pub fn time(seconds: f64) -> String {
    let Ok(time) = Duration::try_from_secs_f64(seconds) else {
        return "?".to_owned();
    };
    let whole = time.as_secs();
    let (days, hours) = (whole / 86_400, whole / 3600 % 24);
    let (minutes, rest) = (whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds:.1} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// "850 µs", "12 ms", "1.2 s": a time that is usually short, with two figures.
#[must_use]
pub fn latency(seconds: f64) -> String {
    match seconds {
        s if s.is_nan() || s < 0.0 => "?".to_owned(),
        s if s < 0.000_999_5 => format!("{:.0} µs", s * 1e6),
        s if s < 0.009_95 => format!("{:.1} ms", s * 1e3),
        s if s < 0.999_5 => format!("{:.0} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.1} s"),
        s => time(s),
    }
}

/// "812 B", "3.4 KiB", "120 MiB".
#[must_use]
pub fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// "812", "3.4 k", "12 M".
#[must_use]
pub fn count(count: f64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G", "T", "P"])
        .trim_end()
        .to_owned()
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut number = if number.is_nan() { 0.0 } else { number };
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let whole = number.fract() == 0.0 && number < step;
    // What would be rounded up to a full step has the next unit.
    while number >= step - 0.5 {
        let Some(next) = units.next() else { break };
        number /= step;
        unit = next;
    }
    if whole || number >= 9.95 {
        format!("{number:.0} {unit}")
    } else {
        format!("{number:.1} {unit}")
    }
}

/// Within which time, in seconds, the `share` (0 to 1) of those was done that a histogram of the
/// scoreboard counts: entry `n` has those below 2^n µs and not below 2^(n-1). Within an entry they
/// are taken to lie evenly. None when there is nobody.
#[must_use]
pub fn quantile(histogram: &[u64], share: f64) -> Option<f64> {
    let total: f64 = histogram.iter().map(|count| *count as f64).sum();
    if total <= 0.0 {
        return None;
    }
    let wanted = total * share.clamp(0.0, 1.0);
    let (mut below, mut time) = (0.0, 0.0);
    for (n, count) in histogram
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
    {
        let count = *count as f64;
        let top = 2f64.powi(n.min(64) as i32);
        let bottom = if n == 0 { 0.0 } else { top / 2.0 };
        let part = ((wanted - below) / count).clamp(0.0, 1.0);
        time = bottom + (top - bottom) * part;
        below += count;
        if below >= wanted {
            break;
        }
    }
    Some(time / 1e6)
}

/// What a histogram has counted since it was `earlier`.
#[must_use]
pub fn since(histogram: &[u64], earlier: &[u64]) -> Vec<u64> {
    let earlier = earlier.iter().copied().chain(std::iter::repeat(0));
    let pairs = histogram.iter().zip(earlier);
    pairs.map(|(now, then)| now.saturating_sub(then)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [
            (0.42, "0.4 s"),
            (59.0, "59.0 s"),
            (63.0, "1 min 3 s"),
            (7384.0, "2 h 3 min"),
            (266_400.0, "3 d 2 h"),
            (-1.0, "?"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(time(seconds), text);
        }
        for (seconds, text) in [
            (0.0, "0 µs"),
            (0.000_85, "850 µs"),
            (0.000_999_9, "1.0 ms"),
            (0.009_94, "9.9 ms"),
            (0.012, "12 ms"),
            (0.999_9, "1.0 s"),
            (1.25, "1.2 s"),
            (61.0, "1 min 1 s"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(latency(seconds), text);
        }
    }

    #[test]
    fn sizes_have_two_figures_or_are_whole() {
        for (number, text) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KiB"),
            (10_200.0, "10 KiB"),
            (1_048_575.0, "1.0 MiB"),
            (f64::from(1 << 30), "1.0 GiB"),
            (1e30, "888178419700125 PiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (number, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (0.25, "0.2"),
            (12.4, "12"),
            (999.0, "999"),
            (1000.0, "1.0 k"),
            (12_345.0, "12 k"),
            (2_500_000.0, "2.5 M"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn a_share_lies_in_its_entry_of_the_histogram() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[0, 0], 0.5), None);
        // Ten between 4 and 8 µs.
        let ten = [0, 0, 0, 10];
        assert_eq!(quantile(&ten, 0.5), Some(6e-6));
        assert_eq!(quantile(&ten, 0.0), Some(4e-6));
        assert_eq!(quantile(&ten, 1.0), Some(8e-6));
        // 99 fast ones and a slow one.
        let mut slow = vec![0; 40];
        (slow[10], slow[39]) = (99, 1);
        assert!(quantile(&slow, 0.99) <= Some(1024e-6));
        assert!(quantile(&slow, 0.999) > Some(274_877.0));
        assert_eq!(since(&[1, 5, 7], &[1, 2]), [0, 3, 7]);
    }
}
