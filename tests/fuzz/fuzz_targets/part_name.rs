//! What it does is in `cddsfs_fuzz::part_name`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cddsfs_fuzz::part_name(data));
