//! A text that is being written: it is judged as it grows, and handed in once.
//!
//! Programs send FLUSH before their first WRITE and again for every descriptor that is duplicated; so an empty text
//! is nothing, and a spec that breaks off may still be completed. One that is complete is handed in by the write that
//! completes it: some shells do not say what close(2) fails with.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::scratch::Share;
use crate::error::{Error, Kind, Result};
use crate::export::jobs::Ready;
use crate::export::refusal::Refusal;
use crate::export::spec::{EXAMPLE, MAX_BYTES};
use crate::tree::ino::Ino;

/// Up to this length a text is judged after every write; a longer one as it grows by an eighth, or where a write ends
/// as a spec does. Else writes of a byte each would take a time that grows with the square of the length.
const ALWAYS_JUDGED: usize = 64 << 10;

/// What a text is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// `jobs/new`
    New,
    /// The job of this name.
    Job(String),
    /// Nothing: a temporary file of an editor, or one that was deleted while it was open.
    Scratch,
}

impl Role {
    /// The name in `jobs/` that refusals are kept under.
    pub(crate) fn target(&self) -> String {
        match self {
            Role::New => "jobs/new".into(),
            Role::Job(name) => format!("jobs/{name}.json"),
            Role::Scratch => "jobs/".into(),
        }
    }
}

/// A text that is refused for good, and what is kept of that.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) errno: i32,
    pub(crate) refusal: Refusal,
    pub(crate) text: Vec<u8>,
}

/// Why whoever writes is told no.
#[derive(Debug)]
pub(crate) enum Fault {
    Refused(Refused),
    /// It may go on nevertheless.
    Failed(Error),
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Fault {
        Fault::Refused(refused)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Failed(error)
    }
}

/// What is to be handed in now, if anything is.
pub(crate) type Judged = std::result::Result<Option<Ready>, Fault>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Nothing has been written that is not handed in.
    Clean,
    Written,
    /// `jobs/new` takes one spec per open.
    HandedIn {
        id: String,
        more_refused: bool,
    },
    /// Nothing is taken any more; the errno.
    Refused(i32),
}

/// The text itself. It is locked from when it is judged until it has been handed in or refused.
pub(crate) struct Text {
    role: Role,
    bytes: Vec<u8>,
    stage: Stage,
    /// Bytes from the beginning that were written here, one write after the other.
    covered: usize,
    /// Length of the text when it was judged last.
    judged: usize,
    writers: usize,
    share: Share,
}

/// A text that is being written, by one or more handles.
pub(crate) struct Draft {
    pub(crate) ino: Ino,
    text: Mutex<Text>,
    /// Known without waiting for a writer.
    len: AtomicU64,
    /// Milliseconds since 1970.
    mtime: AtomicU64,
    /// Whoever writes has been told that it took too long.
    given_up: AtomicBool,
}

impl Draft {
    pub(crate) fn new(ino: Ino, role: Role, bytes: Vec<u8>, share: Share, now: SystemTime) -> Draft {
        let len = AtomicU64::new(bytes.len() as u64);
        let text = Text { role, bytes, stage: Stage::Clean, covered: 0, judged: 0, writers: 0, share };
        let (text, given_up) = (Mutex::new(text), AtomicBool::new(false));
        let draft = Draft { ino, text, len, mtime: AtomicU64::new(0), given_up };
        draft.set_mtime(now);
        draft
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock()
    }

    /// Says that whoever writes has been told that it took too long. Waits for nothing.
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

    /// Has the size and the time known that a text has now.
    pub(crate) fn note(&self, text: &Text, now: SystemTime) {
        self.len.store(text.bytes.len() as u64, Ordering::Relaxed);
        self.set_mtime(now);
    }

    pub(crate) fn role(&self) -> Role {
        self.lock().role.clone()
    }

