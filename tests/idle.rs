//! The gate of `benches/idle`: ten thousand idle connections cost little, and nobody else waits.

#[path = "support/bench.rs"]
mod bench;

#[test]
fn an_idle_connection_costs_at_most_100_bytes() {
    let ferricorn = env!("CARGO_BIN_EXE_ferricorn");
    bench::check("idle", &["--check"], ferricorn.as_ref());
}
