//! What is of PostgreSQL's catalogue alone: connections that break, freeze and are refused, answers that are lost, leases, two hosts
//! that change the same, and rows that somebody else has written.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::postgres::Client;
use cddsfs::error::Kind;
use cddsfs::io::{Permit, with_permit};
use cddsfs::store::catalogue::postgres::Postgres;
use cddsfs::store::catalogue::sqlite::Sqlite;
use cddsfs::store::catalogue::*;
use cddsfs::store::parts::Key;
use cddsfs::store::retention::Retention;

use crate::support::postgres::{Database, ca};
use crate::support::way::{Proxy, Way};

/// Every call has answered by then.
const BOUND: Duration = Duration::from_secs(12);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn id(n: u32) -> String {
    format!("302a38f0-b493-4921-b8e4-{n:012x}")
}

fn queued(n: u32) -> Run {
    Run { queued: Some(now()), made: Some(now()), ..Run::new(id(n), "{}".into(), Status::Queued) }
}

fn part(n: u32, ending: &str, fence: u32) -> (StoredPartRecord, Vec<Hash>) {
    let record = StoredPartRecord {
        name: format!("export-{}.{ending}.smime", id(n)),
        key: Key::new(format!("{}/{fence}/{ending}", id(n))).unwrap(),
        size: 9,
        sha256: [3; 32],
        root: [4; 32],
        is_deleted: false,
    };
    (record, vec![[5; 32]; 2 * PART_BLOCK_HASHES])
}

fn complete(queue: &dyn Queue, claim: &Claim) -> cddsfs::error::Result<Ended> {
    let n = u32::from_str_radix(&claim.id()[24..], 16).unwrap();
    let parts = [part(n, "z01", claim.fence()), part(n, "zip", claim.fence())];
    let made = Completion { finished: now(), bytes: 10, rows: 5, parts: &parts, mark: Some("mark") };
    queue.complete(claim, &made)
}

fn claimed(catalogue: &Postgres, n: u32) -> Claim {
    catalogue.add_run(&queued(n)).unwrap();
    catalogue.claim(&Wanted::only(&id(n)), now()).unwrap().unwrap()
}

/// A database, and the way to it.
fn behind_a_proxy() -> (Database, Proxy, Postgres) {
    let database = Database::new();
    let proxy = Proxy::to(&database.server());
    let catalogue = Postgres::create(&database.url_by(proxy.address)).unwrap();
    (database, proxy, catalogue)
}

fn count(client: &mut Client, sql: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {sql}"), &[]).unwrap().get(0)
}

fn texts(catalogue: &Postgres) -> BTreeSet<String> {
    catalogue.runs().unwrap().into_iter().map(|run| run.id).collect()
}

#[test]
fn it_is_reached_over_tls_and_by_those_who_have_a_password() {
    let database = Database::new();
    let catalogue =
        Postgres::create(&format!("{}?sslmode=verify-full&sslrootcert={}", database.url(), ca())).unwrap();
    catalogue.changes().unwrap();
    let sql = "pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND datname = current_database()
               AND application_name = 'cddsfs'";
    assert!(count(&mut database.connect(), sql) > 0);
    database.connect().batch_execute("CREATE ROLE stranger LOGIN PASSWORD 'secret'").unwrap();
    let error = Postgres::open(&database.url().replace("cddsfs@", "stranger@")).err().unwrap();
    database.connect().batch_execute("DROP ROLE stranger").unwrap();
    assert_eq!(error.kind(), Kind::Os(libc::EACCES), "{error}");
    let error = Postgres::open(&database.url().replace("cddsfs@", "cddsfs:secret@")).err().unwrap();
    assert!(
        error.to_string().contains("belongs in no URL") && !error.to_string().contains("secret"),
        "{error}"
    );
}

#[test]
fn a_connection_that_was_closed_is_replaced_at_the_next_call() {
    let database = Database::new();
    let catalogue = Postgres::create(&database.url()).unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for n in 0..5 {
        catalogue.add_run(&queued(n)).unwrap();
        assert_eq!(catalogue.runs().unwrap().len(), n as usize + 1);
        database.connect().batch_execute(kill).unwrap();
    }
    // Readers first, or writers.
    catalogue.changes().unwrap();
    catalogue.set(Setting::Source, "/x").unwrap();
}

