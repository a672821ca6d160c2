//! Parts in an object store: S3, Azure, Google, or a WebDAV folder (which is only read).
//!
//! A key is a path within the folder that the URL names. Of a store without a catalogue only what is directly in it counts. A part is
//! pinned by its ETag: every request says which version is meant, and every answer is compared with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, stream};
use object_store::{ObjectMeta, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Key, Left, Listing, PartRef, PartSink, Parts, Space, Version};
use crate::error::{At, Error, Kind, Result};
use crate::format::part_name;
use crate::io::{Background, Cancel, Next, ReadAt, Readahead, Reader, Remote, RemoteReader};
use crate::store::address::Reach;
use crate::store::names;
use crate::store::watch::{Announcer, Watch};

mod answers;
mod connect;
mod errors;
mod fetch;
mod list;
mod names_in_lists;
mod pin;
mod provider;
mod runtime;
mod sink;

use connect::Folder;
use fetch::{MAX_REQUESTS, ObjectFetch};
use pin::Pin;

/// The longest name that a file can be shown by.
const NAME_MAX: usize = 255;
/// Names beyond this are not told of.
const MAX_REFUSED: usize = 100;
/// What has been fetched ahead of an opening is of no use after this.
const STAYS_WARM: Duration = Duration::from_secs(10);
/// How long parts of artifacts that are gone are kept for those who read them.
const GRACE: Duration = Duration::from_secs(60 * 60);
/// Keys that are deleted within one time limit, and how many at once.
const DELETED_TOGETHER: usize = 500;
const DELETED_AT_ONCE: usize = 16;

/// A folder of an object store.
pub struct Object(Arc<Inner>);

struct Inner {
    folder: Folder,
    poll: Option<Duration>,
    readahead: Arc<Readahead>,
    requests: Arc<Semaphore>,
    /// Parts whose beginnings and ends are there for the next opening, or on their way.
    warm: Mutex<HashMap<(Key, Version), Warm>>,
    /// Of the last list that was asked for.
    listed: Mutex<Option<blake3::Hash>>,
    /// It is said that there are no ETags.
    is_told: AtomicBool,
    opened: SystemTime,
}

/// A part that was opened ahead, and when.
type Warm = (Instant, Arc<Remote>);

impl Object {
    /// Nothing is asked of the store yet.
    pub fn open(url: &str, options: &Reach) -> Result<Object> {
        Ok(Object(Arc::new(Inner {
            folder: Folder::open(url, options)?,
            poll: options.poll,
            readahead: Readahead::new(options.readahead),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            warm: Mutex::default(),
            listed: Mutex::default(),
            is_told: AtomicBool::new(false),
            opened: SystemTime::now(),
        })))
    }
}

impl Inner {
    fn part(&self, key: Key, name: &str, meta: &ObjectMeta) -> PartRef {
        let pin = Pin::of_meta(meta);
        pin::tell_without_tag(&pin, &self.folder.place, &self.is_told);
        PartRef {
            key,
            name: name.into(),
            size: meta.size,
            version: pin.to_version(),
            mtime: meta.last_modified.into(),
        }
    }

    fn list(&self, stop: &Cancel) -> Result<Listing> {
        let (mut unfinished, mut refused, mut mtime) = (Vec::new(), BTreeMap::new(), None);
        let parts = list::list(&self.folder, None, false, stop, |name, meta| {
            mtime = mtime.max(Some(SystemTime::from(meta.last_modified)));
            if !part_name::is_encrypted(name) && part_name::parse(name).is_none() {
                unfinished.extend(part_name::unfinished(name).next().map(|_| name.to_owned()));
                return None;
            }
            match Key::new(name) {
                Ok(key) if name.len() <= NAME_MAX => return Some(self.part(key, name, meta)),
                _ if refused.len() < MAX_REFUSED => {
                    refused.insert(name.to_owned(), "no file can have its name".to_owned());
                }
                _ => {}
            }
            None
        });
        let parts = parts.at(&self.folder.place)?;
        Ok(Listing { parts, unfinished, refused, mtime: mtime.unwrap_or(self.opened) })
    }

