//! New connections go to the worker that has fewest, without anybody waiting for one that cannot come; the
//! counts are those of `benches/fairness`, which has the times of a quiet machine besides.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "support/bench.rs"]
mod bench;
#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::http::{self, Client};
use support::testapp;

#[test]
fn no_worker_has_over_a_tenth_more_than_its_share_and_none_is_woken_in_vain() {
    let ferricorn = env!("CARGO_BIN_EXE_ferricorn");
    bench::check(
        "fairness",
        &["--check", "--counts", "--rounds", "3"],
        ferricorn.as_ref(),
    );
}

/// It would be its turn, as it has the fewest.
#[test]
fn nobody_waits_for_a_worker_that_stands_in_a_handler() {
    // What a worker waits for one that it has woken is 3 ms.
    const QUICK: Duration = Duration::from_micros(2500);
    const ROUNDS: usize = 40;
    let server = testapp().args("--workers 2").ready();
    let mut kept: Vec<_> = (0..12)
        .map(|_| {
            let mut client = Client::connect(server.address()).unwrap();
            let pid = client.get("/who").unwrap().who().pid;
            (client, pid)
        })
        .collect();
    let (mut slow, few) = kept.pop().unwrap();
    kept.retain(|(_, pid)| *pid != few);
    assert!(kept.len() >= 4, "{}", kept.len());
    let mut waits: Vec<Duration> = (1..=ROUNDS)
        .map(|round| {
            let request = "GET /hang/40 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            slow.send(request).unwrap();
            server.until_in_handler(round);
            let begun = Instant::now();
            let answer = http::get(server.address(), "/who").unwrap();
            let waited = begun.elapsed();
            assert_ne!(answer.who().pid, few);
            slow.answer().unwrap();
            waited
        })
        .collect();
    waits.sort();
    // On a busy machine some wait for their share of it.
    assert!(waits[ROUNDS / 4] < QUICK, "{waits:?}");
    server.stop();
}