#[test]
fn a_server_that_is_frozen_costs_a_call_its_time_and_the_next_ones_nothing() {
    let (_database, proxy, catalogue) = behind_a_proxy();
    let held = claimed(&catalogue, 1);
    proxy.set(Way::Frozen);
    let timed = |call: &dyn Fn() -> cddsfs::error::Result<()>| {
        let begun = Instant::now();
        let error = call().unwrap_err();
        assert_eq!(error.kind(), Kind::TimedOut, "{error}");
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        begun.elapsed()
    };
    timed(&|| catalogue.changes().map(drop));
    timed(&|| catalogue.renew(&held, &Progress::default(), now()).map(drop));
    timed(&|| catalogue.is_complete(&held).map(drop));
    // Whoever asks just after a connection has failed is told at once.
    assert!(timed(&|| catalogue.is_complete(&held).map(drop)) < Duration::from_secs(1));
    // Callers wait for each other, but not one after the other.
    thread::sleep(Duration::from_secs(2));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| timed(&|| catalogue.epoch().map(drop)));
        }
    });
    proxy.set(Way::Open);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(catalogue.renew(&held, &Progress::default(), now()).unwrap(), Standing::Go);
    assert_eq!(catalogue.runs().unwrap().len(), 1);
}

#[test]
fn a_server_that_nobody_reaches_is_an_error_that_ends_and_no_loss() {
    let (_database, proxy, catalogue) = behind_a_proxy();
    catalogue.add_run(&queued(1)).unwrap();
    proxy.set(Way::Closed);
    let error = catalogue.add_run(&queued(2)).unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut, "{error}");
    assert_eq!(catalogue.runs().unwrap_err().kind(), Kind::TimedOut);
    proxy.set(Way::Open);
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(texts(&catalogue), [id(1)].into());
}

#[test]
fn a_commit_whose_answer_is_lost_is_asked_for() {
    let (database, proxy, catalogue) = behind_a_proxy();
    let mut foreign = database.connect();
    proxy.set(Way::CutBehind(b"COMMIT"));
    catalogue.add_run(&queued(1)).unwrap();
    assert_eq!(count(&mut foreign, "run"), 1, "it is done once");
    proxy.set(Way::CutBefore(b"COMMIT"));
    let error = catalogue.add_run(&queued(2)).unwrap_err();
    assert!(!error.to_string().contains("not known"), "{error}");
    assert_eq!(texts(&catalogue), [id(1)].into(), "it is known not to be done");
    // A claim is nobody else's, and not lost either.
    proxy.set(Way::CutBehind(b"COMMIT"));
    let claim = catalogue.claim(&Wanted::default(), now()).unwrap().unwrap();
    assert_eq!(claim.id(), id(1));
    // Whoever cannot ask says so, and whoever completes asks again later.
    proxy.set(Way::LostBehind(b"COMMIT"));
    let error = complete(&catalogue, &claim).unwrap_err();
    assert!(error.kind() == Kind::TimedOut && error.to_string().contains("is not known"), "{error}");
    assert!(catalogue.is_complete(&claim).is_err());
    proxy.set(Way::Open);
    thread::sleep(Duration::from_millis(1100));
    assert!(catalogue.is_complete(&claim).unwrap());
    assert_eq!(complete(&catalogue, &claim).unwrap(), Ended::Completed);
    assert_eq!(count(&mut foreign, "part"), 2);
    catalogue.add_run(&queued(3)).unwrap();
    let claim = catalogue.claim(&Wanted::default(), now()).unwrap().unwrap();
    proxy.set(Way::CutBefore(b"COMMIT"));
    assert_eq!(complete(&catalogue, &claim).unwrap_err().kind(), Kind::TimedOut);
    assert!(!catalogue.is_complete(&claim).unwrap());
    assert_eq!(complete(&catalogue, &claim).unwrap(), Ended::Completed);
}

