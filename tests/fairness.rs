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
        &["--check", "--counts", "--rounds", "5"],
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
    // Both have some, be it that one of them does not get the processor at first; then it is one against four.
    let mut kept: Vec<(Client<_>, i32)> = vec![];
    let [many, few] = server.until("both to have taken some", || {
        let mut client = Client::connect(server.address()).unwrap();
        let pid = client.get("/who").unwrap().who().pid;
        kept.push((client, pid));
        let pids = server.wait_workers(2);
        let held = |pid: i32| kept.iter().filter(|(_, of)| *of == pid).count();
        pids.iter()
            .all(|pid| held(*pid) >= 4)
            .then(|| [pids[0], pids[1]])
    });
    let at = kept.iter().position(|(_, pid)| *pid == few).unwrap();
    let mut slow = kept.swap_remove(at).0;
    kept.retain(|(_, pid)| *pid == many);
    let mut waits: Vec<Duration> = (1..=ROUNDS)
        .map(|round| {
            let request = "GET /hang/40 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            slow.send(request).unwrap();
            server.until_in_handler(round);
            let begun = Instant::now();
            http::get(server.address(), "/who").unwrap();
            let waited = begun.elapsed();
            slow.answer().unwrap();
            waited
        })
        .collect();
    waits.sort();
    // On a busy machine many wait for their share of it.
    assert!(waits[2] < QUICK, "{waits:?}");
    server.stop();
}
