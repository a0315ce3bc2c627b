//! The gate of what `benches/static` counts: a worker has little for itself. Its times are for a quiet machine.
//!
//! A program of its own, and not one with `idle`: what several servers share of the program's file would change
//! while that measures.

#[path = "support/bench.rs"]
mod bench;

#[test]
fn an_idle_worker_has_at_most_512_kib_for_itself() {
    let ferricorn = env!("CARGO_BIN_EXE_ferricorn");
    bench::check("static", &["--check", "--counts"], ferricorn.as_ref());
}