#[test]
fn whether_a_run_is_complete_is_said_after_a_commit_that_is_under_way() {
    let database = Database::new();
    let catalogue = Postgres::create(&database.url()).unwrap();
    for (n, end) in [(1, "ROLLBACK"), (2, "COMMIT")] {
        let claim = claimed(&catalogue, n);
        let mut foreign = database.connect();
        let update = format!("BEGIN; UPDATE run SET status = 'Completed' WHERE id = '{}'", id(n));
        foreign.batch_execute(&update).unwrap();
        let asked = thread::scope(|scope| {
            let asking = scope.spawn(|| catalogue.is_complete(&claim).unwrap());
            thread::sleep(Duration::from_millis(500));
            assert!(!asking.is_finished(), "it waits");
            foreign.batch_execute(end).unwrap();
            asking.join().unwrap()
        });
        assert_eq!(asked, end == "COMMIT");
    }
}

#[test]
fn each_of_many_runs_is_claimed_once_by_many_hosts() {
    const RUNS: u32 = 1600;
    let database = Database::new();
    let catalogue = Postgres::create(&database.url()).unwrap();
    let sql = format!(
        "INSERT INTO run (id, spec, status, queued) SELECT '302a38f0-b493-4921-b8e4-' || lpad(to_hex(n), 12, '0'), '{{}}',
         'Queued', n FROM generate_series(0, {RUNS} - 1) n"
    );
    database.connect().batch_execute(&sql).unwrap();
    let claims = thread::scope(|scope| {
        let work = || {
            let (queue, mut claims) = (Postgres::open(&database.url()).unwrap(), Vec::new());
            while let Some(claim) = queue.claim(&Wanted::default(), now()).unwrap() {
                claims.push(claim);
            }
            claims
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let ids: Vec<_> = claims.iter().flatten().map(|claim| (claim.id(), claim.fence())).collect();
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), different.len()), (RUNS as usize, RUNS as usize));
    // Each of them has them in their order.
    assert!(claims.iter().all(|of_one| of_one.is_sorted_by_key(|claim| claim.id().to_string())));
    let owners: i64 =
        database.connect().query_one("SELECT count(DISTINCT owner) FROM run", &[]).unwrap().get(0);
    assert!((1..=8).contains(&owners));
    assert_eq!(catalogue.executed(&|_| false).unwrap().len(), RUNS as usize);
}

#[test]
fn a_claim_is_lost_when_its_lease_has_run_out_and_not_before() {
    let database = Database::new();
    let (stalled, other) =
        (Postgres::create(&database.url()).unwrap(), Postgres::open(&database.url()).unwrap());
    let (claim, mut foreign) = (claimed(&stalled, 1), database.connect());
    let left = |foreign: &mut Client| -> f64 {
        let sql = "SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 FROM run";
        foreign.query_one(sql, &[]).unwrap().get(0)
    };
    assert!((25.0..=30.0).contains(&left(&mut foreign)));
    let set = |foreign: &mut Client, seconds: i32| {
        let sql = format!("UPDATE run SET lease_until = clock_timestamp() + interval '{seconds} seconds'");
        foreign.batch_execute(&sql).unwrap();
    };
    // Whoever holds it is heard of by what he renews, and by what he says that he holds.
    set(&mut foreign, 9);
    stalled.renew(&claim, &Progress::default(), now()).unwrap();
    assert!(left(&mut foreign) > 25.0);
    set(&mut foreign, 9);
    assert!(stalled.orphans(&|_| true).unwrap().is_empty());
    assert!(left(&mut foreign) > 25.0);
    set(&mut foreign, 2);
    assert!(other.orphans(&|_| false).unwrap().is_empty(), "it has not run out");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(other.executed(&|_| false).unwrap(), [id(1)], "nobody has taken it up");
    let taken = other.orphans(&|_| false).unwrap();
    assert_eq!((taken[0].id(), taken[0].fence()), (claim.id(), claim.fence() + 1));
    assert!(other.orphans(&|_| true).unwrap().is_empty());
    // The other one wakes up.
    assert_eq!(stalled.renew(&claim, &Progress::default(), now()).unwrap(), Standing::Lost);
    stalled.note(&claim, Note::Warnings("[\"stalled\"]")).unwrap();
    assert_eq!(complete(&stalled, &claim).unwrap(), Ended::Lost);
    let end = End { status: Status::Failed, finished: now(), error: None, is_clean: true };
    stalled.end(&claim, &end).unwrap();
    assert!(!stalled.give_back(&claim, Why::Interrupted).unwrap() && !stalled.is_complete(&claim).unwrap());
    assert!(stalled.orphans(&|_| true).unwrap().is_empty());
    let run = other.run(&id(1)).unwrap().unwrap();
    assert_eq!((run.status, run.warnings, run.present), (Status::InProgress, None, false));
    assert_eq!(run.attempts, 1, "it was started once");
    assert_eq!(complete(&other, &taken[0]).unwrap(), Ended::Completed);
}

