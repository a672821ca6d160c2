//! What is written to a file in `jobs/`, on its way into the catalogue: the draft judges it, and a spec is handed in
//! while the draft is locked, so that it is handed in once.
//!
//! Functions that may hand in return true if the view is out of date then.

use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::draft::{self, Draft, DraftText, Judged, Refused, Role, WriteFault, Writing};
use super::scratch::WriteShare;
use super::{JobFiles, JobsEntry, names};
use crate::error::{Error, Kind, Result};
use crate::export::jobs::{self, ParsedSpec};
use crate::export::refusal::Refusal;
use crate::io::{check_permit, with_permit};

impl JobFiles {
    /// Opens a file for writing. A defined job changes only when a whole, valid spec has been written.
    pub(crate) fn open(
        &self,
        entry: &JobsEntry,
        writes: bool,
        truncates: bool,
        appends: bool,
    ) -> Result<Writing> {
        let draft = match entry {
            JobsEntry::Errors => return Err(Error::new(Kind::NotPermitted, "jobs/errors is only read")),
            JobsEntry::New => self.unnamed(entry, Role::New, Vec::new())?,
            JobsEntry::Job(job) => {
                let text = if truncates { Vec::new() } else { job.text.clone().into_bytes() };
                self.unnamed(entry, Role::Job(job.name.clone()), text)?
            }
            JobsEntry::Draft(draft) => {
                if truncates {
                    draft.resize(0, self.clock.now())?;
                }
                draft.clone()
            }
        };
        if writes {
            draft.add_writer();
        }
        Ok(Writing { draft, writes, appends })
    }

    /// Makes a text that only its handle knows: the present definition stays until the text is a spec.
    fn unnamed(&self, entry: &JobsEntry, role: Role, text: Vec<u8>) -> Result<Arc<Draft>> {
        let mut share = WriteShare::of_spec(&self.budget);
        share.resize(text.len())?;
        Ok(Arc::new(Draft::new(entry.ino(), role, text, share, self.clock.now())))
    }

    /// Locks a text to hand it in; one that was given up is refused first.
    fn lock<'a>(&self, draft: &'a Draft) -> MutexGuard<'a, DraftText> {
        let mut text = draft.lock();
        if draft.is_given_up()
            && let Some(refused) = text.refuse_late()
        {
            self.keep(text.role(), &refused.refusal, &refused.text);
        }
        text
    }

    pub(crate) fn write(&self, writing: &Writing, offset: u64, data: &[u8]) -> Result<bool> {
        let offset = Some(offset).filter(|_| !writing.appends);
        let mut text = self.lock(&writing.draft);
        check_permit()?;
        let judged = text.write(offset, data);
        let done = self.conclude(&mut text, judged);
        writing.draft.publish(&text, self.clock.now());
        done
    }

    /// Hands in what is complete.
    pub(crate) fn flush(&self, writing: &Writing) -> Result<bool> {
        if !writing.writes {
            return Ok(false);
        }
        let mut text = self.lock(&writing.draft);
        let judged = text.judge_written(false);
        self.conclude(&mut text, judged)
    }

    /// Reads the text and, behind its end, the id of the run, for which it is handed in.
    pub(crate) fn read(&self, writing: &Writing, buf: &mut [u8], offset: u64) -> Result<(usize, bool)> {
        let mut text = self.lock(&writing.draft);
        if let Some(n) = text.read(buf, offset) {
            return Ok((n, false));
        }
        let judged = text.judge_written(false);
        let is_new = self.conclude(&mut text, judged)?;
        Ok((text.read_id(buf, offset), is_new))
    }

    /// Ends a handle. The name of a job that was never defined goes with the last one.
    pub(crate) fn close(&self, writing: &Writing) -> bool {
        if !writing.writes {
            return false;
        }
        let mut text = self.lock(&writing.draft);
        if !text.remove_writer() {
            return false;
        }
        let judged = text.judge_written(true);
        // Nobody waits for the error any more; a refusal is kept.
        let is_new = self.conclude(&mut text, judged).unwrap_or(false);
        let role = text.role().clone();
        drop(text);
        if let Role::Job(name) = role {
            self.forget(&names::file_of(&name), Some(&writing.draft));
        }
        is_new
    }

    /// Hands in what is ready, and keeps what is refused.
    fn conclude(&self, text: &mut DraftText, judged: Judged) -> Result<bool> {
        match judged {
            Ok(None) => Ok(false),
            Ok(Some(ready)) => match self.hand_in(text.role(), &ready) {
                Ok(id) => {
                    text.handed_in(id);
                    Ok(true)
                }
                Err(error) => {
                    let Refused { refusal, text: bytes, .. } = text.refuse_failed(&error);
                    self.keep(text.role(), &refusal, &bytes);
                    Err(error)
                }
            },
            Err(WriteFault::Refused(Refused { errno, refusal, text: bytes })) => {
                self.keep(text.role(), &refusal, &bytes);
                Err(draft::refusal_error(errno, &refusal))
            }
            Err(WriteFault::Failed(error)) => Err(error),
        }
    }

    /// Hands in a whole text, or keeps it if it is refused.
    pub(super) fn hand_in_or_keep(&self, role: &Role, text: &[u8]) -> Result<()> {
        let done = match ParsedSpec::parse(text) {
            Ok(ready) => self.hand_in(role, &ready).map_err(|error| (draft::failed(&error), error)),
            Err(refusal) => {
                let error = Error::new(Kind::Invalid, refusal.to_string());
                Err((refusal, error))
            }
        };
        done.map(drop).map_err(|(refusal, error)| {
            self.keep(role, &refusal, text);
            error
        })
    }

    /// Takes in a spec; returns the id of the run, where there is one.
    fn hand_in(&self, role: &Role, ready: &ParsedSpec) -> Result<String> {
        let taken = self.take_in(role, ready);
        let is_busy = taken.as_ref().is_err_and(|error| error.kind() == Kind::TimedOut);
        self.is_busy.store(is_busy, Ordering::Relaxed);
        if taken.is_ok() {
            self.keep_unkept();
        }
        taken
    }

    fn take_in(&self, role: &Role, ready: &ParsedSpec) -> Result<String> {
        let now = self.clock.now();
        match role {
            Role::New => ready.submit(&self.store, now),
            Role::Scratch => Ok(String::new()),
            Role::Job(name) => {
                ready.define(&self.store, name, now)?;
                // The job is in the catalogue now, and no backup stands for it.
                self.known().parked.remove(name);
                self.forget(&names::file_of(name), None);
                Ok(String::new())
            }
        }
    }

    /// Keeps a spec that was refused.
    fn keep(&self, role: &Role, refusal: &Refusal, text: &[u8]) {
        let target = role.target();
        let refused = jobs::refused_spec(&target, refusal, text, self.clock.now());
        // The catalogue would be waited for once more, in vain.
        if self.is_busy.swap(false, Ordering::Relaxed) {
            return self.unkept.lock().add(refused);
        }
        // Without a permit: a spec that took too long is kept too, so that nothing is lost.
        if let Err(error) = with_permit(None, || self.store.catalogue.add_refusal(&refused)) {
            log::warn!("a spec written to {target} was refused, and is kept in memory only: {error}");
            self.unkept.lock().add(refused);
        }
    }

    /// Writes down what could not be written down before.
    fn keep_unkept(&self) {
        let mut unkept = self.unkept.lock();
        while let Some(refused) = unkept.earliest() {
            if with_permit(None, || self.store.catalogue.add_refusal(refused)).is_err() {
                return;
            }
            unkept.forget_earliest();
        }
    }
}
