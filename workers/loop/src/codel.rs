//! When to refuse requests because they wait too long: CoDel (RFC 8289), with a bound. Pure: no clock.
//!
//! A queue that empties now and then does no harm, however long it gets; one that stands only makes
//! everybody wait. So nothing is refused before the wait has been over the target for a whole interval;
//! then one, and the next ones ever sooner, by the control law of the RFC, until the wait is below the
//! target. That law is made for senders that slow down when they lose something. Clients do not, so there is
//! a bound besides: meanwhile nobody is served who has waited for longer than target and interval
//! together.

/// All times are in µs of one clock.
#[derive(Debug)]
pub(crate) struct Codel {
    target: u64,
    interval: u64,
    /// When the wait will have been over the target for an interval.
    due: Option<u64>,
    refusing: bool,
    /// When the next one is refused.
    next: u64,
    /// How many were refused since it began.
    count: u64,
    /// How many of them it began with.
    began_with: u64,
    /// When the last request was judged.
    judged: u64,
}

impl Codel {
    pub(crate) fn new(target: u64, interval: u64) -> Codel {
        Codel {
            target,
            interval: interval.max(1),
            due: None,
            refusing: false,
            next: 0,
            count: 0,
            began_with: 0,
            judged: 0,
        }
    }

    /// Whether requests are being refused.
    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing
    }

    /// Whether to refuse a request that has waited for so long by now.
    pub(crate) fn refuses(&mut self, waited: u64, now: u64) -> bool {
        let came = now.saturating_sub(waited);
        // Nothing was left waiting when the last one was taken.
        let stood = came <= self.judged.saturating_add(self.interval);
        self.judged = now;
        if waited < self.target {
            self.due = None;
            self.refusing = false;
            return false;
        }
        let due = self.due.filter(|_| stood).unwrap_or(now + self.interval);
        self.due = Some(due);
        if now < due {
            self.refusing = false;
            return false;
        }
        if !self.refusing {
            self.refusing = true;
            // Soon after the last time, it goes on with the rate that was found then.
            let found = self.count - self.began_with;
            let again = found > 1 && now.saturating_sub(self.next) < 16 * self.interval;
            self.count = if again { found } else { 1 };
            self.began_with = self.count;
            self.next = self.after(now);
            return true;
        }
        if now >= self.next {
            self.count += 1;
            self.next = self.after(self.next);
            return true;
        }
        waited > self.target + self.interval
    }

    /// The control law.
    fn after(&self, time: u64) -> u64 {
        time + (self.interval as f64 / (self.count as f64).sqrt()) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const MS: u64 = 1000;
    const TARGET: u64 = 20 * MS;
    const INTERVAL: u64 = 100 * MS;

    /// Which of these, at a time and after a wait in ms, are refused.
    fn refused(requests: &[(u64, u64)]) -> Vec<u64> {
        let mut codel = Codel::new(TARGET, INTERVAL);
        let mut times = Vec::new();
        for (at, waited) in requests {
            // The clock is no younger than the oldest wait.
            if codel.refuses(waited * MS, (1000 + at) * MS) {
                times.push(*at);
            }
        }
        times
    }

    /// One every `step` ms, each after this wait.
    fn steady(from: u64, to: u64, step: usize, waited: u64) -> Vec<(u64, u64)> {
        (from..to).step_by(step).map(|at| (at, waited)).collect()
    }

    #[test]
    fn nothing_is_refused_while_the_wait_comes_below_the_target_in_each_interval() {
        assert!(refused(&steady(0, 1000, 5, 19)).is_empty());
        assert!(refused(&steady(0, 100, 5, 50)).is_empty());
        let dips = (0..1000).step_by(5).map(|at| match at % 95 {
            0 => (at, 1),
            _ => (at, 50),
        });
        assert!(refused(&dips.collect::<Vec<_>>()).is_empty());
    }

    #[test]
    fn a_wait_that_stands_is_met_ever_sooner() {
        let times = refused(&steady(0, 1000, 1, 50));
        let law = [100, 200, 271, 329, 379, 424, 464, 502, 538, 571];
        assert_eq!(times[..law.len()], law);
        let gaps: Vec<u64> = times.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.windows(2).all(|two| two[1] <= two[0] + 1), "{gaps:?}");
    }

    #[test]
    fn one_below_the_target_ends_it_and_it_comes_back_where_it_was() {
        let mut requests = steady(0, 500, 1, 50);
        let before = refused(&requests).len();
        requests.push((500, 10));
        requests.extend(steady(501, 701, 1, 50));
        let times = refused(&requests);
        let after: Vec<u64> = times[before..].to_vec();
        assert_eq!(after[0], 601);
        // As after the six that followed the first: 100 / sqrt(6) ms.
        assert_eq!(after[1], 642, "{after:?}");
        // Long after that it is forgotten.
        let mut requests = steady(0, 500, 1, 50);
        requests.push((500, 10));
        requests.extend(steady(3000, 3250, 1, 50));
        assert_eq!(refused(&requests)[before..], [3100, 3200]);
    }

    #[test]
    fn who_has_waited_for_target_and_interval_is_refused_meanwhile() {
        let mut requests = steady(0, 101, 1, 50);
        requests.extend([(101, 120), (102, 121), (103, 50), (104, 500)]);
        assert_eq!(refused(&requests), [100, 102, 104]);
    }

    /// Each comes while a long handler runs, and alone: nobody waits behind it.
    #[test]
    fn a_queue_that_empties_is_no_standing_one() {
        assert!(refused(&steady(0, 50_000, 1000, 800)).is_empty());
        assert_eq!(refused(&steady(0, 3000, 1000, 950)), [1000, 2000]);
    }

    /// One worker, whose handler takes a while: what came of it.
    #[derive(Debug, Default)]
    struct Run {
        /// Waits of those who were served, in µs.
        waits: Vec<u64>,
        refused: usize,
    }

    /// So many requests come per second, at random but evenly, for this long. A refusal takes 50 µs.
    fn simulate(codel: &mut Codel, rate: u64, handler: u64, from: u64, length: u64) -> Run {
        let mut seed = rate;
        let mut random = || {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 11) as f64 / (1u64 << 53) as f64
        };
        let (mut queue, mut run) = (VecDeque::new(), Run::default());
        let (mut now, mut arrival) = (from, from as f64);
        loop {
            while arrival <= now as f64 && arrival < (from + length) as f64 {
                queue.push_back(arrival as u64);
                arrival -= (1.0 - random()).ln() * 1e6 / rate as f64;
            }
            let Some(came) = queue.pop_front() else {
                if arrival >= (from + length) as f64 {
                    return run;
                }
                now = arrival as u64 + 1;
                continue;
            };
            let waited = now - came;
            if codel.refuses(waited, now) {
                run.refused += 1;
                now += 50;
            } else {
                run.waits.push(waited);
                now += handler;
            }
        }
    }

    #[test]
    fn however_great_the_load_waits_are_bounded_and_the_handler_is_busy() {
        const SECONDS: u64 = 30;
        for handler in [MS, 10 * MS, 50 * MS] {
            for load in [150, 200, 400, 1000] {
                let rate = 1_000_000 / handler * load / 100;
                let mut codel = Codel::new(TARGET.max(2 * handler), INTERVAL);
                let run = simulate(&mut codel, rate, handler, 10_000_000, SECONDS * 1_000_000);
                let bound = TARGET.max(2 * handler) + INTERVAL;
                let late = run.waits.iter().filter(|waited| **waited > bound).count();
                let busy = run.waits.len() as u64 * handler * 100 / (SECONDS * 1_000_000);
                let name = format!("{handler} µs, {load} %: {late} late, {busy} % busy");
                assert_eq!(late, 0, "{name}");
                // What comes beyond what can be served takes 50 µs each.
                let refusing = (load - 100) * 50 / handler;
                assert!(busy + refusing >= 90, "{name}");
            }
        }
    }

    #[test]
    fn a_load_that_can_be_borne_is_served_and_an_end_of_the_overload_is_noticed() {
        let mut codel = Codel::new(50 * MS, INTERVAL);
        let calm = simulate(&mut codel, 70, 10 * MS, 10_000_000, 60_000_000);
        assert!(calm.refused * 100 <= calm.waits.len(), "{}", calm.refused);
        let storm = simulate(&mut codel, 400, 10 * MS, 80_000_000, 10_000_000);
        assert!(storm.refused > 2500, "{}", storm.refused);
        let calm = simulate(&mut codel, 50, 10 * MS, 95_000_000, 60_000_000);
        assert!(calm.refused <= 3, "{}", calm.refused);
        assert!(!codel.is_refusing());
    }
}
