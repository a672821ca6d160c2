use std::time::SystemTime;

use serde_json::json;

use super::*;
use crate::export::spec::Spec;

/// A record that has every key.
fn full() -> Record {
    let instant = Instant::of(SystemTime::UNIX_EPOCH);
    let some = || Some("x".to_string());
    Record {
        id: "x".into(),
        job: some(),
        spec: serde_json::from_str(r#"{"title":"t","type":"Contact"}"#).unwrap(),
        status: Some(Status::Completed),
        complete: Some(false),
        scheduled: instant,
        queued: instant,
        started: instant,
        finished: instant,
        progress: Some(ShownProgress {
            percent: 1.0,
            rows_done: 1,
            rows_total: 1,
            bytes_written: 1,
            eta_seconds: Some(1),
        }),
        artifact: some(),
        parts: vec![PresentPart { name: "x".into(), size: 1, sha256: some() }],
        missing: vec!["x".into()],
        rows: Some(1),
        bytes: Some(1),
        stored_bytes: Some(1),
        certificate: json!({"serial": "x"}),
        warnings: vec!["x".into()],
        mtime: instant,
        estimated: true,
        expires: instant,
        remaining_days: Some(1),
        error: some(),
    }
}

#[test]
fn the_record_of_a_run_is_a_spec() {
    // The record of a set is not a spec: it has keys of its own.
    let of_run = Record { complete: None, stored_bytes: None, estimated: false, ..full() };
    let spec = Spec::parse(of_run.pretty().as_bytes()).unwrap();
    assert_eq!(spec.to_json(), r#"{"title":"t","type":"Contact"}"#);
}

#[test]
fn empty_values_are_left_out_and_the_rest_is_in_its_order() {
    assert_eq!(Record { id: "x".into(), ..Record::default() }.to_string(), r#"{"id":"x"}"#);
    let Value::Object(keys) = serde_json::to_value(full()).unwrap() else { panic!("it is no object") };
    let keys: Vec<_> = keys.keys().map(String::as_str).collect();
    assert_eq!(
        keys.join(" "),
        "id job title type status complete scheduled queued started finished progress artifact parts missing rows bytes \
         stored_bytes certificate warnings mtime estimated expires remaining_days error"
    );
}
