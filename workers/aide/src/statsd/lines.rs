//! What is sent: lines of the StatsD protocol, and how they are packed into datagrams. Pure.
//!
//! The scoreboard has no single times, only how many there were between two bounds, and their sum. Of
//! these at most [`MOST`] are sent per second, each standing for the same number of requests, which is said
//! as a sample rate: so a server that knows of rates only to scale counts has the right count, and its
//! percentiles and means, which it takes from the values as they come, are those of all requests. Within
//! its bounds a value is placed so that the mean is the true one.

use ferricorn_base::board::{BUCKETS, Counter, Totals};
use ferricorn_base::conf::StatsdConf;

/// Times that are sent at once, at most.
const MOST: u64 = 200;
/// Bytes of a datagram: what passes an Ethernet with room for headers of tunnels. A longer line goes alone.
const DATAGRAM: usize = 1432;

/// Which of the times are sent.
#[derive(Debug, Default)]
pub(super) struct Durations {
    /// How many there were since the last one that was sent.
    since: u64,
}

/// A time that is sent for others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Duration {
    /// In µs.
    pub(super) micros: u64,
    /// How many it stands for: a power of two.
    pub(super) weight: u64,
}

/// The lines of what is new, of how many workers there are, and of how many connections wait if that is
/// known.
pub(super) fn lines(
    conf: &StatsdConf,
    news: &Totals,
    workers: usize,
    backlog: Option<u64>,
    durations: &mut Durations,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String, kind: &str| {
        let StatsdConf { prefix, tags, .. } = conf;
        let tags = match tags.as_str() {
            "" => String::new(),
            tags => format!("|#{tags}"),
        };
        lines.push(format!("{prefix}gunicorn.{name}:{value}|{kind}{tags}"));
    };
    let failures = news.get(Counter::Errors) + news.get(Counter::Panics);
    let counters = [
        ("requests", news.get(Counter::Requests)),
        ("log.error", news.get(Counter::LogErrors)),
        ("log.warning", news.get(Counter::LogWarnings)),
        ("log.exception", failures),
    ];
    for (name, count) in counters.into_iter().filter(|(_, count)| *count > 0) {
        line(name, count.to_string(), "c");
    }
    let codes = (100..).zip(&news.codes).filter(|(_, count)| **count > 0);
    for (code, count) in codes {
        line(&format!("request.status.{code}"), count.to_string(), "c");
    }
    let sum = news.get(Counter::HandlerMicros);
    for Duration { micros, weight } in durations.choose(&news.handler_times, sum) {
        let value = format!("{}.{:03}", micros / 1000, micros % 1000);
        let kind = match weight {
            1 => "ms".to_owned(),
            // The decimal fraction of a power of two is exact.
            _ => format!("ms|@{}", 1.0 / weight as f64),
        };
        line("request.duration", value, &kind);
    }
    if let Some(backlog) = backlog {
        line("backlog", backlog.to_string(), "h");
    }
    line("workers", workers.to_string(), "g");
    lines
}

/// As few datagrams as hold them.
pub(super) fn datagrams(lines: &[String]) -> Vec<String> {
    let mut datagrams: Vec<String> = Vec::new();
    for line in lines {
        match datagrams.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= DATAGRAM => {
                last.push('\n');
                last.push_str(line);
            }
            _ => datagrams.push(line.clone()),
        }
    }
    datagrams
}

impl Durations {
    /// Every so-manieth of these times, in their order.
    pub(super) fn choose(&mut self, buckets: &[u64; BUCKETS], sum_us: u64) -> Vec<Duration> {
        let all: u64 = buckets.iter().sum();
        let weight = all.div_ceil(MOST).next_power_of_two();
        // What the sum would be with each in the middle of its bounds, and so how far off that is.
        let middles: f64 = (0..BUCKETS).map(|n| buckets[n] as f64 * middle(n)).sum();
        let factor = match middles > 0.0 {
            true => sum_us as f64 / middles,
            false => 1.0,
        };
        let mut chosen = Vec::new();
        for (n, count) in buckets.iter().enumerate() {
            self.since += count;
            let (least, most) = bounds(n);
            let micros = (middle(n) * factor).round().clamp(least, most) as u64;
            while self.since >= weight {
                self.since -= weight;
                chosen.push(Duration { micros, weight });
            }
        }
        chosen
    }
}

/// The least and the most that a bucket counts, in µs.
fn bounds(bucket: usize) -> (f64, f64) {
    match bucket {
        0 => (0.0, 0.0),
        n => ((1_u64 << (n - 1)) as f64, ((1_u64 << n) - 1) as f64),
    }
}

