use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::tree::jobs::scratch::WriteBudget;

const VALID: &str = "{\"title\": \"t\", \"description\": \"{}\", \"type\": \"Contact\"}\n";

/// Takes specs in as `jobs/` does, and remembers them.
#[derive(Default)]
struct Intake {
    handed_in: RefCell<Vec<Vec<u8>>>,
    kept: RefCell<Vec<(Refusal, Vec<u8>)>>,
    fails: bool,
}

impl Intake {
    fn counts(&self) -> (usize, usize) {
        (self.handed_in.borrow().len(), self.kept.borrow().len())
    }

    fn keep(&self, refused: Refused) -> i32 {
        self.kept.borrow_mut().push((refused.refusal, refused.text));
        refused.errno
    }

    fn lock<'a>(&self, draft: &'a Draft) -> MutexGuard<'a, DraftText> {
        let mut text = draft.lock();
        if draft.is_given_up() {
            text.refuse_late().map(|refused| self.keep(refused));
        }
        text
    }

    /// Does what the judgement asks for; returns the errno, or 0.
    fn conclude(&self, text: &mut DraftText, judged: Judged) -> i32 {
        match judged {
            Ok(None) => 0,
            Ok(Some(_)) if self.fails => {
                self.keep(text.refuse_failed(&Error::new(Kind::Os(libc::ENOSPC), "full")))
            }
            Ok(Some(_)) => {
                self.handed_in.borrow_mut().push(text.bytes.clone());
                text.handed_in(format!("id-{}", self.handed_in.borrow().len()));
                0
            }
            Err(WriteFault::Refused(refused)) => self.keep(refused),
            Err(WriteFault::Failed(error)) => error.errno(),
        }
    }

    fn write(&self, draft: &Draft, offset: Option<u64>, data: &[u8]) -> i32 {
        let mut text = self.lock(draft);
        let judged = text.write(offset, data);
        self.conclude(&mut text, judged)
    }

    fn flush(&self, draft: &Draft) -> i32 {
        let mut text = self.lock(draft);
        let judged = text.judge_written(false);
        self.conclude(&mut text, judged)
    }

    /// Returns true for the last one.
    fn close(&self, draft: &Draft) -> bool {
        let mut text = self.lock(draft);
        let is_last = text.remove_writer();
        if is_last {
            let judged = text.judge_written(true);
            self.conclude(&mut text, judged);
        }
        is_last
    }
}

fn draft(role: Role, text: &str) -> Draft {
    let share = WriteShare::of(&Arc::new(WriteBudget::default()));
    let draft = Draft::new(7, role, text.into(), share, UNIX_EPOCH);
    draft.add_writer();
    draft
}

fn new() -> Draft {
    draft(Role::New, "")
}

fn job(text: &str) -> Draft {
    draft(Role::Job("a".into()), text)
}

fn write(draft: &Draft, intake: &Intake, offset: usize, text: &str) -> i32 {
    intake.write(draft, Some(offset as u64), text.as_bytes())
}

fn read(draft: &Draft, intake: &Intake, offset: usize) -> std::result::Result<String, i32> {
    let (mut buf, mut text) = ([0; 2000], intake.lock(draft));
    let n = match text.read(&mut buf, offset as u64) {
        Some(n) => n,
        None => {
            let judged = text.judge_written(false);
            match intake.conclude(&mut text, judged) {
                0 => text.read_id(&mut buf, offset as u64),
                errno => return Err(errno),
            }
        }
    };
    Ok(String::from_utf8(buf[..n].to_vec()).unwrap())
}

#[derive(Debug, Clone, Copy)]
enum WriterStep {
    Flush,
    ReadBehind,
    Duplicate,
    /// Writes so many bytes more.
    Write(usize),
}

fn steps() -> impl Strategy<Value = Vec<WriterStep>> {
    let step = prop_oneof![
        2 => Just(WriterStep::Flush),
        1 => Just(WriterStep::ReadBehind),
        1 => Just(WriterStep::Duplicate),
        4 => (1usize..40).prop_map(WriterStep::Write),
    ];
    proptest::collection::vec(step, 0..30)
}

/// Texts, and whether each is a spec; none has a spec as its beginning.
fn texts() -> impl Strategy<Value = (String, bool)> {
    prop_oneof![
        Just((VALID.to_string(), true)),
        Just((format!("{VALID} \n\n"), true)),
        Just((VALID.trim_end().to_string(), true)),
        Just(("{\"title\": \"t\", \"typ\": \"Contact\"}".into(), false)),
        Just(("{\"title\": \"t\", ".into(), false)),
        Just(("nonsense".into(), false)),
        Just((" \n".into(), false)),
        Just((String::new(), false)),
    ]
}

