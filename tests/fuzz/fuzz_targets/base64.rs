//! What it does is in `cddsfs_fuzz::base64`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cddsfs_fuzz::base64(data));
