//! What it does is in `cddsfs_fuzz::mime`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cddsfs_fuzz::mime(data));
