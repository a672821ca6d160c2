//! From the URL of a folder to the store that it is in.
//!
//! Credentials come from the environment, and from the machine where it has some, as object_store finds them; never from a URL.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::answers::Connector;
use super::provider::Provider;
use crate::error::{At, Error, Kind, Result};
use crate::store::address::Reach;
use crate::store::parts::Key;

const CONNECT: Duration = Duration::from_secs(3);
/// Without a byte.
const READ: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(20);
/// What fails is tried again for so long.
const RETRY: Duration = Duration::from_secs(25);

/// A folder of a store.
pub(crate) struct Folder {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The same store, where it lists page by page.
    pub(crate) pages: Option<Arc<dyn PaginatedListStore>>,
    pub(crate) prefix: Path,
    /// It is of one of the services, which write ETags as they have to and take parts; no WebDAV folder.
    pub(crate) is_service: bool,
    /// The URL, which has no secrets.
    pub(crate) place: String,
}

impl Folder {
    pub(crate) fn open(url: &str, options: &Reach) -> Result<Folder> {
        let url = parse(url)?;
        let place = url.to_string();
        let prefix =
            Path::from_url_path(url.path()).map_err(|_| invalid("its folder has an impossible name"));
        let (store, pages) = connect(&url, options).map_err(|error| error.at(&place))?;
        let prefix = prefix.map_err(|error| error.at(&place))?;
        Ok(Folder { store, is_service: pages.is_some(), pages, prefix, place })
    }

    /// Returns where the part of a key is.
    pub(crate) fn path(&self, key: &Key) -> Result<Path> {
        let path = if self.prefix.is_root() { key.to_string() } else { format!("{}/{key}", self.prefix) };
        Path::parse(path).map_err(|_| Error::new(Kind::NotFound, "no object has such a name"))
    }

    /// Returns what the path of an object is within the folder.
    pub(crate) fn within<'a>(&self, path: &'a Path) -> Option<&'a str> {
        match self.prefix.as_ref() {
            "" => Some(path.as_ref()),
            prefix => path.as_ref().strip_prefix(prefix)?.strip_prefix('/'),
        }
    }
}

/// Nothing is repeated of what is refused: it may hold a password.
fn parse(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|_| invalid("this is no URL of a store"))?;
    let has_secrets = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if has_secrets || url.fragment().is_some() {
        let hint = "credentials are taken from the environment, as AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_ACCOUNT_KEY, GOOGLE_APPLICATION_CREDENTIALS";
        return Err(invalid("the URL of a store has no user, no password and no '?' or '#'").with_hint(hint));
    }
    let is_bucket = !matches!(url.scheme(), "http" | "https");
    if url.host_str().is_none_or(str::is_empty) || is_bucket && url.port().is_some() {
        return Err(invalid("the URL of a store names a bucket, a container or a server"));
    }
    Ok(url)
}

type Store = (Arc<dyn ObjectStore>, Option<Arc<dyn PaginatedListStore>>);

fn connect(url: &Url, options: &Reach) -> Result<Store> {
    if let Some(endpoint) = &options.endpoint {
        parse(endpoint).map_err(|error| error.at("endpoint"))?;
    }
    let (client, retry) = (client(options)?, retry());
    let bucket = url.host_str().unwrap_or_default();
    match url.scheme() {
        "s3" => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(client);
            let builder = options.endpoint.iter().fold(builder, |b, endpoint| b.with_endpoint(endpoint));
            let builder = options.region.iter().fold(builder, |b, region| b.with_region(region));
            let builder = builder.with_retry(retry).with_http_connector(Connector::default());
            paged(builder.with_crypto_provider(Arc::new(Provider)).build())
        }
        "az" => {
            let builder =
                MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_client_options(client);
            let builder =
                options.endpoint.iter().fold(builder, |b, endpoint| b.with_endpoint(endpoint.clone()));
            let builder = builder.with_retry(retry).with_http_connector(Connector::default());
            paged(builder.with_crypto_provider(Arc::new(Provider)).build())
        }
        "gs" => {
            let builder =
                GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_client_options(client);
            let builder = options.endpoint.iter().fold(builder, |b, endpoint| b.with_base_url(endpoint));
            let builder = builder.with_retry(retry).with_http_connector(Connector::default());
            paged(builder.with_crypto_provider(Arc::new(Provider)).build())
        }
        "https" | "http" if url.scheme() == "https" || options.allow_http => {
            let builder =
                HttpBuilder::new().with_url(&url[..url::Position::BeforePath]).with_client_options(client);
            let store = builder.with_retry(retry).with_http_connector(Connector::default()).build();
            Ok((Arc::new(store.map_err(unusable)?), None))
        }
        "http" => Err(invalid("connections that are not encrypted are not allowed")),
        _ => Err(invalid("the URL of a store begins with s3://, az://, gs:// or https://")),
    }
}

