//! A connection that is asked one statement after another, and waits for none without end.
//!
//! A server can be frozen, or cut off, and its system still acknowledge what is sent: no timeout of TCP ends that, nor one
//! of the server's. So every wait looks at the time and at what cancels it. One that is given up costs the connection:
//! the server is asked to cancel, briefly, and the connection is closed.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, Stream};
use postgres_openssl::MakeTlsConnector;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row, RowStream, Statement, ToStatement};

use super::Failure;
use crate::error;
use crate::io::Cancel;

/// Between two looks at what ends a wait.
const LOOK: Duration = Duration::from_millis(100);
/// How long the server is asked to cancel what it does.
const CANCELLING: Duration = Duration::from_millis(500);
/// A connection is there after so long, or not at all.
const CONNECTING: Duration = Duration::from_secs(10);

/// Rows that are taken at once where they are there, and their bytes.
const AT_ONCE: usize = 64;
const AT_ONCE_BYTES: usize = 256 << 10;

/// What ends a wait for the server.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    pub(crate) cancel: Cancel,
    /// How long a statement may give nothing.
    pub(crate) time: Option<Duration>,
}

pub(crate) struct Client {
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
    client: tokio_postgres::Client,
    connection: JoinHandle<()>,
    tls: MakeTlsConnector,
    wait: Wait,
}

impl Client {
    pub(super) fn connect(config: &Config, tls: MakeTlsConnector, wait: Wait) -> error::Result<Client> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connecting =
            Wait { time: Some(wait.time.map_or(CONNECTING, |time| time.min(CONNECTING))), ..wait.clone() };
        let connected = connecting.bound(&runtime, config.connect(tls.clone()));
        let (client, mut connection) = match connected {
            Ok(connected) => connected,
            Err(failure) => {
                runtime.shutdown_background();
                return Err(failure.into());
            }
        };
        // Notices of the server, which may quote rows, are in no log.
        let connection = runtime.spawn(async move {
            while let Some(Ok(_)) = poll_fn(|context| connection.poll_message(context)).await {}
        });
        Ok(Client { runtime: Some(runtime), client, connection, tls, wait })
    }

    /// Returns true if nothing can be asked any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Executes statements that have no parameters, one after another.
    pub(crate) fn batch_execute(&mut self, sql: &str) -> Result<(), Failure> {
        let done = self.bound(self.client.batch_execute(sql));
        self.settle(done)
    }

    /// Returns the number of rows that a statement has changed.
    pub(crate) fn execute<T: ?Sized + ToStatement>(
        &mut self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Failure> {
        let done = self.bound(self.client.execute(statement, values));
        self.settle(done)
    }

    /// Returns all rows, which have to be few.
    pub(crate) fn query<T: ?Sized + ToStatement>(
        &mut self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        let done = self.bound(self.client.query(statement, values));
        self.settle(done)
    }

    /// Gives `COPY ... FROM STDIN` what it reads.
    pub(crate) fn copy_in(&mut self, sql: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        let copying = async {
            let mut sink = pin!(self.client.copy_in(sql).await?);
            sink.send(io::Cursor::new(bytes)).await?;
            sink.finish().await
        };
        let done = self.bound(copying);
        self.settle(done).map(drop)
    }

    pub(crate) fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        let done = self.bound(self.client.prepare(sql));
        self.settle(done)
    }

    /// Returns rows one after another. What is not read of them is read before the next statement.
    pub(crate) fn rows<T: ?Sized + ToStatement>(
        &mut self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Rows<'_>, Failure> {
        let done = self.bound(self.client.query_raw(statement, values.iter().copied()));
        let stream = Box::pin(self.settle(done)?);
        Ok(Rows { client: self, stream, ready: VecDeque::new(), has_ended: false })
    }

    fn bound<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
        match &self.runtime {
            Some(runtime) => self.wait.bound(runtime, work),
            None => Err(Failure::Cancelled),
        }
    }

    /// Gives the connection up after a wait that was.
    fn settle<T>(&mut self, done: Result<T, Failure>) -> Result<T, Failure> {
        if let (Err(Failure::TimedOut(_) | Failure::Cancelled), Some(runtime)) = (&done, &self.runtime) {
            let token = self.client.cancel_token();
            runtime.block_on(async {
                let _ = timeout(CANCELLING, token.cancel_query(self.tls.clone())).await;
                self.connection.abort();
                let _ = (&mut self.connection).await;
            });
        }
        done
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may be looking a name up, which nothing ends.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Wait {
    fn bound<T>(
        &self,
        runtime: &Runtime,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                if self.cancel.is_cancelled() {
                    return Err(Failure::Cancelled);
                }
                if let Ok(done) = timeout(LOOK, &mut work).await {
                    return done.map_err(Failure::Said);
                }
                if let Some(time) = self.time.filter(|&time| begun.elapsed() >= time) {
                    return Err(Failure::TimedOut(time));
                }
            }
        })
    }
}

/// Rows as they come.
pub(crate) struct Rows<'c> {
    client: &'c mut Client,
    stream: Pin<Box<RowStream>>,
    ready: VecDeque<Row>,
    has_ended: bool,
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, Failure>;

    fn next(&mut self) -> Option<Result<Row, Failure>> {
        if self.ready.is_empty()
            && !self.has_ended
            && let Err(failure) = self.take()
        {
            self.has_ended = true;
            return Some(Err(failure));
        }
        self.ready.pop_front().map(Ok)
    }
}

impl Rows<'_> {
    /// Waits for the next row, and takes those that are there with it.
    fn take(&mut self) -> Result<(), Failure> {
        let (stream, ready) = (&mut self.stream, &mut self.ready);
        let taking = poll_fn(|context| {
            let mut bytes = 0;
            while ready.len() < AT_ONCE && bytes < AT_ONCE_BYTES {
                match stream.as_mut().poll_next(context) {
                    Poll::Ready(Some(Ok(row))) => {
                        bytes += row.raw_size_bytes();
                        ready.push_back(row);
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(true)),
                    Poll::Pending if ready.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(false))
        });
        let taken = self.client.bound(taking);
        self.has_ended = self.client.settle(taken)?;
        Ok(())
    }
}
