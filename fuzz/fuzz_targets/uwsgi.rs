//! Feeds what libFuzzer makes to the properties of `uwsgi`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/gateway.rs"]
mod gateway;

fuzz_target!(|data: &[u8]| gateway::packets::uwsgi(data));
