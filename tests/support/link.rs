//! A store in memory as a process of a simulated host reaches it: every call takes time, and may fail, arrive twice, or lose
//! its answer ([`Simulator`]).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use cddsfs::error::{Error, Kind, Result};
use cddsfs::io::{Cancel, Reader};
use cddsfs::store::catalogue::*;
use cddsfs::store::managed::Managed;
use cddsfs::store::parts::{Key, Left, Listing, PartRef, PartSink, Parts, Space};
use cddsfs::store::watch::Watch;

use super::history::Step;
use super::memory::{Handle, Memory};
use super::simulator::{Fate, Process, Simulator, Takes};

/// How long a request is on its way that nobody waits for any more.
const LATE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(40));
/// Whoever waits for a commit looks so often whether it is over.
const WAIT: Duration = Duration::from_millis(500);

/// What is called after every step of the store.
pub type Check = Box<dyn Fn() -> Step + Send + Sync>;

/// How often a run was claimed, and what explains it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claims {
    pub times: u32,
    /// Interruptions before the first one, and before the last.
    first: u32,
    last: u32,
}

impl Claims {
    fn count(&mut self, interruptions: u32) {
        if self.times == 0 {
            // That of the call that makes it is one of those that count.
            self.first = interruptions.saturating_sub(1);
        }
        (self.times, self.last) = (self.times + 1, interruptions);
    }

    pub fn explained(&self) -> u32 {
        1 + self.last - self.first
    }
}

/// A simulated store, and what is found out about it.
pub struct Site {
    pub memory: Arc<Memory>,
    pub simulator: Arc<Simulator>,
    pub check: Check,
    /// The queue says that nothing is complete by a claim whose answer was lost.
    pub denies_completion: bool,
    /// Ids are random; a run gets the next of these instead.
    ids: Mutex<HashMap<String, String>>,
    claims: Mutex<BTreeMap<String, Claims>>,
    /// Completions that are on their way, though nobody waits for them: runs and fences.
    under_way: Mutex<Vec<(String, u32)>>,
    /// How often somebody was told that his claim is another's by now.
    pub losses: AtomicU64,
    next: AtomicU64,
}

impl Site {
    pub fn new(memory: Arc<Memory>, simulator: Arc<Simulator>, check: Check) -> Site {
        let (ids, claims, under_way) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (losses, next) = (AtomicU64::new(0), AtomicU64::new(1));
        Site { memory, simulator, check, denies_completion: false, ids, claims, under_way, losses, next }
    }

    /// The id in the store of a run that has that one by whoever has made it.
    pub fn id_of(&self, id: &str) -> String {
        let next = || format!("00000000-0000-4000-8000-{:012x}", self.next.fetch_add(1, Ordering::SeqCst));
        self.ids.lock().unwrap().entry(id.into()).or_insert_with(next).clone()
    }

    pub fn claims(&self) -> BTreeMap<String, Claims> {
        self.claims.lock().unwrap().clone()
    }

    /// The store does something; what is wrong then is noticed.
    fn step<T>(&self, takes: Takes, ask: &mut dyn FnMut() -> Result<T>) -> Result<T> {
        self.memory.set_time(self.simulator.now());
        let answer = ask();
        if takes != Takes::Reads {
            let Step { changes, wrong } = (self.check)();
            changes.iter().for_each(|change| self.simulator.note(change));
            self.simulator.accuse(wrong);
        }
        answer
    }

    fn arrived(&self, completion: &(String, u32)) {
        self.under_way.lock().unwrap().retain(|one| one != completion);
    }

    fn renamed(&self, run: &Run) -> Run {
        Run { id: self.id_of(&run.id), ..run.clone() }
    }
}

/// The store as one process has it open.
#[derive(Clone)]
pub struct Link {
    site: Arc<Site>,
    process: Process,
    store: Handle,
}

impl Link {
    pub fn new(site: &Arc<Site>, process: Process) -> Link {
        Link { site: site.clone(), process, store: site.memory.open() }
    }

    pub fn managed(&self) -> Managed {
        let link = Arc::new(self.clone());
        Managed::of(Path::new("simulated"), link.clone(), link.clone(), link)
    }

    fn call<T>(&self, name: &str, takes: Takes, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
        let fate = self.site.simulator.request(&self.process, name, takes)?;
        self.done(fate, takes, &mut ask)
    }

    /// Has the store do what has reached it.
    fn done<T>(&self, fate: Fate, takes: Takes, ask: &mut dyn FnMut() -> Result<T>) -> Result<T> {
        let mut answer = self.site.step(takes, ask);
        if fate == Fate::Repeated {
            answer = self.site.step(takes, ask);
        }
        self.site.simulator.answer(&self.process, fate)?;
        answer
    }

