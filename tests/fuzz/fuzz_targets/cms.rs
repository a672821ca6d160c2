//! What it does is in `cddsfs_fuzz::cms`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cddsfs_fuzz::cms(data));
