//! Feeds what libFuzzer makes to the properties of `chunked`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ferricorn_fuzz::chunked::check(data));
