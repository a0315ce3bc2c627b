//! The gate of `benches/run` that is exact on a busy machine: system calls per request.

#[path = "support/bench.rs"]
mod bench;

#[test]
fn a_kept_alive_request_takes_at_most_three_system_calls() {
    let ferricorn = env!("CARGO_BIN_EXE_ferricorn");
    bench::check("run", &["--quick", "--check-syscalls"], ferricorn.as_ref());
}