    pub(crate) fn text(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Says what the text is written for from now on; it counts as handed in.
    pub(crate) fn become_role(&self, role: Role) {
        let mut text = self.lock();
        text.role = role;
        text.settled();
    }

    pub(crate) fn add_writer(&self) {
        self.lock().writers += 1;
    }

    pub(crate) fn resize(&self, size: u64, now: SystemTime) -> Result<()> {
        let mut text = self.lock();
        let done = text.resize(size);
        self.note(&text, now);
        done
    }
}

fn slice(text: &[u8], buf: &mut [u8], offset: u64) -> usize {
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

/// For a spec that could not be written down.
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

fn more() -> Refusal {
    let wrong = "more was written after a spec that has been handed in";
    Refusal::new("", wrong, "open jobs/new once for each spec")
}

impl Text {
    pub(crate) fn role(&self) -> &Role {
        &self.role
    }

    /// Ends the work of a handle that has written; true if it was the last one.
    pub(crate) fn remove_writer(&mut self) -> bool {
        self.writers = self.writers.saturating_sub(1);
        self.writers == 0
    }

    /// Reads the text; `None` behind a spec, where the id of its run is to be read.
    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> Option<usize> {
        if self.role != Role::New {
            return Some(slice(&self.bytes, buf, offset));
        }
        if self.bytes.is_empty() && self.stage == Stage::Clean {
            return Some(slice(EXAMPLE.as_bytes(), buf, offset));
        }
        (offset < self.bytes.len() as u64).then(|| slice(&self.bytes, buf, offset))
    }

    /// Reads the id of the run behind the text.
    pub(crate) fn read_id(&self, buf: &mut [u8], offset: u64) -> usize {
        match &self.stage {
            Stage::HandedIn { id, .. } => {
                slice(format!("{id}\n").as_bytes(), buf, offset - self.bytes.len() as u64)
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
                // Whether or not there is room for it: the spec has been taken.
                if self.share.resize(end.max(length)).is_ok() {
                    self.put(offset, data);
                }
                return Ok(None);
            }
            Stage::HandedIn { more_refused, .. } => {
                let is_blank = data.trim_ascii().is_empty();
                let (errno, refusal) =
                    if is_blank { (libc::EFBIG, too_long()) } else { (libc::EINVAL, more()) };
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
        // Over an older text, what is behind the new bytes is still to be overwritten or cut off.
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

    /// Judges a text that may still become a spec.
    fn judge(&mut self) -> Judged {
        self.judged = self.bytes.len();
        match Ready::parse(&self.bytes) {
            Ok(ready) => Ok(Some(ready)),
            Err(refusal) if refusal.incomplete => Ok(None),
            Err(refusal) => Err(self.refuse(libc::EINVAL, refusal).into()),
        }
    }

    fn refuse(&mut self, errno: i32, refusal: Refusal) -> Refused {
        self.stage = Stage::Refused(errno);
        Refused { errno, refusal, text: self.bytes.clone() }
    }

    /// Refuses what whoever writes has been told took too long, if it is not handed in or refused.
    pub(crate) fn refuse_late(&mut self) -> Option<Refused> {
        let is_open = matches!(self.stage, Stage::Clean | Stage::Written);
        is_open.then(|| self.refuse(libc::ETIMEDOUT, too_late()))
    }

    /// What could not be written down is refused, for good.
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
        // An empty text is a new beginning, and no definition.
        self.stage = if size == 0 { Stage::Clean } else { Stage::Written };
        Ok(())
    }

    /// Judges what has been written and is not handed in. What breaks off is an error, and stays unless the text is closed.
    pub(crate) fn settle(&mut self, closing: bool) -> Judged {
        match &self.stage {
            _ if self.role == Role::Scratch => return Ok(None),
            Stage::Clean | Stage::HandedIn { .. } => return Ok(None),
            Stage::Refused(errno) => return Err(refused_before(*errno).into()),
            Stage::Written => {}
        }
        match Ready::parse(&self.bytes) {
            Err(refusal) if refusal.incomplete && !closing => {
                Err(refusal_error(libc::EINVAL, &refusal).into())
            }
            Err(refusal) => Err(self.refuse(libc::EINVAL, refusal).into()),
            Ok(ready) => Ok(Some(ready)),
        }
    }

    /// Says that it has been handed in: as the run of that id.
    pub(crate) fn handed_in(&mut self, id: String) {
        match self.role {
            Role::New => self.stage = Stage::HandedIn { id, more_refused: false },
            _ => self.settled(),
        }
    }

    fn settled(&mut self) {
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
