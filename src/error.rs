//! One error type for the whole crate, and its one mapping to errno.
//!
//! An error says *what* is wrong (its [`Kind`] and message) and *where* (the context that each layer on the way
//! up puts in front: the part's name, the set's name). Texts never hold decrypted bytes.

use std::fmt;
use std::io;

/// What went wrong, as far as a program that only sees an errno can tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No such name.
    NotFound,
    /// The inode stood for something that has been replaced or is gone.
    Stale,
    /// Bytes that are not what their format says: damaged, truncated, or not an export at all.
    Damaged,
    /// Bytes that are in a part which is missing or cannot be read.
    MissingPart,
    /// Lines or segments turned out not to be as regular as their beginning promised.
    ///
    /// Never reaches a user: the reader is rebuilt with a full index and the read repeated.
    Irregular,
    /// None of the keys given is for any recipient of this message.
    NoKey,
    /// A key is for one of the recipients, but the content key does not come out of it.
    KeyRejected,
    /// A cipher, recipient type or encoding that cddsfs does not read, by name.
    Unsupported,
    /// The authentication tag of an AES-GCM message does not match its bytes.
    TagMismatch,
    /// A member that is encrypted inside its zip.
    Encrypted,
    /// The tree cannot be changed here.
    ReadOnly,
    /// The operation is never allowed on this kind of node.
    NotPermitted,
    /// The extended attribute does not exist.
    NoAttribute,
    /// A directory operation on a file.
    NotADirectory,
    /// A file operation on a directory.
    IsADirectory,
    /// A handle that is not open, or an argument that makes no sense.
    Invalid,
    /// The store did not answer in time.
    TimedOut,
    /// Someone asked for the work to end.
    Cancelled,
    /// A system call failed; the raw errno.
    Os(i32),
}

impl Kind {
    /// Returns the errno that a caller of the filesystem sees.
    pub(crate) fn errno(self) -> i32 {
        match self {
            Kind::NotFound => libc::ENOENT,
            Kind::Stale => libc::ESTALE,
            Kind::Damaged | Kind::MissingPart | Kind::Irregular => libc::EIO,
            Kind::NoKey => libc::ENOKEY,
            Kind::KeyRejected => libc::EKEYREJECTED,
            Kind::Unsupported => libc::EOPNOTSUPP,
            Kind::TagMismatch => libc::EBADMSG,
            Kind::Encrypted => libc::EACCES,
            Kind::ReadOnly => libc::EROFS,
            Kind::NotPermitted => libc::EPERM,
            Kind::NoAttribute => libc::ENODATA,
            Kind::NotADirectory => libc::ENOTDIR,
            Kind::IsADirectory => libc::EISDIR,
            Kind::Invalid => libc::EINVAL,
            Kind::TimedOut => libc::ETIMEDOUT,
            Kind::Cancelled => libc::ECANCELED,
            Kind::Os(errno) => errno,
        }
    }

    /// Returns true for failures of the moment: a retry may succeed although the store has not changed.
    pub(crate) fn is_transient(self) -> bool {
        matches!(self, Kind::Os(_) | Kind::TimedOut | Kind::Cancelled)
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    message: String,
    /// How to put it right, if there is a way.
    hint: Option<String>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), hint: None }
    }

    /// Shorthand for [`Kind::Damaged`], the most common kind.
    pub fn damaged(message: impl Into<String>) -> Error {
        Error::new(Kind::Damaged, message)
    }

    /// Shorthand for [`Kind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(Kind::Unsupported, message)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn errno(&self) -> i32 {
        self.kind.errno()
    }

    /// Returns false where nothing is wrong: the work was cancelled, or what was asked for is gone.
    pub(crate) fn is_a_fault(&self) -> bool {
        self.kind != Kind::Cancelled && self.errno() != libc::ENOENT
    }

    /// Adds how to put it right.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Returns how to put it right. The hint is not part of the message, so that a log entry stays one line.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Puts the place in front of the message.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Error {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Error::new(Kind::Os(errno), error.to_string())
    }
}

/// Adds the place to the error of a result.
pub(crate) trait At<T> {
    fn at(self, place: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> At<T> for std::result::Result<T, E> {
    fn at(self, place: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_errno_that_the_manual_promises() {
        let table = [
            (Kind::NotFound, libc::ENOENT),
            (Kind::Stale, libc::ESTALE),
            (Kind::Damaged, libc::EIO),
            (Kind::NoKey, libc::ENOKEY),
            (Kind::KeyRejected, libc::EKEYREJECTED),
            (Kind::Unsupported, libc::EOPNOTSUPP),
            (Kind::TagMismatch, libc::EBADMSG),
            (Kind::Encrypted, libc::EACCES),
            (Kind::ReadOnly, libc::EROFS),
            (Kind::NotPermitted, libc::EPERM),
            (Kind::NoAttribute, libc::ENODATA),
            (Kind::Cancelled, libc::ECANCELED),
            (Kind::Os(libc::EMFILE), libc::EMFILE),
        ];
        for (kind, errno) in table {
            assert_eq!(kind.errno(), errno, "{kind:?}");
            assert_ne!(kind.errno(), libc::ENOSYS, "the kernel would stop asking for every node");
        }
    }

    #[test]
    fn what_has_gone_or_is_not_waited_for_is_no_fault() {
        assert!(!Error::from(io::Error::from_raw_os_error(libc::ENOENT)).is_a_fault());
        assert!(!Error::new(Kind::Cancelled, "").is_a_fault());
        assert!(Error::damaged("").is_a_fault());
    }

    #[test]
    fn context_stands_in_front() {
        let error = Error::damaged("cut off").with_hint("get it again").at("x.z01.smime").at("export-1");
        assert_eq!(error.to_string(), "export-1: x.z01.smime: cut off");
        assert_eq!(error.hint(), Some("get it again"));
    }
}
