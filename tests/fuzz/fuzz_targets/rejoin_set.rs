//! What it does is in `cddsfs_fuzz::rejoin_set`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cddsfs_fuzz::rejoin_set(data));