#[test]
fn what_two_hosts_change_at_the_same_time_is_as_if_one_had_been_first() {
    let database = Database::new();
    let hosts = [(); 2].map(|()| Postgres::create(&database.url()).unwrap());
    let both = |work: &(dyn Fn(&Postgres, usize) + Sync)| {
        thread::scope(|scope| {
            for (n, host) in hosts.iter().enumerate() {
                scope.spawn(move || work(host, n));
            }
        });
    };
    const RUNS: u32 = 100;
    for n in 0..RUNS {
        hosts[0].add_run(&queued(n)).unwrap();
    }
    let together = Barrier::new(2);
    both(&|host, n| {
        for run in 0..RUNS {
            together.wait();
            match n {
                0 => host.cancel(&id(run), now()).unwrap(),
                _ => {
                    // Sooner and later, up to the time that the other takes.
                    thread::sleep(Duration::from_micros(u64::from(run % 20) * 100));
                    drop(host.claim(&Wanted::only(&id(run)), now()).unwrap());
                }
            }
        }
    });
    for run in hosts[0].runs().unwrap() {
        assert!(run.status == Status::Cancelled || run.status == Status::InProgress && run.cancel, "{run:?}");
    }
    // Two parts that are all of an artifact.
    for n in 500..520 {
        let claim = claimed(&hosts[0], n);
        complete(&hosts[0], &claim).unwrap();
        both(&|host, i| {
            let name = format!("export-{}.{}.smime", id(n), ["z01", "zip"][i]);
            host.part_is_gone(&id(n), &name, now()).unwrap();
        });
        assert!(!hosts[0].run(&id(n)).unwrap().unwrap().present);
        both(&|host, _| {
            let parts = host.parts(&id(n)).unwrap().len();
            host.forget_parts(&id(n), parts, now()).unwrap();
        });
        assert!(!hosts[0].runs_with_debris().unwrap().contains(&id(n)));
    }
    // One run to come of each job, whoever schedules, queues, cancels, renames and deletes.
    for n in 200..220 {
        let name = format!("job-{n}");
        hosts[0].define_job(&name, "text", now(), None).unwrap();
        let job = hosts[0].job(&name).unwrap().unwrap();
        both(&|host, i| {
            let of = Some(name.clone());
            let run = Run::new(id(n + 1000 * i as u32), "{}".into(), Status::Scheduled);
            host.schedule(&job, &Run { job: of, scheduled: Some(now()), ..run }).unwrap();
        });
        let mut runs = hosts[0].runs_that_are(Status::Scheduled).unwrap();
        runs.retain(|run| run.job.as_deref() == Some(&name));
        assert_eq!(runs.len(), 1);
        both(&|host, i| match (i, n % 4) {
            (0, _) => host.queue(&runs[0].id, now()).unwrap(),
            (_, 0) => host.cancel(&runs[0].id, now()).unwrap(),
            (_, 1) => host.rename_job(&name, "other").unwrap(),
            (_, 2) => host.define_job(&name, "new", now(), None).unwrap(),
            _ => drop(host.delete_job(&name).unwrap()),
        });
    }
}

