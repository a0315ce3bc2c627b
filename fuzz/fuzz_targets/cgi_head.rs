//! Feeds what libFuzzer makes to the properties of `cgi_head`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/gateway.rs"]
mod gateway;

fuzz_target!(|data: &[u8]| gateway::cgi_head::check(data));