fn middle(bucket: usize) -> f64 {
    let (least, most) = bounds(bucket);
    f64::midpoint(least, most)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use ferricorn_base::conf::StatsdReceiver;

    fn conf(prefix: &str, tags: &str) -> StatsdConf {
        StatsdConf {
            to: StatsdReceiver::Udp("127.0.0.1:8125".parse().unwrap()),
            prefix: prefix.to_owned(),
            tags: tags.to_owned(),
            backlog: false,
        }
    }

    fn news() -> Totals {
        let mut news = Totals::default();
        news.counters[Counter::Requests as usize] = 5;
        news.counters[Counter::Errors as usize] = 1;
        news.counters[Counter::Panics as usize] = 1;
        news.counters[Counter::LogErrors as usize] = 3;
        news.counters[Counter::LogWarnings as usize] = 2;
        news.counters[Counter::HandlerMicros as usize] = 1_100 + 1_300 + 70_000;
        news.codes[100] = 4;
        news.codes[400] = 1;
        news.handler_times[11] = 2;
        news.handler_times[17] = 1;
        news
    }

    #[test]
    fn names_are_gunicorns() {
        let mut durations = Durations::default();
        assert_eq!(
            lines(&conf("", ""), &news(), 3, Some(7), &mut durations),
            [
                "gunicorn.requests:5|c",
                "gunicorn.log.error:3|c",
                "gunicorn.log.warning:2|c",
                "gunicorn.log.exception:2|c",
                "gunicorn.request.status.200:4|c",
                "gunicorn.request.status.500:1|c",
                "gunicorn.request.duration:1.097|ms",
                "gunicorn.request.duration:1.097|ms",
                "gunicorn.request.duration:70.207|ms",
                "gunicorn.backlog:7|h",
                "gunicorn.workers:3|g",
            ]
        );
        let tagged = lines(
            &conf("shop.", "env:prod,a"),
            &news(),
            3,
            None,
            &mut durations,
        );
        assert_eq!(tagged[0], "shop.gunicorn.requests:5|c|#env:prod,a");
        assert!(tagged[6].ends_with("|ms|#env:prod,a"));
        let idle = lines(&conf("", ""), &Totals::default(), 0, None, &mut durations);
        assert_eq!(idle, ["gunicorn.workers:0|g"]);
    }

    #[test]
    fn all_times_are_stood_for_and_their_mean_is_kept() {
        let mut durations = Durations::default();
        let mut buckets = [0; BUCKETS];
        (buckets[11], buckets[14], buckets[20]) = (90_000, 9_000, 1_000);
        let sum = 90_000 * 1_500 + 9_000 * 12_000 + 1_000 * 700_000;
        let (mut count, mut total, mut slow) = (0, 0, 0);
        for _ in 0..100 {
            let chosen = durations.choose(&buckets, sum);
            assert!(chosen.len() as u64 <= MOST + 1);
            for Duration { micros, weight } in chosen {
                assert_eq!(weight, 512);
                count += weight;
                total += weight * micros;
                slow += if micros > 500_000 { weight } else { 0 };
            }
        }
        assert!(10_000_000 - count < 512, "{count}");
        let mean = total as f64 / count as f64;
        let truth = sum as f64 / 100_000.0;
        assert!((mean / truth - 1.0).abs() < 0.05, "{mean} {truth}");
        assert!((90_000..=110_000).contains(&slow), "{slow}");
        let kind = lines(
            &conf("", ""),
            &Totals {
                handler_times: buckets,
                ..Totals::default()
            },
            1,
            None,
            &mut durations,
        );
        assert!(kind[0].ends_with("|ms|@0.001953125"), "{}", kind[0]);
    }

    #[test]
    fn few_times_are_all_sent_and_an_overflowing_bucket_is_no_trouble() {
        let mut durations = Durations::default();
        let mut buckets = [1; BUCKETS];
        buckets[3] = MOST - BUCKETS as u64 + 1;
        let chosen = durations.choose(&buckets, 1);
        assert_eq!(chosen.len() as u64, MOST);
        assert!(chosen.iter().all(|one| one.weight == 1));
    }

    #[test]
    fn datagrams_are_filled_and_no_line_is_cut() {
        let long = "x".repeat(2_000);
        let all: Vec<String> = (0..200)
            .map(|n| match n {
                77 => long.clone(),
                n => format!("shop.gunicorn.request.status.{n}:1|c"),
            })
            .collect();
        let packed = datagrams(&all);
        let lines: Vec<&str> = packed.iter().flat_map(|one| one.split('\n')).collect();
        assert_eq!(lines, all);
        let short = packed.iter().filter(|one| **one != long);
        assert!(short.clone().all(|one| one.len() <= DATAGRAM));
        assert!(packed.len() < 8, "{}", packed.len());
    }
}