#[test]
fn changes_by_foreign_hands_are_noticed() {
    let database = Database::new();
    database.connect().batch_execute("CREATE SCHEMA tenant; CREATE SCHEMA elsewhere").unwrap();
    let url = format!("{}?options=-csearch_path%3Dtenant", database.url());
    let catalogue = Postgres::create(&url).unwrap();
    let mut foreign = database.connect();
    foreign.batch_execute("SET search_path = elsewhere").unwrap();
    let mut changes = catalogue.changes().unwrap();
    for sql in [
        "INSERT INTO tenant.run (id, spec, status) VALUES ('302a38f0-b493-4921-b8e4-61c1e18a0655', '{}', 'Failed')",
        "UPDATE tenant.run SET error = 'why'",
        "UPDATE tenant.run SET hidden = true",
        "DELETE FROM tenant.run",
        "INSERT INTO tenant.job (name, text, modified) VALUES ('a', 'b', 0)",
        "UPDATE tenant.job SET due = 9",
        "DELETE FROM tenant.job",
        "INSERT INTO tenant.setting VALUES ('source', '/x')",
        "DELETE FROM tenant.setting",
    ] {
        foreign.batch_execute(sql).unwrap();
        let after = catalogue.changes().unwrap();
        assert_ne!(after, changes, "{sql}");
        changes = after;
    }
    foreign.batch_execute("BEGIN; INSERT INTO tenant.setting VALUES ('source', '/x')").unwrap();
    assert_eq!(catalogue.changes().unwrap(), changes, "it is not committed, and nobody waits for it");
    catalogue.set(Setting::KeyTransport, "oaep").unwrap();
    foreign.batch_execute("ROLLBACK").unwrap();
    assert_eq!(
        count(&mut database.connect(), "pg_tables WHERE tablename = 'run' AND schemaname <> 'tenant'"),
        0
    );
}

#[test]
fn only_a_catalogue_of_ours_and_of_no_later_version_is_opened() {
    let database = Database::new();
    for opened in [Postgres::open(&database.url()), Postgres::open_read_only(&database.url())] {
        let error = opened.err().unwrap();
        assert!(error.kind() == Kind::Damaged && error.to_string().contains("no tables of ours"), "{error}");
    }
    let mut foreign = database.connect();
    foreign.batch_execute("CREATE TABLE run (id integer); INSERT INTO run VALUES (7)").unwrap();
    let error = Postgres::create(&database.url()).err().unwrap();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(
        (count(&mut foreign, "run"), count(&mut foreign, "pg_tables WHERE schemaname = 'public'")),
        (1, 1)
    );
    foreign.batch_execute("DROP TABLE run").unwrap();
    // Made by several at once.
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| Postgres::create(&database.url()).unwrap().changes().unwrap());
        }
    });
    let catalogue = Postgres::open(&database.url()).unwrap();
    catalogue.changes().unwrap();
    foreign.batch_execute("UPDATE schema_version SET version = 99").unwrap();
    for opened in
        [Postgres::create, Postgres::open, Postgres::open_read_only].map(|open| open(&database.url()))
    {
        let error = opened.err().unwrap();
        assert!(error.to_string().contains("version 99; this cddsfs knows versions up to 3"), "{error}");
    }
}

#[test]
fn what_is_only_read_is_not_changed() {
    let database = Database::new();
    let writable = Postgres::create(&database.url()).unwrap();
    writable.add_run(&queued(1)).unwrap();
    let catalogue = Postgres::open_read_only(&database.url()).unwrap();
    assert!(catalogue.is_read_only() && !writable.is_read_only());
    assert_eq!(catalogue.runs().unwrap().len(), 1);
    assert_eq!(catalogue.cancel(&id(1), now()).unwrap_err().kind(), Kind::ReadOnly);
    assert_eq!(catalogue.claim(&Wanted::default(), now()).unwrap_err().kind(), Kind::ReadOnly);
    assert_eq!(catalogue.attend().err().unwrap().kind(), Kind::ReadOnly);
}

