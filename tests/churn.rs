//! The gate of `benches/churn`: over twenty reloads no connection of those that come for one request each,
//! at a steady rate, is lost.
//!
//! At 1000 per second, which leave a machine time for other things; `CHURN_RATE=10000` makes it the rate
//! that it is about.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

#[path = "support/bench.rs"]
mod bench;
#[path = "support/build.rs"]
mod build;

#[test]
fn who_comes_for_one_request_is_answered_over_reloads() {
    let rate = std::env::var("CHURN_RATE").unwrap_or("1000".to_owned());
    bench::check(
        "churn",
        &[
            "--check",
            "--rate",
            &rate,
            "--reloads",
            "20",
            "--every",
            "0.2",
        ],
        build::example("testapp").as_ref(),
    );
}