    /// Writes what may arrive when nobody waits for it any more: then by a thread of its own, and `then` is called.
    fn send<T: 'static>(
        &self,
        name: &'static str,
        mut ask: impl FnMut() -> Result<T> + Send + 'static,
        then: impl FnOnce(&Site) + Send + 'static,
    ) -> Result<T> {
        let simulator = &self.site.simulator;
        let fate = simulator.request(&self.process, name, Takes::Lingers);
        if !matches!(fate, Ok(Fate::Late)) {
            then(&self.site);
            return self.done(fate?, Takes::Lingers, &mut ask);
        }
        let (site, actor) = (self.site.clone(), simulator.add(self.process.host));
        thread::spawn(move || {
            site.simulator.take_part(actor);
            site.simulator.rest(LATE.0, LATE.1);
            site.simulator.note(&format!("{name} arrives late"));
            let _ = site.step(Takes::Lingers, &mut ask);
            then(&site);
        });
        Err(match simulator.answer(&self.process, Fate::Late) {
            Err(error) => error,
            Ok(()) => Error::new(Kind::TimedOut, "the store did not answer in time"),
        })
    }

    fn read<T>(&self, name: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
        self.call(name, Takes::Reads, ask)
    }

    fn write<T>(&self, name: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
        self.call(name, Takes::Writes, ask)
    }

    /// Writes what changes nothing when it is done again.
    fn repeat<T>(&self, name: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
        self.call(name, Takes::Repeats, ask)
    }
}

impl Jobs for Link {
    fn jobs(&self) -> Result<Vec<Job>> {
        self.read("jobs", || self.store.jobs())
    }

    fn job(&self, name: &str) -> Result<Option<Job>> {
        self.read("job", || self.store.job(name))
    }

    fn schedule(&self, job: &Job, run: &Run) -> Result<()> {
        let run = self.site.renamed(run);
        self.repeat("schedule", || self.store.schedule(job, &run))
    }

    fn define_job(&self, name: &str, text: &str, modified: SystemTime, run: Option<&Run>) -> Result<()> {
        let run = run.map(|run| self.site.renamed(run));
        self.write("define_job", || self.store.define_job(name, text, modified, run.as_ref()))
    }

    fn add_job(
        &self,
        names: &mut dyn Iterator<Item = String>,
        text: &str,
        modified: SystemTime,
        run: &Run,
    ) -> Result<()> {
        let run = self.site.renamed(run);
        self.write("add_job", || self.store.add_job(names, text, modified, &run))
    }

    fn set_job_text(&self, name: &str, text: &str, modified: SystemTime) -> Result<()> {
        self.repeat("set_job_text", || self.store.set_job_text(name, text, modified))
    }

    fn rename_job(&self, from: &str, to: &str) -> Result<()> {
        self.write("rename_job", || self.store.rename_job(from, to))
    }

    fn delete_job(&self, name: &str) -> Result<bool> {
        self.write("delete_job", || self.store.delete_job(name))
    }
}

impl Runs for Link {
    fn runs(&self) -> Result<Vec<Run>> {
        self.read("runs", || self.store.runs())
    }

    fn runs_that_are(&self, status: Status) -> Result<Vec<Run>> {
        self.read("runs_that_are", || self.store.runs_that_are(status))
    }

    fn run(&self, id: &str) -> Result<Option<Run>> {
        self.read("run", || self.store.run(id))
    }

    fn add_run(&self, run: &Run) -> Result<()> {
        let run = self.site.renamed(run);
        self.write("add_run", || self.store.add_run(&run))
    }

    fn queue(&self, id: &str, now: SystemTime) -> Result<()> {
        self.repeat("queue", || self.store.queue(id, now))
    }

    fn reschedule(&self, id: &str, at: Option<SystemTime>, now: SystemTime) -> Result<()> {
        self.repeat("reschedule", || self.store.reschedule(id, at, now))
    }

    fn fail_scheduled(&self, id: &str, error: &str, now: SystemTime) -> Result<()> {
        self.repeat("fail_scheduled", || self.store.fail_scheduled(id, error, now))
    }

    fn cancel(&self, id: &str, now: SystemTime) -> Result<()> {
        self.repeat("cancel", || self.store.cancel(id, now))
    }

    fn end_cancelled(&self, now: SystemTime) -> Result<()> {
        self.repeat("end_cancelled", || self.store.end_cancelled(now))
    }

