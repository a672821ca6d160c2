//! Every input that fuzzing found and that was kept, run again: tests/fuzz/corpus and tests/fuzz/regressions.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_kept_input_passes() {
    let mut failures = Vec::new();
    for (name, target) in targets::TARGETS {
        let kept = files(&fuzz_dir().join("corpus").join(name));
        assert!(!kept.is_empty(), "no input is kept for {name}");
        for path in kept.into_iter().chain(files(&fuzz_dir().join("regressions").join(name))) {
            let input = fs::read(&path).unwrap();
            if catch_unwind(|| target(&input)).is_err() {
                failures.push(path.display().to_string());
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_program_of_the_fuzzer_is_replayed() {
    let programs = files(&fuzz_dir().join("fuzz_targets"));
    let programs: BTreeSet<_> =
        programs.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(programs, targets::TARGETS.iter().map(|(name, _)| *name).collect());
}
