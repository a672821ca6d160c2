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
use crate::export::jobs::Rejected;
use crate::export::refusal::Refusal;
use crate::export::spec::{EXAMPLE, MAX_BYTES, Spec};
use crate::io::check_permit;
use crate::tree::ino::Ino;

/// Up to this length a text is judged after every write; a longer one as it grows by an eighth, or where a write ends
/// as a spec does. Else writes of a byte each would take a time that grows with the square of the length.
const ALWAYS_JUDGED: usize = 64 << 10;

/// What a text is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// `jobs/new`
    New,
    /// The job of this name.
    Job(String),
    /// Nothing: a temporary file of an editor, or one that was deleted while it was open.
    Scratch,
}

impl Role {
    /// The name in `jobs/` that refusals are kept under.
    pub fn target(&self) -> String {
        match self {
            Role::New => "jobs/new".into(),
            Role::Job(name) => format!("jobs/{name}.json"),
            Role::Scratch => "jobs/".into(),
        }
    }
}

/// Takes specs in.
pub trait Desk {
    /// Takes in a spec; returns the id of the run, where there is one.
    fn hand_in(&self, role: &Role, text: &[u8]) -> std::result::Result<String, Rejected>;

    /// Keeps a spec that was refused.
    fn keep(&self, role: &Role, refusal: &Refusal, text: &[u8]);
}

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

struct Inner {
    role: Role,
    text: Vec<u8>,
    stage: Stage,
    /// Bytes from the beginning that were written here, one write after the other.
    covered: usize,
    /// Length of the text when it was judged last.
    judged: usize,
    writers: usize,
    share: Share,
}

/// A text that is being written, by one or more handles.
pub struct Draft {
    pub ino: Ino,
    inner: Mutex<Inner>,
    /// Known without waiting for a writer.
    len: AtomicU64,
    /// Milliseconds since 1970.
    mtime: AtomicU64,
    /// Whoever writes has been told that it took too long.
    given_up: AtomicBool,
}

impl Draft {
    pub fn new(ino: Ino, role: Role, text: Vec<u8>, share: Share, now: SystemTime) -> Draft {
        let len = AtomicU64::new(text.len() as u64);
        let inner = Inner { role, text, stage: Stage::Clean, covered: 0, judged: 0, writers: 0, share };
        let (inner, given_up) = (Mutex::new(inner), AtomicBool::new(false));
        let draft = Draft { ino, inner, len, mtime: AtomicU64::new(0), given_up };
        draft.set_mtime(now);
        draft
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The same, for what hands in: what was given up is refused before.
    fn lock_to_hand_in(&self, desk: &dyn Desk) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        if self.is_given_up() && matches!(inner.stage, Stage::Clean | Stage::Written) {
            inner.refuse(desk, libc::ETIMEDOUT, &too_late());
        }
        inner
    }

