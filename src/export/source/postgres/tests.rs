//! The plans of PostgreSQL for what is asked of it.

use super::planning::{Planned, plan};
use super::*;
use crate::export::sample::{Size, make_at};
use crate::export::source::{SourceSpec, Timeframe};

#[path = "../../../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "the tests of connections need more of it")]
mod support;

fn planned(url: &Url, selection: &Selection) -> (Client, Planned) {
    let mut client = open::open(url, &Cancel::new()).unwrap();
    let planned = plan(&mut client, url, selection).unwrap();
    (client, planned)
}

/// The nodes of the plan of every statement of every file.
fn plans(url: &Url, selection: &Selection) -> Vec<(String, String)> {
    let (mut client, planned) = planned(url, selection);
    let values: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        planned.values.iter().map(|value| value as _).collect();
    let mut plans = Vec::new();
    for (walk, file) in planned.walks.iter().zip(&planned.files) {
        for statement in &walk.statements {
            let rows = client.query(&format!("EXPLAIN {statement}"), &values).unwrap();
            let steps: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            plans.push((file.path.stem.clone(), steps.join("\n")));
        }
    }
    plans
}

fn selections() -> Vec<Selection> {
    let between = Timeframe::Between {
        start: "2026-01-01T00:00:00Z".parse().ok(),
        end: "2026-02-01T00:00:00Z".parse().ok(),
    };
    let chats = Some(vec!["chat".to_owned()]);
    let mut all = Vec::new();
    for timeframe in [Timeframe::All, between] {
        for (kind, media_types) in
            [(Kind::Interaction, None), (Kind::Interaction, chats.clone()), (Kind::Contact, None)]
        {
            all.push(Selection { kind, media_types, timeframe: timeframe.clone() });
        }
    }
    all
}

#[test]
fn rows_come_along_the_indexes_that_there_are() {
    let database = support::Database::new();
    let size = Size { contacts: 3_000, interactions: 20_000, seed: 1 };
    make_at(&SourceSpec::Postgres(database.url()), size).unwrap();
    let url = Url::parse(&database.url()).unwrap();
    for selection in selections() {
        let found = plans(&url, &selection);
        assert!(!found.is_empty());
        for (stem, steps) in found {
            assert!(!steps.contains("Seq Scan"), "{stem}: {selection:?}\n{steps}");
            assert!(!steps.contains("Hash") && !steps.contains("Merge Join"), "{stem}: {steps}");
            // Only rows of one instant, or of one contact, are sorted.
            let sorts = steps.matches("Sort  (").count() - steps.matches("Incremental Sort  (").count();
            assert!(sorts == 0 || steps.contains("IS NULL"), "{stem}: {selection:?}\n{steps}");
        }
    }
}

#[test]
fn without_indexes_nothing_is_looked_for_row_by_row() {
    let database = support::Database::new();
    let size = Size { contacts: 300, interactions: 2_000, seed: 1 };
    make_at(&SourceSpec::Postgres(database.url()), size).unwrap();
    database
        .connect()
        .batch_execute("DROP INDEX interaction_entity_start, attachment_entity, contact_created, contactattribute_contact")
        .unwrap();
    let url = Url::parse(&database.url()).unwrap();
    for selection in selections() {
        for (stem, steps) in plans(&url, &selection) {
            let is_quadratic = steps.contains("Nested Loop") && steps.contains("Seq Scan on attachment c");
            assert!(!is_quadratic, "{stem}: {selection:?}\n{steps}");
        }
    }
}
