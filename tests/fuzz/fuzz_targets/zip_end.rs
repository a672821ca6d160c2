//! What it does is in `cddsfs_fuzz::zip_end`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cddsfs_fuzz::zip_end(data));
