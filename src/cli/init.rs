//! `cddsfs init STORE --cert CERT.pem [--source DB] [--retention DAYS|never]`

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use super::exit::{Because, Failure, Reason};
use super::logging;
use super::show;
use super::store;
use crate::crypto::Certificate;
use crate::error::{At, Error, Kind, Result};
use crate::export::certificate::expiry_warning;
use crate::export::run::certificate_json;
use crate::export::source::{self, SourceSpec};
use crate::format::text::timestamp;
use crate::store::address::Address;
use crate::store::managed::Managed;
use crate::store::retention::Retention;

#[derive(Args)]
#[command(after_help = "Examples:
  openssl req -x509 -newkey rsa:3072 -nodes -keyout private.pem -out cert.pem -days 365 -subj /O=Example/CN=exports
  cddsfs init ~/exports-store --cert cert.pem --source history.db
  cddsfs init ~/exports-store --cert next-year.pem      (replaces the certificate; artifacts keep theirs)

The private key stays with you: exports are encrypted to the certificate, and only the key opens them.")]
pub(crate) struct Arguments {
    /// New or empty directory, a database of PostgreSQL (postgres://USER@HOST/DATABASE) for several hosts, or a store that
    /// is there already
    #[arg(value_parser = store::address())]
    store: Address,
    /// Where the parts of artifacts are to be, if not in the directory: s3://BUCKET/FOLDER (also az://, gs://), or a
    /// directory; with a catalogue in a database one that all hosts reach by that name
    #[arg(long, value_name = "PLACE", value_parser = store::address())]
    parts: Option<Address>,
    #[command(flatten)]
    reach: store::ReachArguments,
    /// X.509 certificate, PEM, that exports are encrypted to (RSA of 2048 bits or more)
    #[arg(long, value_name = "CERT.pem")]
    cert: Option<PathBuf>,
    /// Contact-history database that exports come from: a file of SQLite, or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "DB")]
    source: Option<PathBuf>,
    /// Days that exports are kept, or never to delete any (default: 30)
    #[arg(long, value_name = "DAYS|never", value_parser = parse_retention)]
    retention: Option<Retention>,
    /// Shorten the retention although artifacts that are there expire by it at once
    #[arg(long)]
    yes: bool,
    /// How content keys are encrypted: pkcs1, which every tool reads, or oaep (openssl cms, not smime)
    #[arg(long, value_name = "NAME", value_enum)]
    key_transport: Option<Transport>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    /// RSAES-PKCS1-v1_5 (the default)
    Pkcs1,
    /// RSAES-OAEP with SHA-256
    Oaep,
}

fn parse_retention(text: &str) -> std::result::Result<Retention, String> {
    const MAX_DAYS: u32 = 36_500;
    if text == "never" {
        return Ok(Retention::Never);
    }
    let days = text.parse().ok().filter(|days| (1..=MAX_DAYS).contains(days));
    days.map(Retention::Days).ok_or_else(|| format!("a number of days from 1 to {MAX_DAYS}, or never"))
}

pub(crate) fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    logging::start();
    let is_new = !Managed::is_at(&arguments.store).because(Reason::Store)?;
    if is_new && arguments.cert.is_none() {
        return Err(Failure::usage("a new store needs a certificate")
            .with_hint("give --cert CERT.pem; cddsfs init --help shows how to make one"));
    }
    // Everything is checked before anything is changed.
    let certificate = arguments.cert.as_deref().map(load).transpose().because(Reason::Key)?;
    let source = arguments.source.as_deref().map(source).transpose().because(Reason::Store)?;
    let store =
        Managed::init_at(&arguments.store, arguments.parts.as_ref(), &arguments.reach.reach(), is_new)
            .because(Reason::Store)?;
    if let Some(retention) = arguments.retention.filter(|_| !arguments.yes) {
        refuse_to_expire(&store, retention, SystemTime::now())?;
    }
    if let Some(certificate) = &certificate {
        certificate.to_pem().and_then(|pem| store.catalogue.set_certificates(&pem)).because(Reason::Store)?;
    }
    if let Some(source) = &source {
        store.catalogue.set_source(source).because(Reason::Store)?;
    }
    if let Some(retention) = arguments.retention {
        store.catalogue.set_retention(retention).because(Reason::Store)?;
    }
    if let Some(transport) = arguments.key_transport {
        store.catalogue.set_oaep(transport == Transport::Oaep).because(Reason::Store)?;
    }
    report(arguments, &store, is_new, certificate.as_ref()).because(Reason::Store)
}

