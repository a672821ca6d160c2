//! Ranges of one version of an object.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::pin::Pin;
use super::{errors, runtime};
use crate::error::{Error, Kind, Result};
use crate::io::{Fetch, Taker};

/// Requests for parts of a store that are under way together.
pub(crate) const MAX_REQUESTS: usize = 64;

/// An object, and which version of it.
#[derive(Clone)]
pub(crate) struct ObjectFetch {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) pin: Arc<Mutex<Pin>>,
    pub(crate) requests: Arc<Semaphore>,
}

impl Fetch for ObjectFetch {
    fn fetch(&self, range: Range<u64>, take: Taker) {
        let this = self.clone();
        // What cannot be started is dropped, and who waits for it fails in time.
        let started = runtime::start(async move { take(runtime::in_time(this.get(range)).await) });
        started.unwrap_or_else(|error| log::error!("{error}"));
    }
}

impl ObjectFetch {
    /// Fails unless the object is there, and of the version.
    pub(crate) async fn check(&self) -> Result<()> {
        let answer = self.request(GetOptions { head: true, ..GetOptions::default() }).await?;
        self.pin.lock().check(&answer.meta)
    }

    async fn get(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let _turn = self.requests.acquire().await;
        let range_of = Some(GetRange::Bounded(range.clone()));
        let answer = self.request(GetOptions { range: range_of, ..GetOptions::default() }).await?;
        self.pin.lock().check(&answer.meta)?;
        let wrong = || Error::new(Kind::Os(libc::EIO), "the server answers with another range");
        if answer.range != range {
            return Err(wrong());
        }
        let len = usize::try_from(range.end - range.start).map_err(|_| wrong())?;
        let (mut bytes, mut stream) = (Vec::with_capacity(len), answer.into_stream());
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| errors::of(&error))?;
            if piece.len() > len - bytes.len() {
                return Err(wrong());
            }
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() == len { Ok(bytes) } else { Err(wrong()) }
    }

    async fn request(&self, options: GetOptions) -> Result<object_store::GetResult> {
        let if_match = self.pin.lock().if_match();
        let failed = match self.store.get_opts(&self.path, GetOptions { if_match, ..options }).await {
            Ok(answer) => return Ok(answer),
            Err(error) => errors::of(&error),
        };
        if failed.kind() != Kind::Stale {
            return Err(failed);
        }
        // Some servers say of an object that is not there that it is none of that version.
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&self.path, head).await.map_err(|error| errors::of(&error)) {
            Err(error) if error.kind() == Kind::NotFound => Err(error),
            _ => Err(failed),
        }
    }
}
