//! The threads that requests are made by. They are started with the first request, and never end: a process that is going to
//! execute itself anew in the background makes none before.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::error::{Error, Kind, Result};
use crate::io::Cancel;

/// How long anything may take that is asked of a store: less than a request to the filesystem.
pub(crate) const LIMIT: Duration = Duration::from_secs(28);
/// How often who waits looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).thread_name("objects").enable_all().build()
});

fn runtime() -> Result<&'static Runtime> {
    RUNTIME.as_ref().map_err(|error| Error::from(io::Error::from(error.kind())))
}

/// Does work beside whoever asks for it.
pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    runtime()?.spawn(work);
    Ok(())
}

/// Does work and waits for it, for a bounded time. No thread of the runtime may call this.
pub(crate) fn wait<T>(stop: &Cancel, work: impl Future<Output = Result<T>>) -> Result<T> {
    stop.check()?;
    runtime()?.block_on(async {
        let raised = async {
            while !stop.is_cancelled() {
                sleep(LOOK).await;
            }
        };
        match select(pin!(in_time(work)), pin!(raised)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => stop.check().and_then(|()| Err(late())),
        }
    })
}

/// Fails when work takes too long.
pub(crate) async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LIMIT, work).await.unwrap_or_else(|_| Err(late()))
}

fn late() -> Error {
    Error::new(Kind::TimedOut, "the store did not answer in time")
}