proptest! {
    #[test]
    fn a_spec_is_handed_in_once_and_nothing_else_is((text, is_spec) in texts(), steps in steps(), opens in 1usize..3) {
        for role in [Role::New, Role::Job("a".into())] {
            let (draft, intake) = (draft(role.clone(), ""), Intake::default());
            (1..opens).for_each(|_| draft.add_writer());
            let mut writers = opens;
            let mut at = 0;
            let write_more = |at: &mut usize, n: usize| {
                let end = (*at + n).min(text.len());
                if *at < end {
                    let _ = write(&draft, &intake, *at, &text[*at..end]);
                    *at = end;
                }
            };
            for step in &steps {
                match *step {
                    WriterStep::Flush => drop(intake.flush(&draft)),
                    WriterStep::ReadBehind => drop(read(&draft, &intake, at)),
                    WriterStep::Duplicate => { draft.add_writer(); writers += 1; }
                    WriterStep::Write(n) => write_more(&mut at, n),
                }
            }
            write_more(&mut at, text.len());
            for left in (0..writers).rev() {
                intake.flush(&draft);
                prop_assert_eq!(intake.close(&draft), left == 0);
            }
            let refusals = usize::from(!is_spec && !text.is_empty());
            let (handed_in, kept) = intake.counts();
            prop_assert_eq!(kept, refusals);
            match role {
                Role::New => prop_assert_eq!(handed_in, usize::from(is_spec)),
                // A job may be defined again for a line end; that it does not run again is up to `ParsedSpec::define`.
                _ => prop_assert_eq!(handed_in > 0, is_spec),
            }
            if is_spec {
                prop_assert!(intake.handed_in.borrow().iter().all(|t| t.trim_ascii() == VALID.trim().as_bytes()));
            } else if let Some((_, kept)) = intake.kept.borrow().first() {
                prop_assert!(text.as_bytes().starts_with(kept));
            }
        }
    }
}

#[test]
fn what_is_wrong_is_refused_by_the_write_that_shows_it() {
    let (draft, intake) = (new(), Intake::default());
    assert_eq!(write(&draft, &intake, 0, "{\"titel\": "), 0);
    assert_eq!(intake.flush(&draft), libc::EINVAL);
    assert_eq!(write(&draft, &intake, 10, "1}"), libc::EINVAL);
    assert_eq!(write(&draft, &intake, 12, "\n"), libc::EINVAL);
    assert_eq!(intake.flush(&draft), libc::EINVAL);
    intake.close(&draft);
    assert_eq!(intake.counts(), (0, 1));
    assert_eq!(intake.kept.borrow()[0].1, b"{\"titel\": 1}");
}

#[test]
fn the_id_is_read_behind_the_spec() {
    let (draft, intake) = (new(), Intake::default());
    assert_eq!(read(&draft, &intake, 0).unwrap(), EXAMPLE);
    assert_eq!(write(&draft, &intake, 0, &VALID[..20]), 0);
    assert_eq!(read(&draft, &intake, 20), Err(libc::EINVAL));
    assert_eq!(write(&draft, &intake, 20, &VALID[20..]), 0);
    assert_eq!(intake.counts(), (1, 0), "the write that completes it hands it in");
    assert_eq!(read(&draft, &intake, 0).unwrap(), VALID);
    assert_eq!(read(&draft, &intake, VALID.len()).unwrap(), "id-1\n");
    assert_eq!(read(&draft, &intake, VALID.len() + 3).unwrap(), "1\n");
    assert_eq!(write(&draft, &intake, VALID.len(), "\n"), 0);
    assert_eq!(read(&draft, &intake, VALID.len() + 1).unwrap(), "id-1\n");
    assert_eq!(intake.flush(&draft), 0);
    intake.close(&draft);
    assert_eq!(intake.counts(), (1, 0));
}

#[test]
fn there_is_one_spec_for_each_open() {
    let (draft, intake) = (new(), Intake::default());
    write(&draft, &intake, 0, VALID);
    assert_eq!(intake.flush(&draft), 0);
    for _ in 0..2 {
        assert_eq!(write(&draft, &intake, VALID.len(), VALID), libc::EINVAL);
    }
    draft.resize(0, UNIX_EPOCH).unwrap();
    assert_eq!(write(&draft, &intake, 0, VALID), libc::EINVAL);
    intake.close(&draft);
    assert_eq!(intake.counts(), (1, 1));
}

#[test]
fn more_than_a_mebibyte_is_too_much() {
    for (first, then) in [(MAX_BYTES - 1, 2), (0, MAX_BYTES + 1)] {
        let (draft, intake) = (new(), Intake::default());
        assert_eq!(write(&draft, &intake, 0, &" ".repeat(first)), 0);
        assert_eq!(write(&draft, &intake, first, &" ".repeat(then)), libc::EFBIG);
        assert_eq!(intake.flush(&draft), libc::EFBIG);
        intake.close(&draft);
        assert_eq!(intake.counts(), (0, 1));
        assert_eq!(intake.kept.borrow()[0].1.len(), MAX_BYTES);
        assert_eq!(write(&new(), &intake, usize::MAX - 1, "xx"), libc::EFBIG);
    }
}

