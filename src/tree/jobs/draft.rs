//! A text that is being written: judged as it grows, and handed in once.
//!
//! Programs cause FLUSH before the first WRITE, and again for every duplicated descriptor that is closed. So an empty
//! text means nothing, and a spec that breaks off may still be completed. A complete spec is handed in by the write
//! that completes it: some shells do not report an error of close(2).

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::scratch::WriteShare;
use crate::error::{Error, Kind, Result};
use crate::export::jobs::ParsedSpec;
use crate::export::refusal::Refusal;
use crate::export::spec::{EXAMPLE, MAX_BYTES};
use crate::tree::ino::Ino;

/// Up to this length a text is judged after every write; a longer one when it has grown by an eighth, or when a write
/// ends as a spec does. Otherwise writes of one byte each would take time in proportion to the square of the length.
const ALWAYS_JUDGED: usize = 64 << 10;

/// What a text is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// `jobs/new`
    New,
    /// The job of this name.
    Job(String),
    /// For nothing: a temporary file of an editor, or a file that was deleted while it was open.
    Scratch,
}

impl Role {
    /// Returns the path under which refusals are kept.
    pub(crate) fn target(&self) -> String {
        match self {
            Role::New => "jobs/new".into(),
            Role::Job(name) => format!("jobs/{name}.json"),
            Role::Scratch => "jobs/".into(),
        }
    }
}

/// A refusal for good, and what is kept of it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) errno: i32,
    pub(crate) refusal: Refusal,
    pub(crate) text: Vec<u8>,
}

/// Why a write fails.
#[derive(Debug)]
pub(crate) enum WriteFault {
    Refused(Refused),
    /// Not final: the writer may go on.
    Failed(Error),
}

impl From<Refused> for WriteFault {
    fn from(refused: Refused) -> WriteFault {
        WriteFault::Refused(refused)
    }
}

impl From<Error> for WriteFault {
    fn from(error: Error) -> WriteFault {
        WriteFault::Failed(error)
    }
}

/// The spec that is to be handed in now, if there is one.
pub(crate) type Judged = std::result::Result<Option<ParsedSpec>, WriteFault>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Nothing is written that has not been handed in.
    Clean,
    Written,
    /// `jobs/new` takes one spec per open.
    HandedIn {
        id: String,
        more_refused: bool,
    },
    /// Nothing is taken any more; with the errno of the refusal.
    Refused(i32),
}

/// The text itself. It stays locked from when it is judged until it has been handed in or refused.
pub(crate) struct DraftText {
    role: Role,
    bytes: Vec<u8>,
    stage: Stage,
    /// Bytes from the beginning that were written without a gap, rather than being those of an older text.
    covered: usize,
    /// Length of the text when it was judged last.
    judged: usize,
    writers: usize,
    share: WriteShare,
}

/// A text that is being written, by one or more handles.
pub(crate) struct Draft {
    pub(crate) ino: Ino,
    text: Mutex<DraftText>,
    /// Length, readable without the lock, which a writer may hold for long.
    len: AtomicU64,
    /// Milliseconds since 1970.
    mtime: AtomicU64,
    /// The writer has been told that it took too long.
    given_up: AtomicBool,
}

impl Draft {
    pub(crate) fn new(ino: Ino, role: Role, bytes: Vec<u8>, share: WriteShare, now: SystemTime) -> Draft {
        let len = AtomicU64::new(bytes.len() as u64);
        let text = DraftText { role, bytes, stage: Stage::Clean, covered: 0, judged: 0, writers: 0, share };
        let (text, given_up) = (Mutex::new(text), AtomicBool::new(false));
        let draft = Draft { ino, text, len, mtime: AtomicU64::new(0), given_up };
        draft.set_mtime(now);
        draft
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, DraftText> {
        self.text.lock()
    }

    /// Says that the writer has been told that it took too long. Waits for nothing.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    pub(crate) fn size(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn mtime(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.mtime.load(Ordering::Relaxed))
    }

    pub(crate) fn set_mtime(&self, to: SystemTime) {
        let ms = to.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.mtime.store(ms, Ordering::Relaxed);
    }

    /// Makes the present size of the text, and the time, readable without the lock.
    pub(crate) fn publish(&self, text: &DraftText, now: SystemTime) {
        self.len.store(text.bytes.len() as u64, Ordering::Relaxed);
        self.set_mtime(now);
    }

