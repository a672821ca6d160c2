//! A part on its way into a store, in pieces.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use futures_util::FutureExt;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::sync::oneshot;

use super::{errors, runtime};
use crate::error::{Error, Kind, Result};
use crate::io::Cancel;
use crate::store::parts::PartSink;

/// Bytes of each piece but the last. Ten thousand of them are as many as services take.
const PIECE: usize = 8 << 20;
/// Pieces that are under way while the next one is written.
const IN_FLIGHT: usize = 2;

/// An object that is there once it is finished. What is shorter than one piece goes in one request.
pub(crate) struct Sink {
    store: Arc<dyn ObjectStore>,
    path: Path,
    piece: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
    in_flight: VecDeque<oneshot::Receiver<Result<()>>>,
}

impl Sink {
    pub(crate) fn create(store: Arc<dyn ObjectStore>, path: Path) -> Sink {
        Sink { store, path, piece: Vec::new(), upload: None, in_flight: VecDeque::new() }
    }

    /// Sends a piece, and waits for earlier ones until no more than `left` are under way.
    fn send(&mut self, left: usize) -> Result<()> {
        if self.upload.is_none() {
            let upload =
                self.store.put_multipart(&self.path).map(|upload| upload.map_err(|error| errors::of(&error)));
            self.upload = Some(runtime::wait(&Cancel::new(), upload)?);
        }
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let sent = upload.put_part(PutPayload::from(mem::take(&mut self.piece)));
        let sent = runtime::in_time(sent.map(|sent| sent.map_err(|error| errors::of(&error))));
        let (tell, told) = oneshot::channel();
        runtime::start(async move { drop(tell.send(sent.await)) })?;
        self.in_flight.push_back(told);
        self.wait_until(left)
    }

    fn wait_until(&mut self, left: usize) -> Result<()> {
        while self.in_flight.len() > left {
            let Some(first) = self.in_flight.pop_front() else { return Ok(()) };
            runtime::wait(&Cancel::new(), async {
                let lost = Error::new(Kind::Os(libc::EIO), "the upload has broken off");
                first.await.unwrap_or(Err(lost))
            })?;
        }
        Ok(())
    }
}

impl PartSink for Sink {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let n = bytes.len().min(PIECE - self.piece.len());
            self.piece.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.piece.len() == PIECE {
                self.send(IN_FLIGHT)?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.upload.is_none() {
            let bytes = PutPayload::from(mem::take(&mut self.piece));
            let put = self.store.put(&self.path, bytes);
            return runtime::wait(
                &Cancel::new(),
                put.map(|put| put.map(drop).map_err(|error| errors::of(&error))),
            );
        }
        if !self.piece.is_empty() {
            self.send(0)?;
        }
        self.wait_until(0)?;
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let done = upload.complete().map(|done| done.map(drop).map_err(|error| errors::of(&error)));
        runtime::wait(&Cancel::new(), done)?;
        self.upload = None;
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        let in_flight = mem::take(&mut self.in_flight);
        // Nobody waits for it; what stays of an upload that is not taken back costs room until the store clears it away.
        let taken_back = runtime::start(async move {
            for piece in in_flight {
                let _ = piece.await;
            }
            if let Err(error) = upload.abort().await {
                log::warn!("an upload that was given up stays in the store: {}", errors::of(&error));
            }
        });
        taken_back.unwrap_or_else(|error| log::warn!("{error}"));
    }
}