/// Refuses a retention by which artifacts expire at once that have not expired before.
fn refuse_to_expire(
    store: &Managed,
    retention: Retention,
    now: SystemTime,
) -> std::result::Result<(), Failure> {
    let before = store.catalogue.retention().because(Reason::Store)?;
    let mut artifacts = store.catalogue.artifacts().because(Reason::Store)?;
    // By a clock that is behind nothing would seem to expire.
    let known = [store.catalogue.confirmed_clock().because(Reason::Store)?];
    let known = known.into_iter().flatten().chain(artifacts.iter().map(|artifact| artifact.made));
    let now = known.fold(now, SystemTime::max);
    artifacts.retain(|artifact| {
        retention.has_expired(artifact.made, now) && !before.has_expired(artifact.made, now)
    });
    if artifacts.is_empty() {
        return Ok(());
    }
    let size = artifacts.iter().flat_map(|artifact| &artifact.parts).map(|part| part.size).sum();
    let text = format!(
        "with a retention of {retention} {} of {} expire at once and are deleted; nothing has been changed",
        if artifacts.len() == 1 { "1 artifact".into() } else { format!("{} artifacts", artifacts.len()) },
        show::size(size)
    );
    Err(Failure::new(Reason::Refused, text)
        .with_hint("cddsfs artifacts STORE lists them; give --yes to have it so all the same"))
}

fn load(path: &std::path::Path) -> Result<Certificate> {
    let pem = std::fs::read(path).at(path.display())?;
    let certificate = Certificate::from_pem(&pem).at(path.display())?;
    certificate.check(SystemTime::now()).at(path.display())?;
    Ok(certificate)
}

/// Checks that a database can be exported from, and returns its URL or its absolute path.
fn source(given: &std::path::Path) -> Result<String> {
    let not_unicode = || Error::new(Kind::Invalid, format!("{}: the path is not UTF-8", given.display()));
    let text = given.to_str().ok_or_else(not_unicode)?;
    let spec = match SourceSpec::parse(text) {
        SourceSpec::Sqlite(path) => SourceSpec::Sqlite(std::fs::canonicalize(path).at(given.display())?),
        url => url,
    };
    source::open(&spec)?.check()?;
    match spec {
        SourceSpec::Sqlite(path) => path.into_os_string().into_string().map_err(|_| not_unicode()),
        SourceSpec::Postgres(url) => Ok(url),
    }
}

fn report(
    arguments: &Arguments,
    store: &Managed,
    is_new: bool,
    certificate: Option<&Certificate>,
) -> Result<()> {
    let name = &arguments.store;
    eprintln!("{name}: {}", if is_new { "a new store" } else { "the store is there already" });
    if let Some(certificate) = certificate {
        eprintln!(
            "  certificate  {}, valid to {}",
            certificate.subject(),
            timestamp(certificate.not_after())
        );
        if let Some(warning) = expiry_warning(&certificate_json(certificate), SystemTime::now()) {
            eprintln!("  warning      {warning}");
        }
    }
    match store.catalogue.source()? {
        Some(source) => eprintln!("  source       {source}"),
        None => eprintln!("  source       none yet: cddsfs init {name} --source DB"),
    }
    match store.catalogue.retention()? {
        days @ Retention::Days(_) => eprintln!("  retention    {days}"),
        Retention::Never => eprintln!("  retention    artifacts are never deleted"),
    }
    Ok(())
}
