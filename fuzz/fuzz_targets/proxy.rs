//! Feeds what libFuzzer makes to the properties of `proxy`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ferricorn_fuzz::proxy::check(data));