    /// A WebDAV folder takes no uploads in pieces.
    fn check_writable(&self) -> Result<()> {
        match self.folder.is_service {
            true => Ok(()),
            false => Err(Error::new(Kind::ReadOnly, "a WebDAV folder is only read")),
        }
    }

    fn fetch(&self, part: &PartRef) -> Result<ObjectFetch> {
        Ok(ObjectFetch {
            store: self.folder.store.clone(),
            path: self.folder.path(&part.key)?,
            pin: Arc::new(Mutex::new(Pin::of(part, self.folder.is_service))),
            requests: self.requests.clone(),
        })
    }

    fn remote(&self, part: &PartRef) -> Result<Arc<Remote>> {
        Ok(Arc::new(Remote::new(self.fetch(part)?, part.size, &self.readahead)))
    }

    /// Tells whenever the list is another one than that which was asked for last, until it is asked for again.
    fn look_for_changes(self: &Arc<Inner>, poll: Duration, announcer: Announcer) -> Result<Background> {
        let (this, mut has_failed) = (self.clone(), false);
        Background::start("poll", Next::After(poll), move |stop: &Cancel| {
            match this.list(stop) {
                Ok(listing) => {
                    if has_failed {
                        log::info!("{}: it can be listed again", this.folder.place);
                    }
                    has_failed = false;
                    if this.listed.lock().as_ref() != Some(&hash(&listing)) {
                        announcer.announce();
                    }
                }
                Err(error) if !has_failed && error.kind() != Kind::Cancelled => {
                    log::warn!("{error}: what was there is still shown");
                    has_failed = true;
                }
                Err(_) => {}
            }
            Next::After(poll)
        })
    }
}

/// Returns another hash for another list, whatever order it comes in.
fn hash(listing: &Listing) -> blake3::Hash {
    let mut parts: Vec<&PartRef> = listing.parts.iter().collect();
    parts.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let mut names: Vec<&str> =
        listing.unfinished.iter().chain(listing.refused.keys()).map(String::as_str).collect();
    names.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.key.as_str().as_bytes()).update(b"\0");
        part.version.hash_into(&mut hasher);
        hasher.update(b"\0");
    }
    for name in names {
        hasher.update(name.as_bytes()).update(b"\0");
    }
    hasher.finalize()
}

impl Parts for Object {
    fn list(&self, stop: &Cancel) -> Result<Listing> {
        let listing = self.0.list(stop)?;
        *self.0.listed.lock() = Some(hash(&listing));
        Ok(listing)
    }

    fn look(&self, recorded: &[PartRef], _stop: &Cancel) -> Result<Listing> {
        let mtime = recorded.iter().map(|part| part.mtime).max().unwrap_or(self.0.opened);
        Ok(Listing { parts: recorded.to_vec(), unfinished: Vec::new(), refused: BTreeMap::new(), mtime })
    }