    pub(crate) fn role(&self) -> Role {
        self.lock().role.clone()
    }

    pub(crate) fn text(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Sets what the text is written for from now on; the text counts as handed in.
    pub(crate) fn become_role(&self, role: Role) {
        let mut text = self.lock();
        text.role = role;
        text.reset();
    }

    pub(crate) fn add_writer(&self) {
        self.lock().writers += 1;
    }

    pub(crate) fn resize(&self, size: u64, now: SystemTime) -> Result<()> {
        let mut text = self.lock();
        let done = text.resize(size);
        self.publish(&text, now);
        done
    }
}

fn copy_from(text: &[u8], buf: &mut [u8], offset: u64) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    let n = rest.len().min(buf.len());
    buf[..n].copy_from_slice(&rest[..n]);
    n
}

pub(crate) fn refusal_error(errno: i32, refusal: &Refusal) -> Error {
    Error::new(Kind::Os(errno), refusal.to_string())
}

fn refused_before(errno: i32) -> Error {
    Error::new(Kind::Os(errno), "this spec was refused before")
}

/// The refusal of a spec that could not be written down.
pub(crate) fn failed(error: &Error) -> Refusal {
    let wrong = format!("it is a spec, but could not be written down: {error}");
    Refusal::new("", wrong, "hand it in again")
}

fn too_long() -> Refusal {
    Refusal::new("", "this is longer than 1 MiB", "a spec has at most 1048576 bytes")
}

fn too_late() -> Refusal {
    let wrong = "it could not be written down in time";
    Refusal::new("", wrong, "hand it in again")
}

fn no_room(error: &Error) -> Refusal {
    Refusal::new("", error.to_string(), "hand it in again, when others have closed what they write")
}

fn more_after_spec() -> Refusal {
    let wrong = "more was written after a spec that has been handed in";
    Refusal::new("", wrong, "open jobs/new once for each spec")
}

impl DraftText {
    pub(crate) fn role(&self) -> &Role {
        &self.role
    }

    /// Removes one of the handles that write; returns true if it was the last.
    pub(crate) fn remove_writer(&mut self) -> bool {
        self.writers = self.writers.saturating_sub(1);
        self.writers == 0
    }

    /// Reads the text; `None` behind its end in `jobs/new`, where the id of the run is to be read.
    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> Option<usize> {
        if self.role != Role::New {
            return Some(copy_from(&self.bytes, buf, offset));
        }
        if self.bytes.is_empty() && self.stage == Stage::Clean {
            return Some(copy_from(EXAMPLE.as_bytes(), buf, offset));
        }
        (offset < self.bytes.len() as u64).then(|| copy_from(&self.bytes, buf, offset))
    }

    /// Reads the id of the run behind the text.
    pub(crate) fn read_id(&self, buf: &mut [u8], offset: u64) -> usize {
        match &self.stage {
            Stage::HandedIn { id, .. } => {
                copy_from(format!("{id}\n").as_bytes(), buf, offset - self.bytes.len() as u64)
            }
            _ => 0,
        }
    }

    /// Writes at an offset, or at the end.
    pub(crate) fn write(&mut self, offset: Option<u64>, data: &[u8]) -> Judged {
        let length = self.bytes.len();
        let offset = offset.and_then(|at| usize::try_from(at).ok()).unwrap_or(length);
        let end = offset.saturating_add(data.len());
        if self.role == Role::Scratch {
            self.share.resize(end.max(length))?;
            self.put(offset, data);
            return Ok(None);
        }
        match &mut self.stage {
            Stage::Refused(errno) => return Err(refused_before(*errno).into()),
            Stage::HandedIn { .. } if data.trim_ascii().is_empty() && end <= MAX_BYTES => {
                // Accepted whether or not there is room for it: the spec has been taken.
                if self.share.resize(end.max(length)).is_ok() {
                    self.put(offset, data);
                }
                return Ok(None);
            }
            Stage::HandedIn { more_refused, .. } => {
                let is_blank = data.trim_ascii().is_empty();
                let (errno, refusal) =
                    if is_blank { (libc::EFBIG, too_long()) } else { (libc::EINVAL, more_after_spec()) };
                return Err(match std::mem::replace(more_refused, true) {
                    false => Refused { errno, refusal, text: data.to_vec() }.into(),
                    true => refusal_error(errno, &refusal).into(),
                });
            }
            Stage::Clean | Stage::Written => {}
        }
        if end > MAX_BYTES {
            if offset <= length && self.share.resize(MAX_BYTES).is_ok() {
                self.put(offset, &data[..MAX_BYTES.saturating_sub(offset).min(data.len())]);
            }
            return Err(self.refuse(libc::EFBIG, too_long()).into());
        }
        if let Err(error) = self.share.resize(end.max(length)) {
            return Err(self.refuse(error.errno(), no_room(&error)).into());
        }
        self.put(offset, data);
        self.stage = Stage::Written;
        if offset <= self.covered {
            self.covered = self.covered.max(end);
        }
        // While an older text is overwritten, the rest of it is still to be replaced or cut off.
        let is_whole = self.covered == self.bytes.len() || offset == length;
        if is_whole && self.is_worth_judging(data) { self.judge() } else { Ok(None) }
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(data);
    }

