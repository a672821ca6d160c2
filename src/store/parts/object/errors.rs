//! What an error of object_store is here.

use std::error::Error as StdError;

use object_store::Error as StoreError;
use object_store::client::{HttpError, HttpErrorKind};

use super::answers::Refusal;
use crate::error::{Error, Kind};

/// Texts are our own: those of object_store repeat addresses, and what a server says.
pub(crate) fn of(error: &StoreError) -> Error {
    match error {
        StoreError::NotFound { .. } => Error::new(Kind::NotFound, "it is not there"),
        StoreError::Precondition { .. } => {
            Error::new(Kind::Stale, "it has been replaced since it was looked at")
        }
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => {
            Error::unsupported("this kind of store cannot do that")
        }
        other => of_chain(other),
    }
}

/// Looks for the reason among the causes.
fn of_chain(error: &StoreError) -> Error {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    let mut found = None;
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            let kind = match refusal {
                Refusal::Busy(_) => Kind::TimedOut,
                Refusal::NoCredentials | Refusal::Refused(401 | 403) => Kind::Os(libc::EACCES),
                Refusal::Refused(404) => Kind::NotFound,
                _ => Kind::Os(libc::EIO),
            };
            return Error::new(kind, refusal.to_string());
        }
        if let Some(error) = error.downcast_ref::<HttpError>() {
            found = found.or(Some(of_http(error.kind())));
        }
        next = error.source();
    }
    found.unwrap_or_else(|| Error::new(Kind::Os(libc::EIO), "the answer of the server cannot be understood"))
}

fn of_http(kind: HttpErrorKind) -> Error {
    let text = match kind {
        HttpErrorKind::Connect => "the server cannot be reached",
        HttpErrorKind::Timeout => "the server does not answer in time",
        _ => "the server breaks off its answers",
    };
    Error::new(Kind::TimedOut, text)
}