fn paged<S: ObjectStore + PaginatedListStore>(store: object_store::Result<S>) -> Result<Store> {
    let store = Arc::new(store.map_err(unusable)?);
    Ok((store.clone(), Some(store)))
}

fn client(options: &Reach) -> Result<ClientOptions> {
    let client = ClientOptions::new()
        .with_allow_http(options.allow_http)
        .with_connect_timeout(CONNECT)
        .with_read_timeout(READ)
        .with_timeout(REQUEST);
    let Some(file) = &options.ca_file else { return Ok(client) };
    let pem = fs::read(file).at(file.display())?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(invalid("there is no certificate in PEM in it").at(file.display()));
    }
    Ok(certificates.into_iter().fold(client, ClientOptions::with_root_certificate))
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: usize::MAX, retry_timeout: RETRY }
}

/// Texts of object_store about settings may hold what they are set to.
fn unusable(_: object_store::Error) -> Error {
    let hint = "settings are taken from the environment: those that begin with AWS_, AZURE_ or GOOGLE_";
    invalid("its settings and credentials are not complete, or not right").with_hint(hint)
}

fn invalid(text: &str) -> Error {
    Error::new(Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> Error {
        Folder::open(url, &Reach::default()).err().unwrap_or_else(|| panic!("{url} is taken"))
    }

    #[test]
    fn urls_with_credentials_are_refused_and_not_repeated() {
        for url in [
            "s3://AKIA:geheim@bucket/x",
            "s3://geheim@bucket/x",
            "https://user:geheim@host/x",
            "az://container/x?sv=1&sig=geheim",
            "gs://bucket/x#geheim",
            "s3://bu cket:geheim@",
        ] {
            let error = refusal(url);
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for url in [
            "",
            "x",
            "/srv/store",
            "s3:",
            "s3:///x",
            "ftp://host/x",
            "http://host/x",
            "s3://b/x//y",
            "s3://b/%00",
        ] {
            assert_eq!(refusal(url).kind(), Kind::Invalid, "{url}");
        }
        let options = Reach { endpoint: Some("http://u:geheim@x".into()), ..Reach::default() };
        let error = Folder::open("s3://b/x", &options).err().unwrap();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }

    #[test]
    fn keys_are_within_the_folder() {
        let folder = |url| Folder::open(url, &Reach::default()).unwrap();
        let key = Key::new("x y.smime").unwrap();
        for (url, path) in
            [("s3://b", "x y.smime"), ("s3://b/", "x y.smime"), ("s3://b/a%20b/c/", "a b/c/x y.smime")]
        {
            let folder = folder(url);
            let found = folder.path(&key).unwrap();
            assert_eq!(found.as_ref(), path);
            assert_eq!(folder.within(&found), Some("x y.smime"));
        }
        let folder = folder("https://host/a");
        assert_eq!(folder.within(&Path::from("ab/x")), None);
        assert_eq!(folder.path(&Key::new("a\nb").unwrap()).err().unwrap().kind(), Kind::NotFound);
    }
}