    fn is_worth_judging(&self, data: &[u8]) -> bool {
        let length = self.bytes.len();
        length <= ALWAYS_JUDGED
            || data.trim_ascii_end().ends_with(b"}")
            || length - self.judged.min(length) > length / 8
    }

    /// Judges a text that may still grow into a spec.
    fn judge(&mut self) -> Judged {
        self.judged = self.bytes.len();
        match ParsedSpec::parse(&self.bytes) {
            Ok(ready) => Ok(Some(ready)),
            Err(refusal) if refusal.incomplete => Ok(None),
            Err(refusal) => Err(self.refuse(libc::EINVAL, refusal).into()),
        }
    }

    fn refuse(&mut self, errno: i32, refusal: Refusal) -> Refused {
        self.stage = Stage::Refused(errno);
        Refused { errno, refusal, text: self.bytes.clone() }
    }

    /// Refuses a text that took too long, unless it has been handed in or refused.
    pub(crate) fn refuse_late(&mut self) -> Option<Refused> {
        let is_open = matches!(self.stage, Stage::Clean | Stage::Written);
        is_open.then(|| self.refuse(libc::ETIMEDOUT, too_late()))
    }

    /// Refuses, for good, a spec that could not be written down.
    pub(crate) fn refuse_failed(&mut self, error: &Error) -> Refused {
        self.refuse(error.errno(), failed(error))
    }

    fn resize(&mut self, size: u64) -> Result<()> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if self.role == Role::Scratch {
            self.share.resize(size)?;
            self.bytes.resize(size, 0);
            return Ok(());
        }
        if size > MAX_BYTES {
            return Err(refusal_error(libc::EFBIG, &too_long()));
        }
        if matches!(self.stage, Stage::HandedIn { .. }) || size == self.bytes.len() {
            return Ok(());
        }
        self.share.resize(size)?;
        self.bytes.resize(size, 0);
        self.covered = self.covered.min(size);
        // An empty text is a new beginning, not a definition.
        self.stage = if size == 0 { Stage::Clean } else { Stage::Written };
        Ok(())
    }

    /// Judges what has been written and not handed in. A text that breaks off is an error; it may still be completed
    /// unless `closing`.
    pub(crate) fn judge_written(&mut self, closing: bool) -> Judged {
        match &self.stage {
            _ if self.role == Role::Scratch => return Ok(None),
            Stage::Clean | Stage::HandedIn { .. } => return Ok(None),
            Stage::Refused(errno) => return Err(refused_before(*errno).into()),
            Stage::Written => {}
        }
        match ParsedSpec::parse(&self.bytes) {
            Err(refusal) if refusal.incomplete && !closing => {
                Err(refusal_error(libc::EINVAL, &refusal).into())
            }
            Err(refusal) => Err(self.refuse(libc::EINVAL, refusal).into()),
            Ok(ready) => Ok(Some(ready)),
        }
    }

    /// Says that the text has been handed in, as the run of that id.
    pub(crate) fn handed_in(&mut self, id: String) {
        match self.role {
            Role::New => self.stage = Stage::HandedIn { id, more_refused: false },
            _ => self.reset(),
        }
    }

    fn reset(&mut self) {
        self.stage = Stage::Clean;
        self.covered = 0;
    }
}

/// A handle of a draft.
pub(crate) struct Writing {
    pub(crate) draft: Arc<Draft>,
    pub(crate) writes: bool,
    /// Every write goes to the end.
    pub(crate) appends: bool,
}

#[cfg(test)]
mod tests;
