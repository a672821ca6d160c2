//! How a request gets its answer: in time, once, and with nothing left open if it came too late.

use std::sync::Arc;

use fuser::FileHandle;

use super::answer::Reply;
use crate::error::Result;
use crate::mount::deadline::{Deadline, Pending};
use crate::tree::{Needs, Place, Tree, no_answer};

pub(crate) struct Adapter {
    pub(super) tree: Arc<Tree>,
    pub(super) deadline: Deadline,
}

impl Adapter {
    pub(crate) fn new(tree: Arc<Tree>, deadline: Deadline) -> Adapter {
        Adapter { tree, deadline }
    }

    /// Answers with what `ask` finds. `needs` tells what that takes.
    pub(crate) fn answer<R: Reply>(
        &self,
        reply: R,
        needs: impl FnOnce(&Tree) -> Needs,
        ask: impl FnOnce(&Tree) -> Result<R::Value> + Send + 'static,
    ) {
        let tree = self.tree.clone();
        let work = move |reply: &Pending<R>| send(reply, &tree, ask(&tree));
        self.deadline.run(reply, || needs(&self.tree), work);
    }

    /// Makes a change, and answers with its outcome.
    pub(crate) fn change<R: Reply>(
        &self,
        reply: R,
        change: impl FnOnce(&Tree) -> Result<R::Value> + Send + 'static,
    ) {
        let tree = self.tree.clone();
        self.deadline.change(reply, || {}, move |reply| send(reply, &tree, change(&tree)));
    }

    /// The same for a change through a handle that writes. If time runs out, what was written is not handed in later
    /// either.
    pub(crate) fn write_through<R: Reply>(
        &self,
        fh: FileHandle,
        reply: R,
        change: impl FnOnce(&Tree) -> Result<R::Value> + Send + 'static,
    ) {
        if self.tree.is_given_up(fh.0) {
            return reply.fail(&no_answer());
        }
        let tree = self.tree.clone();
        self.deadline.change(reply, self.giving_up(fh), move |reply| send(reply, &tree, change(&tree)));
    }

    /// Returns what gives up the writing through a handle.
    pub(crate) fn giving_up(&self, fh: FileHandle) -> impl FnOnce() + Send + 'static {
        let tree = self.tree.clone();
        move || tree.give_up(fh.0)
    }

    pub(crate) fn is_written(&self, fh: FileHandle) -> bool {
        self.tree.needs_of_handle(fh.0) == Needs::Store(Place::Changes)
    }
}

/// Sends an answer. If nobody waits for it any more, what was opened is closed.
pub(crate) fn send<R: Reply>(reply: &Pending<R>, tree: &Tree, found: Result<R::Value>) {
    let opened = found.as_ref().ok().and_then(R::opened);
    let is_sent = reply.send(|reply| reply.answer(found));
    opened.filter(|_| !is_sent).into_iter().for_each(|handle| tree.release(handle));
}
