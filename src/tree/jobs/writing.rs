//! What is written to a file in `jobs/`, on its way into the catalogue: the draft judges it, and what is a spec is handed in
//! while the draft is locked, so that this happens once.
//!
//! What hands in returns true if there is something that the view does not have.

use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::draft::{self, Draft, Fault, Judged, Refused, Role, Text, Writing};
use super::scratch::Share;
use super::{Entry, Jobs, names};
use crate::error::{Error, Kind, Result};
use crate::export::jobs::{self, Ready};
use crate::export::refusal::Refusal;
use crate::io::{check_permit, with_permit};

impl Jobs {
    /// Opens what can be written. A defined job is only changed by what is written to the end and right.
    pub(crate) fn open(
        &self,
        entry: &Entry,
        writes: bool,
        truncates: bool,
        appends: bool,
    ) -> Result<Writing> {
        let draft = match entry {
            Entry::Errors => return Err(Error::new(Kind::NotPermitted, "jobs/errors is only read")),
            Entry::New => self.unnamed(entry, Role::New, Vec::new())?,
            Entry::Job(job) => {
                let text = if truncates { Vec::new() } else { job.text.clone().into_bytes() };
                self.unnamed(entry, Role::Job(job.name.clone()), text)?
            }
            Entry::Draft(draft) => {
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

    /// Makes a text that only its handle knows: what is defined stays until there is something better.
    fn unnamed(&self, entry: &Entry, role: Role, text: Vec<u8>) -> Result<Arc<Draft>> {
        let mut share = Share::of_spec(&self.budget);
        share.resize(text.len())?;
        Ok(Arc::new(Draft::new(entry.ino(), role, text, share, self.clock.now())))
    }

    /// Locks a text to hand it in; what was given up is refused before.
    fn lock<'a>(&self, draft: &'a Draft) -> MutexGuard<'a, Text> {
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
        writing.draft.note(&text, self.clock.now());
        done
    }

    /// Hands in what is complete.
    pub(crate) fn flush(&self, writing: &Writing) -> Result<bool> {
        if !writing.writes {
            return Ok(false);
        }
        let mut text = self.lock(&writing.draft);
        let judged = text.settle(false);
        self.conclude(&mut text, judged)
    }

    /// Reads the text; behind one that is handed in, the id of its run.
    pub(crate) fn read(&self, writing: &Writing, buf: &mut [u8], offset: u64) -> Result<(usize, bool)> {
        let mut text = self.lock(&writing.draft);
        if let Some(n) = text.read(buf, offset) {
            return Ok((n, false));
        }
        let judged = text.settle(false);
        let is_new = self.conclude(&mut text, judged)?;
        Ok((text.read_id(buf, offset), is_new))
    }

    /// Ends a handle. A job that has come to nothing is not there any more.
    pub(crate) fn close(&self, writing: &Writing) -> bool {
        if !writing.writes {
            return false;
        }
        let mut text = self.lock(&writing.draft);
        if !text.remove_writer() {
            return false;
        }
        let judged = text.settle(true);
        // Nobody hears of an error any more; it is kept.
        let is_new = self.conclude(&mut text, judged).unwrap_or(false);
        let role = text.role().clone();
        drop(text);
        if let Role::Job(name) = role {
            self.forget(&names::file_of(&name), Some(&writing.draft));
        }
        is_new
    }

    /// Hands in what is ready, and keeps what is refused.
    fn conclude(&self, text: &mut Text, judged: Judged) -> Result<bool> {
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
            Err(Fault::Refused(Refused { errno, refusal, text: bytes })) => {
                self.keep(text.role(), &refusal, &bytes);
                Err(draft::refusal_error(errno, &refusal))
            }
            Err(Fault::Failed(error)) => Err(error),
        }
    }

    /// Hands in a whole text, or keeps it if it is refused.
    pub(super) fn hand_in_or_keep(&self, role: &Role, text: &[u8]) -> Result<()> {
        let done = match Ready::parse(text) {
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
    fn hand_in(&self, role: &Role, ready: &Ready) -> Result<String> {
        let taken = self.take_in(role, ready);
        let is_busy = taken.as_ref().is_err_and(|error| error.kind() == Kind::TimedOut);
        self.is_busy.store(is_busy, Ordering::Relaxed);
        if taken.is_ok() {
            self.keep_unkept();
        }
        taken
    }

    fn take_in(&self, role: &Role, ready: &Ready) -> Result<String> {
        let now = self.clock.now();
        match role {
            Role::New => ready.submit(&self.store, now),
            Role::Scratch => Ok(String::new()),
            Role::Job(name) => {
                ready.define(&self.store, name, now)?;
                // It is in the catalogue now, and no backup takes its place.
                self.state().parked.remove(name);
                self.forget(&names::file_of(name), None);
                Ok(String::new())
            }
        }
    }

    /// Keeps a spec that was refused.
    fn keep(&self, role: &Role, refusal: &Refusal, text: &[u8]) {
        let target = role.target();
        let refused = jobs::refused_spec(&target, refusal, text, self.clock.now());
        // It would be waited for once more, in vain.
        if self.is_busy.swap(false, Ordering::Relaxed) {
            return self.unkept.lock().add(refused);
        }
        // Also of what took too long, so that nothing is lost.
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
            unkept.is_kept();
        }
    }
}