    fn remove_run(&self, id: &str, now: SystemTime) -> Result<()> {
        self.repeat("remove_run", || self.store.remove_run(id, now))
    }

    fn runs_with_debris(&self) -> Result<Vec<String>> {
        self.read("runs_with_debris", || self.store.runs_with_debris())
    }

    fn set_clean(&self, runs: &[String]) -> Result<()> {
        let (store, runs) = (self.store.clone(), runs.to_vec());
        self.send("set_clean", move || store.set_clean(&runs), |_| {})
    }
}

impl Artifacts for Link {
    fn artifacts(&self) -> Result<Vec<StoredArtifact>> {
        self.read("artifacts", || self.store.artifacts())
    }

    fn oldest_artifact(&self) -> Result<Option<SystemTime>> {
        self.read("oldest_artifact", || self.store.oldest_artifact())
    }

    fn parts(&self, run: &str) -> Result<Vec<StoredPartRecord>> {
        self.read("parts", || Artifacts::parts(&self.store, run))
    }

    fn block_hashes(&self, run: &str, number: u32, piece: u64) -> Result<Vec<Hash>> {
        self.read("block_hashes", || self.store.block_hashes(run, number, piece))
    }

    fn artifact_is_gone(&self, run: &str, now: SystemTime) -> Result<bool> {
        self.repeat("artifact_is_gone", || self.store.artifact_is_gone(run, now))
    }

    fn part_is_gone(&self, run: &str, name: &str, now: SystemTime) -> Result<Gone> {
        self.repeat("part_is_gone", || self.store.part_is_gone(run, name, now))
    }

    fn leftovers(&self, until: SystemTime) -> Result<Vec<String>> {
        self.read("leftovers", || self.store.leftovers(until))
    }

    fn deleted_parts(&self, until: SystemTime) -> Result<Vec<StoredPartRecord>> {
        self.read("deleted_parts", || self.store.deleted_parts(until))
    }

    fn forget_parts(&self, run: &str, known: usize, now: SystemTime) -> Result<()> {
        self.write("forget_parts", || self.store.forget_parts(run, known, now))
    }

    fn forget_hashes(&self, now: SystemTime) -> Result<()> {
        self.repeat("forget_hashes", || self.store.forget_hashes(now))
    }
}

impl Refusals for Link {
    fn add_refusal(&self, refused: &RefusedSpec) -> Result<()> {
        self.write("add_refusal", || self.store.add_refusal(refused))
    }

    fn refusals(&self) -> Result<Vec<RefusedSpec>> {
        self.read("refusals", || self.store.refusals())
    }
}

impl Catalogue for Link {
    fn is_read_only(&self) -> bool {
        self.store.is_read_only()
    }

    fn changes(&self) -> Result<Revision> {
        self.read("changes", || self.store.changes())
    }

    fn epoch(&self) -> Result<Revision> {
        self.read("epoch", || self.store.epoch())
    }

    fn setting(&self, setting: Setting) -> Result<Option<String>> {
        self.read("setting", || self.store.setting(setting))
    }

    fn set(&self, setting: Setting, value: &str) -> Result<()> {
        self.repeat("set", || self.store.set(setting, value))
    }

    fn certificates(&self) -> Result<Certificates> {
        self.read("certificates", || self.store.certificates())
    }

    fn set_certificates(&self, pem: &[u8]) -> Result<()> {
        self.repeat("set_certificates", || self.store.set_certificates(pem))
    }

    fn today(&self, own: SystemTime) -> Result<SystemTime> {
        self.read("today", || self.store.today(own))
    }

    fn checkpoint(&self) -> Result<()> {
        self.read("checkpoint", || self.store.checkpoint())
    }

    fn copy_to(&self, path: &Path) -> Result<()> {
        self.read("copy_to", || self.store.copy_to(path))
    }
}

impl Queue for Link {
    fn attend(&self) -> Result<Option<Attendance>> {
        self.write("attend", || self.store.attend())
    }

    fn claim(&self, wanted: &Wanted<'_>, now: SystemTime) -> Result<Option<Claim>> {
        let claimed = self.repeat("claim", || {
            let claimed = self.store.claim(wanted, now)?;
            if let Some(claim) = &claimed {
                let mut claims = self.site.claims.lock().unwrap();
                claims.entry(claim.id().into()).or_default().count(self.site.simulator.interruptions());
            }
            Ok(claimed)
        })?;
        if claimed.is_some() {
            self.site.simulator.expect(&self.process);
        }
        Ok(claimed)
    }