#[test]
fn what_somebody_was_told_is_not_done_is_not_done() {
    let database = Database::new();
    let catalogue = Postgres::create(&database.url()).unwrap();
    let revoked = Arc::new(Permit::default());
    assert!(revoked.revoke());
    let done = with_permit(Some(revoked), || catalogue.add_run(&queued(1)));
    assert_eq!(done.unwrap_err().kind(), Kind::TimedOut);
    // It is revoked while the change waits for another.
    let mut foreign = database.connect();
    foreign.batch_execute("BEGIN; LOCK TABLE run").unwrap();
    let permit = Arc::new(Permit::default());
    thread::scope(|scope| {
        let late = permit.clone();
        let adding = scope.spawn(|| with_permit(Some(late), || catalogue.add_run(&queued(2))));
        thread::sleep(Duration::from_millis(300));
        assert!(permit.revoke());
        foreign.batch_execute("COMMIT").unwrap();
        assert_eq!(adding.join().unwrap().unwrap_err().kind(), Kind::TimedOut);
    });
    assert!(catalogue.runs().unwrap().is_empty());
    // And a lock that is never let go is waited for in vain, for a while.
    foreign.batch_execute("BEGIN; LOCK TABLE run").unwrap();
    let begun = Instant::now();
    assert_eq!(catalogue.add_run(&queued(3)).unwrap_err().kind(), Kind::TimedOut);
    assert!(begun.elapsed() < BOUND);
    catalogue.epoch().unwrap();
    foreign.batch_execute("ROLLBACK").unwrap();
    assert!(catalogue.runs().unwrap().is_empty());
}

#[test]
fn rows_that_cannot_be_read_are_left_out_and_stop_nothing() {
    let database = Database::new();
    let catalogue = Postgres::create(&database.url()).unwrap();
    complete(&catalogue, &claimed(&catalogue, 1)).unwrap();
    catalogue.add_run(&Run { queued: Some(now() + Duration::from_secs(9)), ..queued(2) }).unwrap();
    let bad = |n: u32| format!("302a38f0-b493-4921-b8e4-{n:012x}");
    database
        .connect()
        .batch_execute(&format!(
            "ALTER TABLE run ALTER COLUMN spec DROP NOT NULL;
             INSERT INTO run (id, spec, status, queued) VALUES ('../../etc', '{{}}', 'Queued', 1);
             INSERT INTO run (id, spec, status, queued) VALUES ('{a}', NULL, 'Queued', 2);
             INSERT INTO run (id, spec, status, queued, attempts) VALUES ('{b}', '{{}}', 'Queued', 3, -1);
             INSERT INTO run (id, spec, status, queued, attempts)
               VALUES ('{c}', '{{}}', 'Queued', 4, 9223372036854775807);
             INSERT INTO run (id, spec, status, attempts) VALUES ('{d}', '{{}}', 'In Progress', 9223372036854775807);
             INSERT INTO run (id, spec, status) VALUES ('{e}', '{{}}', 'Sleeping');
             INSERT INTO run (id, spec, status, present, finished, bytes)
               VALUES ('{f}', '{{}}', 'Completed', true, 9223372036854775807, -5);
             INSERT INTO part VALUES ('{ok}', 3, '../x', NULL, 1, '', '', NULL),
               ('{ok}', 4, 'export-{ok}.z02.smime', '../x', 1, '', '', NULL),
               ('{ok}', 5, 'export-{ok}.z03.smime', NULL, -1, repeat('x', 32)::bytea, repeat('x', 32)::bytea, NULL),
               ('{ok}', 6, 'export-{ok}.z04.smime', NULL, 1, 'x', repeat('x', 32)::bytea, NULL);
             INSERT INTO job (name, text, modified, due) VALUES ('a', 't', 9223372036854775807, -9223372036854775808);
             UPDATE setting SET value = repeat('x', 1000);
             INSERT INTO refusal (at, target, field, wrong, remedy, spec)
               VALUES (9223372036854775807, 'a', 'b', 'c', 'd', '\\x00ff')",
            a = bad(10), b = bad(11), c = bad(12), d = bad(13), e = bad(14), f = bad(15), ok = id(1),
        ))
        .unwrap();
    let dynamic: &dyn Catalogue = &catalogue;
    assert_eq!(texts(&catalogue), [id(1), id(2), bad(15)].into());
    assert_eq!(catalogue.artifacts().unwrap().len(), 1);
    assert_eq!(catalogue.artifacts().unwrap()[0].parts.len(), 2);
    assert_eq!(dynamic.artifacts_at(now()).unwrap().len(), 1);
    assert_eq!(catalogue.parts(&id(1)).unwrap().len(), 2);
    let job = catalogue.job("a").unwrap().unwrap();
    assert_eq!((job.modified, job.due), (UNIX_EPOCH, None));
    assert_eq!(catalogue.refusals().unwrap().len(), 1);
    assert_eq!(catalogue.run(&bad(14)).unwrap_err().kind(), Kind::Damaged);
    assert_eq!(catalogue.run(&bad(99)).unwrap(), None);
    let claim = catalogue.claim(&Wanted::default(), now()).unwrap().unwrap();
    assert_eq!(claim.id(), id(2), "the first one that can be read");
    assert!(catalogue.claim(&Wanted::default(), now()).unwrap().is_none());
    assert!(catalogue.orphans(&|run| run == id(2)).unwrap().is_empty());
    assert_eq!(count(&mut database.connect(), "run WHERE status = 'Queued'"), 4, "they are as they were");
    // What cannot be kept as it is.
    let refused = RefusedSpec {
        at: now(),
        target: "jobs/new".into(),
        field: "a\0b".into(),
        wrong: "\0".into(),
        remedy: "r".into(),
        spec: b"\0\xff".to_vec(),
    };
    catalogue.add_refusal(&refused).unwrap();
    let kept = &catalogue.refusals().unwrap()[0];
    assert_eq!((kept.field.as_str(), kept.spec.as_slice()), ("a\u{fffd}b", &b"\0\xff"[..]));
    let end = End { status: Status::Failed, finished: now(), error: Some("\0".into()), is_clean: true };
    catalogue.end(&claim, &end).unwrap();
}

