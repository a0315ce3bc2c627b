//! Feeds what libFuzzer makes to the properties of `http_answer`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/gateway.rs"]
mod gateway;

fuzz_target!(|data: &[u8]| gateway::http_answer::check(data));
