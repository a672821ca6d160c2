//! How fast rows become lines: `cargo run --release --example source_rate DB|URL`.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::time::Instant;

use cddsfs::export::source::{Kind, Selection, SourceSpec, Timeframe, open};
use cddsfs::io::Cancel;

fn main() {
    let source = open(&SourceSpec::parse(&std::env::args().nth(1).expect("a database"))).unwrap();
    for kind in [Kind::Interaction, Kind::Contact] {
        let selection = Selection { kind, media_types: None, timeframe: Timeframe::All };
        let start = Instant::now();
        let mut snapshot = source.snapshot(&selection, &Cancel::new()).unwrap();
        println!("{kind:?}: counted in {:.3} s", start.elapsed().as_secs_f64());
        for (i, file) in snapshot.files().to_vec().into_iter().enumerate() {
            let start = Instant::now();
            let (mut line, mut bytes) = (Vec::new(), 0);
            snapshot
                .rows(i, &mut |row| {
                    // As a run does: a line is passed on before its end.
                    let mut full = |line: &mut Vec<u8>| {
                        bytes += line.len();
                        line.clear();
                        Ok(())
                    };
                    row.write_json(&mut line, &mut full)?;
                    full(&mut line)
                })
                .unwrap();
            let seconds = start.elapsed().as_secs_f64();
            let (rate, rows) = (bytes as f64 / seconds / 1e6, file.rows as f64 / seconds);
            println!("  {:24} {:>9} rows {rate:>6.0} MB/s {rows:>9.0} rows/s", file.path.stem, file.rows);
        }
    }
}