#[test]
fn a_copy_in_sqlite_has_all_of_one_moment() {
    let database = Database::new();
    let catalogue = Postgres::create(&database.url()).unwrap();
    let dynamic: &dyn Catalogue = &catalogue;
    dynamic.set_retention(Retention::Days(9)).unwrap();
    dynamic.confirm_clock(now()).unwrap();
    catalogue.set_certificates(b"-----BEGIN CERTIFICATE-----").unwrap();
    for n in 0..70 {
        complete(&catalogue, &claimed(&catalogue, n)).unwrap();
    }
    catalogue.part_is_gone(&id(3), &part(3, "z01", 1).0.name, now()).unwrap();
    catalogue.artifact_is_gone(&id(4), now()).unwrap();
    catalogue.forget_parts(&id(4), 2, now()).unwrap();
    let claim = claimed(&catalogue, 100);
    catalogue.note(&claim, Note::Certificate("{}")).unwrap();
    let to_come = Run { scheduled: Some(now()), ..Run::new(id(200), "{}".into(), Status::Scheduled) };
    catalogue.define_job("a", "tëxt", now(), Some(&Run { job: Some("a".into()), ..to_come })).unwrap();
    let spec = vec![0, 0xff];
    let [target, field, wrong, remedy] = ["t", "f", "w", "r"].map(String::from);
    catalogue.add_refusal(&RefusedSpec { at: now(), target, field, wrong, remedy, spec }).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    catalogue.copy_to(&path).unwrap();
    assert!(catalogue.copy_to(&path).is_err(), "it is there");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a plain copy of the file is complete");
    let copy = Sqlite::open(&path).unwrap();
    assert_eq!(copy.runs().unwrap(), catalogue.runs().unwrap());
    assert_eq!(copy.jobs().unwrap(), catalogue.jobs().unwrap());
    assert_eq!(copy.artifacts().unwrap(), catalogue.artifacts().unwrap());
    assert_eq!(copy.refusals().unwrap(), catalogue.refusals().unwrap());
    assert_eq!(copy.deleted_parts(now()).unwrap(), catalogue.deleted_parts(now()).unwrap());
    assert_eq!(copy.runs_with_debris().unwrap(), catalogue.runs_with_debris().unwrap());
    for setting in [Setting::Retention, Setting::ConfirmedClock, Setting::Source] {
        assert_eq!(copy.setting(setting).unwrap(), catalogue.setting(setting).unwrap());
    }
    for (n, number, piece) in [(0, 1, 0), (69, 2, 1), (4, 1, 0), (5, 3, 0)] {
        let hashes = |catalogue: &dyn Catalogue| catalogue.block_hashes(&id(n), number, piece).unwrap();
        assert_eq!(hashes(&copy), hashes(&catalogue));
    }
}