    /// Says that whoever writes has been told that it took too long. Waits for nothing.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    pub fn size(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    pub fn mtime(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.mtime.load(Ordering::Relaxed))
    }

    pub fn set_mtime(&self, to: SystemTime) {
        let ms = to.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.mtime.store(ms, Ordering::Relaxed);
    }

    fn note(&self, inner: &Inner, now: SystemTime) {
        self.len.store(inner.text.len() as u64, Ordering::Relaxed);
        self.set_mtime(now);
    }

    pub fn role(&self) -> Role {
        self.lock().role.clone()
    }

    pub fn text(&self) -> Vec<u8> {
        self.lock().text.clone()
    }

    /// Says what the text is written for from now on; it counts as handed in.
    pub fn become_role(&self, role: Role) {
        let mut inner = self.lock();
        inner.role = role;
        inner.settled();
    }

    pub fn add_writer(&self) {
        self.lock().writers += 1;
    }

    /// Writes at an offset, or at the end.
    pub fn write(&self, desk: &dyn Desk, offset: Option<u64>, data: &[u8], now: SystemTime) -> Result<()> {
        let mut inner = self.lock_to_hand_in(desk);
        check_permit()?;
        let written = inner.write(desk, offset, data);
        self.note(&inner, now);
        written
    }

    pub fn resize(&self, size: u64, now: SystemTime) -> Result<()> {
        let mut inner = self.lock();
        let done = inner.resize(size);
        self.note(&inner, now);
        done
    }

    /// Hands in what is complete. What breaks off is an error, and stays.
    pub fn flush(&self, desk: &dyn Desk) -> Result<()> {
        self.lock_to_hand_in(desk).settle(desk, false)
    }

    /// Ends the work of a handle that has written; true if it was the last one.
    pub fn close(&self, desk: &dyn Desk) -> bool {
        let mut inner = self.lock_to_hand_in(desk);
        inner.writers = inner.writers.saturating_sub(1);
        if inner.writers > 0 {
            return false;
        }
        // Nobody hears of an error any more; it is kept.
        let _ = inner.settle(desk, true);
        true
    }

    /// Reads the text; behind one that is handed in, the id of its run.
    pub fn read_at(&self, desk: &dyn Desk, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut inner = self.lock_to_hand_in(desk);
        if inner.role != Role::New {
            return Ok(slice(&inner.text, buf, offset));
        }
        if inner.text.is_empty() && inner.stage == Stage::Clean {
            return Ok(slice(EXAMPLE.as_bytes(), buf, offset));
        }
        let len = inner.text.len() as u64;
        if offset < len {
            return Ok(slice(&inner.text, buf, offset));
        }
        inner.settle(desk, false)?;
        match &inner.stage {
            Stage::HandedIn { id, .. } => Ok(slice(format!("{id}\n").as_bytes(), buf, offset - len)),
            _ => Ok(0),
        }
    }
}

fn slice(text: &[u8], buf: &mut [u8], offset: u64) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    let n = rest.len().min(buf.len());
    buf[..n].copy_from_slice(&rest[..n]);
    n
}

