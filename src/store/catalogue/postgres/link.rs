//! The link to the database: it keeps a session, and replaces it when it is broken.

use std::time::{Duration, Instant};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use super::schema;
use super::session::{Access, CALL, Session, busy};
use crate::error::{At, Error, Result};
use crate::postgresql::Url;

/// After a connection that failed, nobody tries it again for so long.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Keeps a session, for one call at a time.
pub(crate) struct Link {
    url: Url,
    access: Access,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    session: Option<Session>,
    /// Why the last try has failed, and when.
    failed: Option<(Instant, Error)>,
}

pub(crate) type Held<'a> = MappedMutexGuard<'a, Session>;

impl Link {
    pub(crate) fn new(url: &Url, access: Access) -> Link {
        Link { url: url.clone(), access, kept: Mutex::default() }
    }

    /// Asks something first in a call, once more if the connection is gone: that may have been so for long.
    pub(crate) fn ask<T>(&self, ask: impl Fn(&mut Session) -> Result<T>) -> Result<(Held<'_>, T)> {
        let until = Instant::now() + CALL;
        let mut held = self.take(until)?;
        let mut answer = ask(&mut held);
        if held.is_gone() {
            drop(held);
            held = self.take(until)?;
            answer = ask(&mut held);
        }
        if answer.is_err() && held.is_in_transaction() {
            held.roll_back();
        }
        answer.map(|answer| (held, answer))
    }

    fn take(&self, until: Instant) -> Result<Held<'_>> {
        let mut kept = self.kept.try_lock_until(until).ok_or_else(busy)?;
        kept.session.take_if(|session| !session.is_sound());
        if kept.session.is_none() {
            if let Some((_, error)) = kept.failed.as_ref().filter(|(at, _)| at.elapsed() < BACK_OFF) {
                return Err(error.clone());
            }
            let opened = Session::open(&self.url, self.access).and_then(|mut session| {
                schema::check(&mut session).at(&self.url)?;
                Ok(session)
            });
            match opened {
                Ok(session) => *kept = Kept { session: Some(session), failed: None },
                Err(error) => {
                    kept.failed = Some((Instant::now(), error.clone()));
                    return Err(error);
                }
            }
        }
        let mut held = MutexGuard::try_map(kept, |kept| kept.session.as_mut()).map_err(|_| busy())?;
        held.have_until(until);
        Ok(held)
    }
}
