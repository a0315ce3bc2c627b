//! Feeds what libFuzzer makes to the properties of `recall`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ferricorn_fuzz::recall::check(data));