fn refused(errno: i32, refusal: &Refusal) -> Error {
    Error::new(Kind::Os(errno), refusal.to_string())
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

impl Inner {
    fn write(&mut self, desk: &dyn Desk, offset: Option<u64>, data: &[u8]) -> Result<()> {
        let length = self.text.len();
        let offset = offset.and_then(|at| usize::try_from(at).ok()).unwrap_or(length);
        let end = offset.saturating_add(data.len());
        if self.role == Role::Scratch {
            self.share.resize(end.max(length))?;
            self.put(offset, data);
            return Ok(());
        }
        match &mut self.stage {
            Stage::Refused(errno) => {
                return Err(Error::new(Kind::Os(*errno), "this spec was refused before"));
            }
            Stage::HandedIn { .. } if data.trim_ascii().is_empty() && end <= MAX_BYTES => {
                // Whether or not there is room for it: the spec has been taken.
                if self.share.resize(end.max(length)).is_ok() {
                    self.put(offset, data);
                }
                return Ok(());
            }
            Stage::HandedIn { more_refused, .. } => {
                let is_blank = data.trim_ascii().is_empty();
                let (errno, refusal) =
                    if is_blank { (libc::EFBIG, too_long()) } else { (libc::EINVAL, more()) };
                if !std::mem::replace(more_refused, true) {
                    desk.keep(&self.role, &refusal, data);
                }
                return Err(refused(errno, &refusal));
            }
            Stage::Clean | Stage::Written => {}
        }
        if end > MAX_BYTES {
            if offset <= length && self.share.resize(MAX_BYTES).is_ok() {
                self.put(offset, &data[..MAX_BYTES.saturating_sub(offset).min(data.len())]);
            }
            return Err(self.refuse(desk, libc::EFBIG, &too_long()));
        }
        if let Err(error) = self.share.resize(end.max(length)) {
            return Err(self.refuse(desk, error.errno(), &no_room(&error)));
        }
        self.put(offset, data);
        self.stage = Stage::Written;
        if offset <= self.covered {
            self.covered = self.covered.max(end);
        }
        // Over an older text, what is behind the new bytes is still to be overwritten or cut off.
        let is_whole = self.covered == self.text.len() || offset == length;
        if is_whole && self.is_worth_judging(data) && self.judge(desk)? {
            self.hand_in(desk)?;
        }
        Ok(())
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.text.len() < end {
            self.text.resize(end, 0);
        }
        self.text[offset..end].copy_from_slice(data);
    }

    fn is_worth_judging(&self, data: &[u8]) -> bool {
        let length = self.text.len();
        length <= ALWAYS_JUDGED
            || data.trim_ascii_end().ends_with(b"}")
            || length - self.judged.min(length) > length / 8
    }

    /// Returns true if the text is a spec, false if it may become one; refuses it if not.
    fn judge(&mut self, desk: &dyn Desk) -> Result<bool> {
        self.judged = self.text.len();
        match Spec::parse(&self.text) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.incomplete => Ok(false),
            Err(refusal) => Err(self.refuse(desk, libc::EINVAL, &refusal)),
        }
    }

    fn refuse(&mut self, desk: &dyn Desk, errno: i32, refusal: &Refusal) -> Error {
        desk.keep(&self.role, refusal, &self.text);
        self.stage = Stage::Refused(errno);
        refused(errno, refusal)
    }

    fn resize(&mut self, size: u64) -> Result<()> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if self.role == Role::Scratch {
            self.share.resize(size)?;
            self.text.resize(size, 0);
            return Ok(());
        }
        if size > MAX_BYTES {
            return Err(refused(libc::EFBIG, &too_long()));
        }
        if matches!(self.stage, Stage::HandedIn { .. }) || size == self.text.len() {
            return Ok(());
        }
        self.share.resize(size)?;
        self.text.resize(size, 0);
        self.covered = self.covered.min(size);
        // An empty text is a new beginning, and no definition.
        self.stage = if size == 0 { Stage::Clean } else { Stage::Written };
        Ok(())
    }

    fn settle(&mut self, desk: &dyn Desk, closing: bool) -> Result<()> {
        match &self.stage {
            _ if self.role == Role::Scratch => return Ok(()),
            Stage::Clean | Stage::HandedIn { .. } => return Ok(()),
            Stage::Refused(errno) => {
                return Err(Error::new(Kind::Os(*errno), "this spec was refused before"));
            }
            Stage::Written => {}
        }
        match Spec::parse(&self.text) {
            Err(refusal) if refusal.incomplete && !closing => Err(refused(libc::EINVAL, &refusal)),
            Err(refusal) => Err(self.refuse(desk, libc::EINVAL, &refusal)),
            Ok(_) => self.hand_in(desk),
        }
    }

    /// Hands in a text that is a spec. What cannot be handed in is refused, for good.
    fn hand_in(&mut self, desk: &dyn Desk) -> Result<()> {
        match desk.hand_in(&self.role, &self.text) {
            Ok(id) if self.role == Role::New => self.stage = Stage::HandedIn { id, more_refused: false },
            Ok(_) => self.settled(),
            Err(Rejected::Refused(refusal)) => return Err(self.refuse(desk, libc::EINVAL, &refusal)),
            Err(Rejected::Failed(error)) => {
                let wrong = format!("it is a spec, but could not be written down: {error}");
                let refusal = Refusal::new("", wrong, "hand it in again");
                self.refuse(desk, error.errno(), &refusal);
                return Err(error);
            }
        }
        Ok(())
    }

    fn settled(&mut self) {
        self.stage = Stage::Clean;
        self.covered = 0;
    }
}

/// A handle of a draft.
pub struct Writing {
    pub draft: Arc<Draft>,
    pub writes: bool,
    /// Every write goes to the end.
    pub appends: bool,
}

#[cfg(test)]
mod tests;
