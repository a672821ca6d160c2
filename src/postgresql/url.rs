//! `postgres://USER@HOST[:PORT][/DB][?PARAMETERS]`, as libpq spells it (libpq-connect, 34.1.1.2).
//!
//! A URL is kept in settings, and shown: so there is no password in it, and nothing that depends on who reads it. The user
//! and a host must be named, and a file by its absolute path.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::tls::{self, Mode, Root};
use super::{Client, SCHEMES, Wait, pgpass};
use crate::error::{At, Error, Kind, Result};

/// Bytes of the longest one.
const LONGEST: usize = 4 << 10;

/// Each address of a host is tried for so long, if the URL has no `connect_timeout`.
const CONNECT: Duration = Duration::from_secs(3);
/// After so long without an answer of its system a host is taken for gone, if the URL does not say otherwise.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(10);
const PROBES: Duration = Duration::from_secs(5);

/// Names a database and how it is reached.
#[derive(Clone)]
pub struct Url {
    /// Without its parameters.
    shown: String,
    config: Config,
    tls: tls::Settings,
}

impl Url {
    pub fn parse(text: &str) -> Result<Url> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let Some(rest) = SCHEMES.iter().find_map(|scheme| base.strip_prefix(scheme)) else {
            return Err(invalid("a PostgreSQL URL begins with postgres://"));
        };
        if text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(invalid("a PostgreSQL URL is one line of at most 4096 bytes"));
        }
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') {
            return Err(password_given());
        }
        let mut given = Given::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            given.take(pair)?;
        }
        let (mode, root) = (given.mode, given.root);
        let tls = tls::Settings { mode, root };
        let mut config = Config::from_str(&format!("{base}?{}", given.others.join("&"))).map_err(refused)?;
        config.ssl_mode(mode.asked());
        if config.get_password().is_some() {
            return Err(password_given());
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("the URL names no host: postgres://USER@HOST:PORT/DATABASE"));
        }
        if config.get_user().is_none_or(str::is_empty) {
            return Err(invalid("the URL names no user: postgres://USER@HOST:PORT/DATABASE"));
        }
        bound(&mut config, &given.keys);
        let shown = format!("postgres://{rest}");
        Ok(Url { shown, config, tls })
    }

    /// Connects. That takes no longer than `wait` says.
    pub fn connect(&self, wait: Wait) -> Result<Client> {
        self.try_connect(wait).at(self)
    }

    fn try_connect(&self, wait: Wait) -> Result<Client> {
        let mut config = self.config.clone();
        if let Some(password) = pgpass::password(&self.account())? {
            config.password(password);
        }
        Client::connect(&config, self.tls.connector()?, wait)
    }

    /// What a password is looked up for.
    fn account(&self) -> pgpass::Account {
        let config = &self.config;
        let user = config.get_user().unwrap_or_default();
        let names = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.to_string_lossy().into_owned(),
        });
        let numbers = config.get_hostaddrs().iter().map(ToString::to_string);
        let hosts = if config.get_hosts().is_empty() { numbers.collect() } else { names.collect() };
        let ports = config.get_ports();
        let ports = if ports.is_empty() { vec![5432] } else { ports.to_vec() };
        let database = config.get_dbname().unwrap_or(user).to_owned();
        pgpass::Account { hosts, ports, database, user: user.to_owned() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Url").field(&self.shown).finish()
    }
}

/// The parameters of a URL.
#[derive(Default)]
struct Given {
    mode: Mode,
    root: Option<Root>,
    keys: Vec<String>,
    /// Those that `tokio_postgres` understands.
    others: Vec<String>,
}

impl Given {
    fn take(&mut self, pair: &str) -> Result<()> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decoded(key)?;
        match key.as_str() {
            "password" => return Err(password_given()),
            "sslmode" => self.mode = Mode::parse(&decoded(value)?)?,
            "sslrootcert" => self.root = Some(Root::parse(&decoded(value)?)?),
            _ => self.others.push(pair.to_owned()),
        }
        self.keys.push(key);
        Ok(())
    }
}

fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| invalid("the URL has a parameter that is not UTF-8"))
}

/// Bounds in time what the URL leaves unbounded.
fn bound(config: &mut Config, keys: &[String]) {
    let is_free = |key: &str| !keys.iter().any(|given| given == key);
    if is_free("connect_timeout") {
        config.connect_timeout(CONNECT);
    }
    if is_free("tcp_user_timeout") {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    if is_free("keepalives_idle") {
        config.keepalives_idle(IDLE);
    }
    if is_free("keepalives_interval") {
        config.keepalives_interval(PROBES);
    }
    if is_free("keepalives_retries") {
        config.keepalives_retries(2);
    }
    if is_free("application_name") {
        config.application_name("cddsfs");
    }
}

fn invalid(text: &str) -> Error {
    Error::new(Kind::Invalid, text)
}

/// The library names what it does not understand, and never a value.
fn refused(error: tokio_postgres::Error) -> Error {
    let why = error.into_source().map_or_else(String::new, |source| format!(": {source}"));
    Error::new(Kind::Invalid, format!("not a PostgreSQL URL{why}"))
}

fn password_given() -> Error {
    invalid(
        "a password belongs in no URL, which is shown and kept: put it into ~/.pgpass (mode 0600), the file that \
         PGPASSFILE names, or PGPASSWORD",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Url::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_url_names_a_database_and_how_it_is_reached() {
        let url = Url::parse(
            "postgresql://me%40x@db.example:5433/hist%C3%B6ry?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&\
             options=-csearch_path%3Darchive",
        )
        .unwrap();
        assert_eq!(url.to_string(), "postgres://me%40x@db.example:5433/hist%C3%B6ry");
        assert_eq!(url.config.get_options(), Some("-csearch_path=archive"));
        assert_eq!(url.config.get_connect_timeout(), Some(&CONNECT));
        let account = url.account();
        assert_eq!((account.hosts, account.ports), (vec!["db.example".to_owned()], vec![5433]));
        assert_eq!((account.user.as_str(), account.database.as_str()), ("me@x", "histöry"));
        assert_eq!(
            url.tls,
            tls::Settings { mode: Mode::VerifyFull, root: Some(Root::File("/etc/ca.pem".into())) }
        );
        let url = Url::parse("postgres://me@h?connect_timeout=7").unwrap();
        assert_eq!(url.account().database, "me");
        assert_eq!(url.config.get_connect_timeout(), Some(&Duration::from_secs(7)));
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in [
            "postgres://me:secret@h/db",
            "postgres://me:@h/db",
            "postgres://me:sec@ret@h/db",
            "postgres://me@h/db?password=secret",
            "postgres://me@h/db?p%61ssword=secret",
        ] {
            let said = refusal(text);
            assert!(said.starts_with("a password belongs in no URL") && !said.contains("sec"), "{said}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, expected) in [
            ("mysql://me@h/db", "a PostgreSQL URL begins with postgres://"),
            ("postgres://h/db", "the URL names no user: postgres://USER@HOST:PORT/DATABASE"),
            ("postgres:///db?user=me", "the URL names no host: postgres://USER@HOST:PORT/DATABASE"),
            (
                "postgres://me@h/db?sslmode=maybe",
                "sslmode is disable, prefer, require, verify-ca or verify-full",
            ),
            (
                "postgres://me@h/db?sslrootcert=ca.pem",
                "sslrootcert is the absolute path of a file, or system",
            ),
            ("postgres://me@h/db?colour=red", "not a PostgreSQL URL: unknown option `colour`"),
            ("postgres://me@h:port/db", "not a PostgreSQL URL: invalid value for option `port`"),
        ] {
            assert_eq!(refusal(text), expected);
        }
        assert!(refusal("postgres://me@h/a\nb").starts_with("a PostgreSQL URL is one line"));
    }
}
