//! A connection with the one transaction that is its snapshot, and what is said when that ends early.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::error::{At, Error, Result};
use crate::io::Cancel;
use crate::postgresql::{Client, Failure, Url, Wait};

/// A database that a store is given has to answer in time.
const CHECKING: Duration = Duration::from_secs(10);

/// Texts are spelled alike whatever the role or the database prefers, and rows come as soon as they are found.
const SETTINGS: &str = "
    SET LOCAL client_min_messages = error;
    SET LOCAL lock_timeout = '30s';
    SET LOCAL timezone = 'UTC';
    SET LOCAL datestyle = 'ISO, YMD';
    SET LOCAL intervalstyle = 'postgres';
    SET LOCAL bytea_output = 'hex';
    SET LOCAL extra_float_digits = 1;
    SET LOCAL xmloption = 'content';
    SET LOCAL standard_conforming_strings = on;
    SET LOCAL jit = off;
    SET LOCAL max_parallel_workers_per_gather = 0;";

/// An export may take hours, and its reader may be slow. Not every version has all of these.
const PATIENCE: &str = "
    SELECT set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name IN
      ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'idle_session_timeout')";

/// Begins the transaction that lasts as long as the connection.
pub(crate) fn open(url: &Url, cancel: &Cancel) -> Result<Client> {
    open_within(url, Wait { cancel: cancel.clone(), time: None })
}

pub(crate) fn open_to_check(url: &Url) -> Result<Client> {
    open_within(url, Wait { cancel: Cancel::new(), time: Some(CHECKING) })
}

fn open_within(url: &Url, wait: Wait) -> Result<Client> {
    let mut client = url.connect(wait)?;
    begin(&mut client, None).at(url)?;
    Ok(client)
}

fn begin(client: &mut Client, snapshot: Option<&str>) -> Result<()> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").said()?;
    if let Some(id) = snapshot {
        // SET takes no parameters.
        client.batch_execute(&format!("SET TRANSACTION SNAPSHOT '{}'", id.replace('\'', "''"))).said()?;
    }
    client.batch_execute(SETTINGS).said()?;
    client.batch_execute(PATIENCE).said()
}

/// Returns what others can see the same snapshot by.
pub(crate) fn export(client: &mut Client) -> Result<String> {
    let rows = client.query("SELECT pg_catalog.pg_export_snapshot()", &[]).said()?;
    let id = rows.first().and_then(|row| row.try_get(0).ok());
    id.ok_or_else(|| Error::damaged("the server exports no snapshot"))
}

/// Returns a connection that sees an exported snapshot.
pub(crate) fn open_same(url: &Url, id: &str, cancel: &Cancel) -> Result<Client> {
    let mut client = url.connect(Wait { cancel: cancel.clone(), time: None })?;
    begin(&mut client, Some(id)).at(url)?;
    Ok(client)
}

/// Turns what ends a statement into what the user should know.
pub(crate) trait Said<T> {
    fn said(self) -> Result<T>;
}

impl<T> Said<T> for std::result::Result<T, Failure> {
    fn said(self) -> Result<T> {
        self.map_err(|failure| {
            let remedy = remedy(&failure);
            let error = Error::from(failure);
            match remedy {
                Some(remedy) => Error::new(error.kind(), format!("{error}; {remedy}")),
                None => error,
            }
        })
    }
}

/// Returns what is to be done. It is a part of the message, which is all that a run keeps.
fn remedy(failure: &Failure) -> Option<&'static str> {
    let code = failure.code();
    if code == Some(&SqlState::T_R_SERIALIZATION_FAILURE) {
        return Some(
            "a standby has removed rows that the export was reading: set hot_standby_feedback = on there, or a longer \
             max_standby_streaming_delay, and start the export again",
        );
    }
    if code == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Some("the role needs USAGE of the schema and SELECT on the tables");
    }
    if code == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        return Some("another program has a table locked: start the export again");
    }
    let is_given_up = matches!(failure, Failure::Cancelled | Failure::TimedOut(_));
    let is_ended =
        code == Some(&SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT) || (failure.is_final() && !is_given_up);
    is_ended
        .then_some("the server has ended the connection, and with it the snapshot: start the export again")
}