#[test]
fn a_long_text_in_small_pieces_takes_no_more_than_a_moment() {
    let (draft, intake) = (new(), Intake::default());
    let text =
        format!("{{\"title\":\"t\",\"type\":\"Contact\",\"description\":\"{}\"}}", "x".repeat(1_000_000));
    let started = std::time::Instant::now();
    text.as_bytes().chunks(7).enumerate().for_each(|(i, piece)| {
        assert_eq!(intake.write(&draft, Some(7 * i as u64), piece), 0);
    });
    assert_eq!(intake.flush(&draft), 0);
    assert_eq!(intake.counts(), (1, 0));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn what_cannot_be_written_down_is_said_by_the_write_and_kept() {
    for role in [Role::New, Role::Job("a".into())] {
        let (draft, intake) = (draft(role, ""), Intake { fails: true, ..Intake::default() });
        assert_eq!(write(&draft, &intake, 0, &VALID[..20]), 0);
        assert_eq!(write(&draft, &intake, 20, &VALID[20..]), libc::ENOSPC);
        assert_eq!(write(&draft, &intake, VALID.len(), "\n"), libc::ENOSPC);
        assert_eq!(intake.flush(&draft), libc::ENOSPC);
        intake.close(&draft);
        assert_eq!(intake.counts(), (0, 1));
        assert_eq!(intake.kept.borrow()[0].1, VALID.as_bytes());
    }
}

#[test]
fn what_the_writer_was_told_took_too_long_is_not_handed_in_later() {
    // Over an older text it is complete when the rest is cut off.
    let (draft, intake) = (job(&VALID.replace("\"t\"", "\"longer\"")), Intake::default());
    assert_eq!(write(&draft, &intake, 0, VALID), 0);
    draft.resize(VALID.len() as u64, UNIX_EPOCH).unwrap();
    draft.give_up();
    assert_eq!(intake.flush(&draft), libc::ETIMEDOUT);
    intake.close(&draft);
    assert_eq!(intake.counts(), (0, 1));
    let (draft, intake) = (new(), Intake::default());
    draft.give_up();
    assert_eq!(write(&draft, &intake, 0, VALID), libc::ETIMEDOUT);
    assert_eq!(intake.counts().0, 0);
}

#[test]
fn specs_have_a_budget() {
    let budget = Arc::new(WriteBudget::default());
    let (intake, text) = (Intake::default(), " ".repeat(MAX_BYTES));
    let mut drafts: Vec<Draft> = (0..40)
        .map(|_| Draft::new(7, Role::New, Vec::new(), WriteShare::of_spec(&budget), UNIX_EPOCH))
        .collect();
    let errors: Vec<i32> = drafts.iter().map(|draft| write(draft, &intake, 0, &text)).collect();
    assert_eq!(errors, [vec![0; 16], vec![libc::ENOSPC; 24]].concat());
    assert_eq!(intake.flush(&drafts[39]), libc::ENOSPC, "and that is final");
    let small = Draft::new(7, Role::New, Vec::new(), WriteShare::of_spec(&budget), UNIX_EPOCH);
    assert_eq!(write(&small, &intake, 0, VALID), 0);
    drafts.drain(..2);
    let other = Draft::new(7, Role::New, Vec::new(), WriteShare::of_spec(&budget), UNIX_EPOCH);
    assert_eq!(write(&other, &intake, 0, &text), 0);
}

#[test]
fn a_definition_is_overwritten_in_place() {
    let long = VALID.replace("\"t\"", "\"a much longer title\"");
    let (draft, intake) = (job(&long), Intake::default());
    // The way of rsync --inplace: the new text over the old, and then the rest of the old one cut off.
    assert_eq!(write(&draft, &intake, 0, &VALID[..30]), 0);
    assert_eq!(write(&draft, &intake, 30, &VALID[30..]), 0);
    draft.resize(VALID.len() as u64, UNIX_EPOCH).unwrap();
    assert_eq!(intake.flush(&draft), 0);
    // And once more on the same handle, now by one that is longer.
    assert_eq!(write(&draft, &intake, 0, &long[..20]), 0);
    assert_eq!(write(&draft, &intake, 20, &long[20..]), 0);
    assert_eq!(intake.flush(&draft), 0);
    intake.close(&draft);
    assert_eq!(*intake.handed_in.borrow(), [VALID.as_bytes(), long.as_bytes()]);
    assert_eq!(intake.counts().1, 0);
}

#[test]
fn nothing_written_is_no_definition() {
    let (draft, intake) = (job(VALID), Intake::default());
    draft.resize(0, UNIX_EPOCH).unwrap();
    assert_eq!(intake.flush(&draft), 0);
    intake.close(&draft);
    assert_eq!(intake.counts(), (0, 0));
}

#[test]
fn what_is_appended_to_a_spec_is_wrong_at_once() {
    let (draft, intake) = (job(VALID), Intake::default());
    assert_eq!(intake.write(&draft, None, b"junk\n"), libc::EINVAL);
    intake.close(&draft);
    assert_eq!(intake.counts(), (0, 1));
}