    fn find(&self, key: &Key) -> Result<Option<PartRef>> {
        let path = self.0.folder.path(key)?;
        let head = runtime::wait(&Cancel::new(), async {
            self.0.folder.store.head(&path).await.map_err(|error| errors::of(&error))
        });
        match head {
            Ok(meta) => Ok(Some(self.0.part(key.clone(), path.filename().unwrap_or_default(), &meta))),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error.at(key)),
        }
    }

    fn warm(&self, parts: &[PartRef]) {
        let now = Instant::now();
        for part in parts {
            let Ok(remote) = self.0.remote(part) else { continue };
            remote.warm();
            let mut warm = self.0.warm.lock();
            warm.retain(|_, (since, _)| now.duration_since(*since) < STAYS_WARM);
            warm.insert((part.key.clone(), part.version.clone()), (now, remote));
        }
    }

    /// The first block is read, so that another version is noticed here.
    fn open(&self, part: &PartRef, stop: &Cancel) -> Result<Reader> {
        let warm = self.0.warm.lock().remove(&(part.key.clone(), part.version.clone()));
        let warm = warm.filter(|(since, _)| since.elapsed() < STAYS_WARM).map(|(_, remote)| remote);
        let remote = warm.map_or_else(|| self.0.remote(part), Ok).at(&part.name)?;
        let reader = RemoteReader::new(remote, stop);
        if part.size > 0 {
            reader.read_exact_at(&mut [0], 0).at(&part.name)?;
        } else {
            let fetch = self.0.fetch(part).at(&part.name)?;
            runtime::wait(stop, fetch.check()).at(&part.name)?;
        }
        Ok(Arc::new(reader))
    }

    fn create(&self, key: &Key) -> Result<Box<dyn PartSink>> {
        self.0.check_writable()?;
        Ok(Box::new(sink::Sink::create(self.0.folder.store.clone(), self.0.folder.path(key)?)))
    }

    /// No object can be renamed: keys stay.
    fn publish(&self, parts: &[(Key, String)], _made: SystemTime) -> Result<Vec<Key>> {
        Ok(parts.iter().map(|(key, _)| key.clone()).collect())
    }

    fn delete(&self, keys: &[Key]) -> Result<()> {
        self.0.check_writable()?;
        let mut failed = Ok(());
        for keys in keys.chunks(DELETED_TOGETHER) {
            let deleted = runtime::wait(&Cancel::new(), async {
                let delete = |key: &Key| {
                    let (store, path, key) =
                        (self.0.folder.store.clone(), self.0.folder.path(key), key.clone());
                    async move {
                        let Ok(path) = path else { return Ok(()) };
                        match store.delete(&path).await.map_err(|error| errors::of(&error)) {
                            Err(error) if error.kind() != Kind::NotFound => Err(error.at(key)),
                            _ => Ok(()),
                        }
                    }
                };
                let all = stream::iter(keys.iter().map(delete)).buffer_unordered(DELETED_AT_ONCE);
                all.fold(Ok(()), |failed, one| async { failed.and(one) }).await
            });
            failed = failed.and(deleted);
        }
        failed
    }

    fn left(&self, run: Option<&str>) -> Result<Vec<Left>> {
        let left = list::list(&self.0.folder, run, true, &Cancel::new(), |name, meta| {
            let mut names = name.split('/');
            let (of, fence) = (names.next()?, names.next()?.parse().ok()?);
            let is_ours = names::is_run_id(of) && run.is_none_or(|run| run == of) && names.count() == 1;
            let key = Key::new(name).ok().filter(|_| is_ours)?;
            Some(Left {
                key,
                name: name.into(),
                size: meta.size,
                run: of.into(),
                fence: Some(fence),
                is_unfinished: true,
            })
        });
        left.at(&self.0.folder.place)
    }

    fn watch(&self, changed: Box<dyn FnMut() + Send>) -> Result<Watch> {
        let Some(poll) = self.0.poll else {
            return Watch::start(Duration::MAX, |_| Some(Box::new(())), changed);
        };
        // Without a thread that looks whether anything has changed, whoever is told does so as often.
        let announces =
            |announcer| Some(Box::new(self.0.look_for_changes(poll, announcer).ok()?) as Box<dyn Send>);
        Watch::start(poll, announces, changed)
    }

    fn grace(&self) -> Duration {
        GRACE
    }

    /// An object store has no end: what statvfs(3) says is a number that no copying program takes for too little.
    fn space(&self) -> Result<Space> {
        const BLOCK: u64 = 4096;
        const PIB: u64 = 1 << 50;
        let (blocks, files) = (PIB / BLOCK, u64::from(u32::MAX));
        Ok(Space {
            block_size: BLOCK,
            fragment_size: BLOCK,
            blocks,
            blocks_free: blocks,
            blocks_available: blocks,
            files,
            files_free: files,
            name_max: NAME_MAX as u64,
        })
    }
}
