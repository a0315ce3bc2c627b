//! Feeds what libFuzzer makes to the properties of `file_name`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/files.rs"]
mod files;

fuzz_target!(|data: &[u8]| files::file_name(data));