    fn renew(&self, claim: &Claim, progress: &Progress, now: SystemTime) -> Result<Standing> {
        if !self.site.simulator.is_actor() {
            return Err(Error::new(Kind::TimedOut, "reports at intervals go by the time of the machine"));
        }
        let (store, claim, progress) = (self.store.clone(), claim.clone(), *progress);
        let standing = self.send("renew", move || store.renew(&claim, &progress, now), |_| {})?;
        self.site.losses.fetch_add(u64::from(standing == Standing::Lost), Ordering::SeqCst);
        Ok(standing)
    }

    fn note(&self, claim: &Claim, note: Note<'_>) -> Result<()> {
        self.repeat("note", || self.store.note(claim, note))
    }

    fn complete(&self, claim: &Claim, made: &Completion<'_>) -> Result<Ended> {
        let (store, claim) = (self.store.clone(), claim.clone());
        let Completion { finished, bytes, rows, .. } = *made;
        let (parts, mark) = (made.parts.to_vec(), made.mark.map(str::to_string));
        let key = (claim.id().to_string(), claim.fence());
        self.site.under_way.lock().unwrap().push(key.clone());
        let ask = move || {
            let made = Completion { finished, bytes, rows, parts: &parts, mark: mark.as_deref() };
            store.complete(&claim, &made)
        };
        let ended = self.send("complete", ask, move |site| site.arrived(&key))?;
        self.site.losses.fetch_add(u64::from(ended == Ended::Lost), Ordering::SeqCst);
        Ok(ended)
    }

    fn is_complete(&self, claim: &Claim) -> Result<bool> {
        let key = (claim.id().to_string(), claim.fence());
        while self.site.under_way.lock().unwrap().contains(&key) {
            self.process.check()?;
            self.site.simulator.rest(WAIT, WAIT);
        }
        self.read("is_complete", || Ok(self.store.is_complete(claim)? && !self.site.denies_completion))
    }

    fn end(&self, claim: &Claim, end: &End) -> Result<()> {
        let (store, claim, end) = (self.store.clone(), claim.clone(), end.clone());
        self.send("end", move || store.end(&claim, &end), |_| {})
    }

    fn give_back(&self, claim: &Claim, why: Why) -> Result<bool> {
        let (store, claim) = (self.store.clone(), claim.clone());
        self.send("give_back", move || store.give_back(&claim, why), |_| {})
    }

    fn orphans(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<Claim>> {
        self.repeat("orphans", || self.store.orphans(holds))
    }

    fn executed(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        self.read("executed", || self.store.executed(holds))
    }

    fn to_cancel(&self) -> Result<Vec<String>> {
        self.read("to_cancel", || self.store.to_cancel())
    }
}

impl Parts for Link {
    fn list(&self, stop: &Cancel) -> Result<Listing> {
        self.read("list", || self.store.list(stop))
    }

    fn look(&self, recorded: &[PartRef], stop: &Cancel) -> Result<Listing> {
        self.store.look(recorded, stop)
    }

    fn find(&self, key: &Key) -> Result<Option<PartRef>> {
        self.read("find", || self.store.find(key))
    }

    fn open(&self, part: &PartRef, stop: &Cancel) -> Result<Reader> {
        self.read("open", || self.store.open(part, stop))
    }

    fn create(&self, key: &Key) -> Result<Box<dyn PartSink>> {
        let sink = self.repeat("create", || self.store.create(key))?;
        Ok(Box::new(Upload { sink, link: self.clone(), key: key.clone() }))
    }

    fn publish(&self, parts: &[(Key, String)], made: SystemTime) -> Result<Vec<Key>> {
        self.store.publish(parts, made)
    }

    fn delete(&self, keys: &[Key]) -> Result<()> {
        self.repeat("delete", || self.store.delete(keys))
    }

    fn left(&self, run: Option<&str>) -> Result<Vec<Left>> {
        self.read("left", || self.store.left(run))
    }

    fn watch(&self, changed: Box<dyn FnMut() + Send>) -> Result<Watch> {
        self.store.watch(changed)
    }

    fn space(&self) -> Result<Space> {
        self.store.space()
    }
}

/// A part on its way. It is written and finished beside the thread that executes the run, which waits meanwhile.
struct Upload {
    sink: Box<dyn PartSink>,
    link: Link,
    key: Key,
}

impl PartSink for Upload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.link.process.check()?;
        self.sink.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.link.process.check()?;
        let fate = self.link.site.simulator.upload(self.key.as_str());
        let failed = || Error::new(Kind::TimedOut, "the upload was not answered in time");
        match fate {
            Fate::Failed => Err(failed()),
            Fate::Lost => self.sink.finish().and(Err(failed())),
            _ => self.sink.finish(),
        }
    }
}
