//! Answers of servers, before object_store reads them: none is longer than it may be, those that refuse are told apart, and a list has no
//! names that would spoil the others.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, Result};

use super::names_in_lists::{lists, without_bad_names};

/// The longest answer that is no part: a page of a list. (A WebDAV folder is one page.)
const MAX_ANSWER: usize = 64 << 20;
/// What of an answer that refuses is read, so that the connection can be used again.
const MAX_REFUSAL: usize = 64 << 10;

/// Where machines of a provider have their credentials, and others have nothing.
const MACHINE: [&str; 3] = ["169.254.169.254", "metadata.google.internal", "metadata"];

/// Why a server did not do what it was asked to. Nothing of what it says is repeated: whoever writes into a store writes into it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Asking again is no use.
    Refused(u16),
    /// It may do it later.
    Busy(u16),
    /// Ranges are answered by the whole.
    WholeInstead,
    /// Nobody knows who it is.
    Untrusted(String),
    TooLong,
    NoList,
    NoCredentials,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Refused(status @ 300..=399) => {
                write!(f, "the server answers {status}: the store is in another region, or elsewhere")
            }
            Refusal::Refused(401) => write!(f, "the store refuses it: no credentials, or wrong ones (401)"),
            Refusal::Refused(403) => write!(f, "the store refuses it: it is not permitted (403)"),
            Refusal::Refused(404) => write!(f, "it is not there"),
            Refusal::Refused(status) | Refusal::Busy(status) => write!(f, "the server answers {status}"),
            Refusal::WholeInstead => write!(f, "the server does not answer requests for ranges"),
            Refusal::Untrusted(why) => write!(f, "there is no secure connection to the server: {why}"),
            Refusal::TooLong => write!(f, "the answer of the server is too long"),
            Refusal::NoCredentials => {
                write!(f, "the environment has no credentials for it, and neither has the machine")
            }
            Refusal::NoList => write!(f, "the server answers with something else than a list"),
        }
    }
}

impl StdError for Refusal {}

impl Refusal {
    fn into_error(self) -> HttpError {
        let kind =
            if matches!(self, Refusal::Busy(_)) { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
        HttpError::new(kind, self)
    }
}

/// Makes clients whose answers are as this module says.
#[derive(Debug, Default)]
pub(crate) struct Connector(ReqwestConnector);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Service(HttpClient);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_range = request.headers().contains_key("range");
        let is_list = request.method().as_str() == "PROPFIND"
            || request.method() == "GET" && request.uri().query().is_some_and(lists);
        let asks_machine = request.uri().host().is_some_and(|host| MACHINE.contains(&host));
        let answer = match self.0.execute(request).await {
            Err(_) if asks_machine => return Err(Refusal::NoCredentials.into_error()),
            Ok(answer) if asks_machine && answer.status().is_client_error() => {
                return Err(Refusal::NoCredentials.into_error());
            }
            answer => answer.map_err(without_trust)?,
        };
        let (head, body) = answer.into_parts();
        match head.status.as_u16() {
            206 => Ok(HttpResponse::from_parts(head, body)),
            200..300 if is_range => Err(Refusal::WholeInstead.into_error()),
            200..300 => {
                let limited = Limited::new(body, MAX_ANSWER).collect().await;
                let bytes = limited.map_err(of_body)?.to_bytes();
                let body = match is_list {
                    true => without_bad_names(&bytes).ok_or_else(|| Refusal::NoList.into_error())?.into(),
                    false => bytes.into(),
                };
                Ok(HttpResponse::from_parts(head, body))
            }
            // These object_store tells apart, but for lists.
            304 | 404 | 405 | 409 | 412 if !is_list => {
                let _ = Limited::new(body, MAX_REFUSAL).collect().await;
                Ok(HttpResponse::from_parts(head, HttpResponseBody::from(String::new())))
            }
            // The range lies behind the end: it was longer when it was looked at.
            416 => {
                let mut answer = HttpResponse::new(HttpResponseBody::from(String::new()));
                *answer.status_mut() = 412u16.try_into().map_err(|_| Refusal::Refused(416).into_error())?;
                Ok(answer)
            }
            status @ (408 | 429 | 500..) => {
                let _ = Limited::new(body, MAX_REFUSAL).collect().await;
                Err(Refusal::Busy(status).into_error())
            }
            status => {
                let _ = Limited::new(body, MAX_REFUSAL).collect().await;
                Err(Refusal::Refused(status).into_error())
            }
        }
    }
}

/// What breaks off may be asked for again.
fn of_body(error: Box<dyn StdError + Send + Sync>) -> HttpError {
    match error.downcast::<HttpError>() {
        Ok(error) if error.kind() == HttpErrorKind::Timeout => *error,
        Ok(error) => HttpError::new(HttpErrorKind::Interrupted, *error),
        Err(_) => Refusal::TooLong.into_error(),
    }
}

/// Tells a server that is not trusted from one that cannot be reached: the latter may be later.
fn without_trust(error: HttpError) -> HttpError {
    let mut tls = None;
    let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = next {
        if error.is::<io::Error>() {
            tls = None;
        }
        tls = error.downcast_ref::<native_tls::Error>().map(ToString::to_string).or(tls);
        next = error.source();
    }
    match tls {
        Some(why) => Refusal::Untrusted(why).into_error(),
        // A connection that has just been closed fails in many ways.
        None if error.kind() == HttpErrorKind::Unknown => HttpError::new(HttpErrorKind::Interrupted, error),
        None => error,
    }
}
