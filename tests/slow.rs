//! The gate of `benches/slow`: slowhttptest's thousand slow clients, in each of its modes, neither
//! fail a well-behaved one nor make it wait. One program and one test, so that nothing else runs
//! beside it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

#[path = "support/bench.rs"]
mod bench;
#[path = "support/build.rs"]
mod build;

#[test]
fn a_thousand_slow_clients_in_any_mode_delay_nobody() {
    bench::check(
        "slow",
        &["--quick", "--check"],
        build::example("testapp").as_ref(),
    );
}
