//! `by-title/`: a directory for each run, named for people, with links to its zip, its contents and its record.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::attr::{DirEntry, NodeKind, Shape, TTL_CHANGING};
use super::directory::{Directory, ino_of};
use super::ino::{Ino, base};
use super::listing::DirListing;
use super::needs::{Needs, Place, Question};
use super::node::{Node, is_a_directory, missing};
use super::scope::Scope;
use super::shown::ShownSet;
use super::view::View;
use crate::error::Result;
use crate::record::Record;
use crate::store::catalogue::{Run, Status};

const NAME: &str = "by-title";
/// Bytes of a title: with what is around it, a name has at most 255 (NAME_MAX).
const MAX_TITLE: usize = 180;
/// Bytes of the id that tell names apart that would look the same.
const ID: usize = 8;
/// Names are made again when they are listed and when one is missed, but not more often than this.
const FRESH: Duration = Duration::from_secs(1);
/// A name that has gone is still found for this long, by programs that listed it before.
const HELD: Duration = Duration::from_secs(60);
/// Names that have gone and are still found, at most.
const MAX_HELD: usize = 20_000;

#[derive(Default)]
pub(crate) struct ByTitleDirectory {
    named: Mutex<RecentNames>,
}

#[derive(Default)]
struct RecentNames {
    now: Option<Arc<TitleNames>>,
    /// Stems of what stood under names that have gone, and since when they have.
    held: HashMap<String, (String, Instant)>,
}

impl RecentNames {
    /// Returns the names, if they are of this view and made a moment ago.
    fn fresh(&self, scope: &Scope) -> Option<Arc<TitleNames>> {
        let is_fresh = |names: &&Arc<TitleNames>| {
            names.view.as_ptr() == Arc::as_ptr(&scope.view) && names.made.elapsed() < FRESH
        };
        self.now.as_ref().filter(is_fresh).cloned()
    }

    /// Returns the stem of what stands under a name, or stood there lately.
    fn stem_of(&self, name: &str) -> Option<String> {
        let now = self.now.as_ref().filter(|names| names.made.elapsed() < HELD);
        let held = || self.held.get(name).filter(|(_, since)| since.elapsed() < HELD);
        now.and_then(|names| names.get(name))
            .map(RunOrSet::stem)
            .or_else(|| held().map(|(stem, _)| stem.clone()))
    }
}

impl ByTitleDirectory {
    fn name_all(&self, scope: &Scope) -> Arc<TitleNames> {
        if let Some(names) = self.named.lock().fresh(scope) {
            return names;
        }
        let names = Arc::new(TitleNames::new(scope));
        let mut named = self.named.lock();
        let before = named.now.replace(names.clone());
        named.held.retain(|name, (_, since)| since.elapsed() < HELD && names.get(name).is_none());
        for (name, of) in before.iter().flat_map(|before| before.names.iter()) {
            if named.held.len() < MAX_HELD && names.get(name).is_none() {
                named.held.insert(name.clone(), (of.stem(), Instant::now()));
            }
        }
        names
    }

    fn find_named(&self, scope: &Scope, name: &str) -> Option<RunOrSet> {
        let stem = self.named.lock().stem_of(name)?;
        RunOrSet::of_stem(&scope.view, &stem)
    }
}

impl Directory for ByTitleDirectory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn attributes(&self, scope: &Scope) -> (Shape, Duration) {
        (Shape::directory(scope.view.mtime, 1), TTL_CHANGING)
    }

    fn inodes(&self, view: &View, add: &mut dyn FnMut(Ino, u8, usize)) {
        match view.is_managed {
            true => view.runs.iter().enumerate().for_each(|(i, run)| add(ino(&run.stem()), 0, i)),
            false => view.sets.iter().enumerate().for_each(|(i, set)| add(ino(set.stem()), 0, i)),
        }
    }

    fn node(&self, view: &View, _: u8, at: usize, inside: u32) -> Option<Arc<dyn Node>> {
        let of = RunOrSet::at(view, at)?;
        match inside {
            0 => Some(Arc::new(TitleFolder(of))),
            _ => Some(Arc::new(Link { to: *LinkTarget::ALL.get(inside as usize - 1)?, of })),
        }
    }

    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        let named_now = || {
            let names = self.name_all(scope);
            RunOrSet::of_stem(&scope.view, &names.get(name)?.stem())
        };
        let found = self.find_named(scope, name).or_else(named_now);
        Ok(found.map(|of| Arc::new(TitleFolder(of)) as Arc<dyn Node>))
    }

    /// Names are not made here, since this must not keep anybody waiting.
    fn needs_of_name(&self, scope: &Scope, name: &str) -> Needs {
        let place = if scope.context.managed().is_some() { Place::Catalogue } else { Place::Anywhere };
        Needs::memory_if(self.find_named(scope, name).is_some(), place)
    }

    fn list(&self, scope: &Scope) -> Result<DirListing> {
        let entry = |(name, of): &(String, RunOrSet)| DirEntry {
            ino: of.ino(),
            kind: NodeKind::Directory,
            name: name.clone(),
        };
        Ok(DirListing::of_each(ino_of(NAME), &self.name_all(scope).names, entry, Vec::new()))
    }
}

/// Returns the inode number of a directory; those of its links follow.
fn ino(stem: &str) -> Ino {
    base(&[b"by-title\0", stem.as_bytes()])
}

/// What a directory stands for.
#[derive(Clone)]
enum RunOrSet {
    Run(Arc<Run>, Option<Arc<ShownSet>>),
    /// A set of a plain store.
    Set(Arc<ShownSet>),
}

impl RunOrSet {
    fn at(view: &View, i: usize) -> Option<RunOrSet> {
        match view.is_managed {
            true => Some(RunOrSet::of_run(view, view.runs.get(i)?)),
            false => Some(RunOrSet::Set(view.sets.get(i)?.clone())),
        }
    }

    fn of_stem(view: &View, stem: &str) -> Option<RunOrSet> {
        match view.is_managed {
            true => Some(RunOrSet::of_run(view, view.run(stem)?)),
            false => Some(RunOrSet::Set(view.set(stem)?.clone())),
        }
    }

    fn of_run(view: &View, run: &Arc<Run>) -> RunOrSet {
        RunOrSet::Run(run.clone(), view.set(&run.stem()).cloned())
    }

    fn stem(&self) -> String {
        match self {
            RunOrSet::Run(run, _) => run.stem(),
            RunOrSet::Set(set) => set.stem().into(),
        }
    }

    fn ino(&self) -> Ino {
        ino(&self.stem())
    }

    /// Returns the set, if it is there.
    fn set(&self) -> Option<&Arc<ShownSet>> {
        match self {
            RunOrSet::Run(_, set) => set.as_ref(),
            RunOrSet::Set(set) => Some(set),
        }
    }

    fn record(&self, scope: &Scope) -> Record {
        let retention = scope.view.retention;
        match self {
            RunOrSet::Run(run, _) => Record::of_run(run, retention, scope.now()),
            RunOrSet::Set(set) => set.record_as_known(retention, &scope.context),
        }
    }

    fn mtime(&self, scope: &Scope) -> SystemTime {
        let mtime = match self {
            RunOrSet::Run(run, _) => run.finished.or(run.started).or(run.queued),
            RunOrSet::Set(set) => Some(scope.made(set)),
        };
        mtime.unwrap_or(scope.view.mtime)
    }
}

/// The names of all directories of one view.
struct TitleNames {
    view: Weak<View>,
    made: Instant,
    /// Sorted by name.
    names: Arc<[(String, RunOrSet)]>,
}

impl TitleNames {
    fn new(scope: &Scope) -> TitleNames {
        let all = (0..).map_while(|i| RunOrSet::at(&scope.view, i));
        let mut all: Vec<(NameParts, RunOrSet)> =
            all.map(|of| (NameParts::of(&of.record(scope)), of)).collect();
        // The earliest of those that look the same keeps its name.
        all.sort_by(|(a, _), (b, _)| (&a.date, &a.id).cmp(&(&b.date, &b.id)));
        let mut given = Given::default();
        let mut names: Vec<_> =
            all.iter().map(|(parts, of)| (parts.name(&given.mark_of(parts)), of.clone())).collect();
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        TitleNames { view: Arc::downgrade(&scope.view), made: Instant::now(), names: names.into() }
    }

    /// Returns what has the name.
    fn get(&self, name: &str) -> Option<&RunOrSet> {
        let found = self.names.binary_search_by(|(own, _)| own.as_str().cmp(name));
        found.ok().map(|at| &self.names[at].1)
    }
}

/// The names that have been given so far, and how further ones are told apart from them.
#[derive(Default)]
struct Given {
    /// Names without the standing, which changes.
    taken: HashSet<String>,
    /// The next number for a name that is taken even with the id.
    next: HashMap<String, u32>,
}

impl Given {
    fn mark_of(&mut self, parts: &NameParts) -> String {
        let id = format!(" {}", &parts.id[..parts.id.floor_char_boundary(ID)]);
        if let Some(mark) =
            [String::new(), id.clone()].into_iter().find(|mark| self.taken.insert(parts.shown(mark)))
        {
            return mark;
        }
        let next = self.next.entry(parts.shown(&id)).or_insert(2);
        loop {
            let mark = format!("{id} ({next})");
            *next = next.saturating_add(1);
            if self.taken.insert(parts.shown(&mark)) {
                return mark;
            }
        }
    }
}

/// What a name is made of.
struct NameParts {
    id: String,
    /// YYYY-MM-DD
    date: String,
    title: String,
    /// The status, or how long the artifact is still kept.
    standing: String,
}

impl NameParts {
    fn of(record: &Record) -> NameParts {
        let at = record.mtime.or(record.started).or(record.queued).or(record.scheduled);
        let date = at.map(|at| at.to_string()).unwrap_or_default();
        let is_there = record.artifact.is_some() && matches!(record.status, None | Some(Status::Completed));
        let days = record.remaining_days.filter(|_| is_there);
        NameParts {
            id: safe(&record.id),
            date: date.get(..10).unwrap_or_default().into(),
            title: safe(record.title().unwrap_or(&record.id)),
            standing: match (days, record.status) {
                (Some(1), _) => "1 day left".into(),
                (Some(days), _) => format!("{days} days left"),
                (None, status) => status.unwrap_or(Status::Completed).to_string(),
            },
        }
    }

    /// Returns the name; `mark` tells it apart from others.
    fn name(&self, mark: &str) -> String {
        format!("{} ({})", self.shown(mark), self.standing)
    }

    /// The same without the standing.
    fn shown(&self, mark: &str) -> String {
        let NameParts { date, title, .. } = self;
        let is_isolated = title.chars().any(is_right_to_left);
        let (begin, end) = if is_isolated { ("\u{2068}", "\u{2069}") } else { ("", "") };
        format!("{date} {begin}{title}{end}{mark}").trim_start().into()
    }
}

/// Makes a title fit for a file name: not too long, without `/`, and without characters that are invisible or change
/// how the rest is shown.
fn safe(title: &str) -> String {
    let is_bad = |c: char| c == '/' || c.is_control() || is_unseen(c);
    let safe: String = title.chars().map(|c| if is_bad(c) { '_' } else { c }).collect();
    let safe = safe.trim();
    safe[..safe.floor_char_boundary(MAX_TITLE)].trim_end().into()
}

/// Returns true for characters that have no width, end a line, or set the direction of text.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Returns true for letters of Hebrew, Arabic and other scripts.
fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// `by-title/<name>`
struct TitleFolder(RunOrSet);

impl TitleFolder {
    fn links(&self) -> impl Iterator<Item = Link> {
        let link = |to| Link { to, of: self.0.clone() };
        LinkTarget::ALL.into_iter().map(link).filter(|link| link.path().is_some())
    }
}

impl Node for TitleFolder {
    fn ino(&self) -> Ino {
        self.0.ino()
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        Ok((Shape::directory(self.0.mtime(scope), 2), TTL_CHANGING))
    }

    fn needs(&self, _: &Scope, _: Question) -> Needs {
        Needs::Memory
    }

    fn text(&self, _: &Scope) -> Result<Vec<u8>> {
        Err(is_a_directory())
    }

    fn find(&self, _: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        let found = self.links().find(|link| link.to.name() == name).ok_or_else(missing)?;
        Ok(Some(Arc::new(found)))
    }

    fn list(&self, _: &Scope) -> Result<DirListing> {
        let entry =
            |link: Link| DirEntry { ino: link.ino(), kind: NodeKind::Link, name: link.to.name().into() };
        Ok(DirListing::new(self.ino(), ino_of(NAME), self.links().map(entry).collect::<Vec<_>>()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LinkTarget {
    Zip,
    Contents,
    Record,
}

impl LinkTarget {
    const ALL: [LinkTarget; 3] = [LinkTarget::Zip, LinkTarget::Contents, LinkTarget::Record];

    fn name(self) -> &'static str {
        match self {
            LinkTarget::Zip => "export.zip",
            LinkTarget::Contents => "contents",
            LinkTarget::Record => "record.json",
        }
    }
}

/// `by-title/<name>/<link>`
struct Link {
    to: LinkTarget,
    of: RunOrSet,
}

impl Link {
    /// Returns where it leads; `None` if that is not there.
    fn path(&self) -> Option<String> {
        let stem = self.of.stem();
        match self.to {
            LinkTarget::Zip => Some(format!("../../artifacts/{}", self.of.set()?.artifact_name())),
            LinkTarget::Contents => self.of.set().map(|_| format!("../../contents/{stem}")),
            LinkTarget::Record => Some(format!("../../history/{stem}.json")),
        }
    }
}

impl Node for Link {
    fn ino(&self) -> Ino {
        self.of.ino() | (self.to as u64 + 1)
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        let path = self.path().ok_or_else(missing)?;
        Ok((Shape::new(NodeKind::Link, path.len() as u64, self.of.mtime(scope)), TTL_CHANGING))
    }

    fn needs(&self, _: &Scope, _: Question) -> Needs {
        Needs::Memory
    }

    fn readlink(&self, _: &Scope) -> Result<Vec<u8>> {
        Ok(self.path().ok_or_else(missing)?.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(title: &str) -> NameParts {
        let text = String::from;
        NameParts {
            id: text("1b4e28ba-2fa1"),
            date: text("2026-11-23"),
            title: safe(title),
            standing: text("29 days left"),
        }
    }

    #[test]
    fn names_are_file_names() {
        let name = |title: &str| parts(title).name("");
        assert_eq!(name(" a/b\tc\u{0}\u{202e}d "), "2026-11-23 a_b_c__d (29 days left)");
        assert_eq!(name("تصدير"), "2026-11-23 \u{2068}تصدير\u{2069} (29 days left)");
        assert_eq!(parts("t").name(" 1b4e28ba"), "2026-11-23 t 1b4e28ba (29 days left)");
        for title in ["ü".repeat(200), "日".repeat(200), "ש".repeat(200), "x".repeat(200)] {
            let name = parts(&title).name(" 1b4e28ba");
            assert!(name.len() <= 255 && name.ends_with(" 1b4e28ba (29 days left)"), "{name}");
        }
    }

    #[test]
    fn what_is_not_seen_is_not_in_a_name() {
        for unseen in ["\u{200b}", "\u{200f}", "\u{ad}", "\u{feff}", "\u{2028}", "\u{2066}"] {
            assert_eq!(parts(&format!("a{unseen}b")).name(""), parts("a_b").name(""));
        }
    }

    #[test]
    fn no_two_have_one_name_whatever_they_are_called() {
        let mut given = Given::default();
        let mut names = HashSet::new();
        let of = |id: &str, title: &str| NameParts { id: id.into(), ..parts(title) };
        let ids = ["1b4e28ba-1", "1b4e28ba-2", "1b4e28ba-3", "99999999-1"];
        for title in ["t", "t 1b4e28ba", "t 1b4e28ba (2)", "t 1b4e28ba (3)", ""] {
            for id in ids {
                let parts = of(id, title);
                assert!(names.insert(parts.name(&given.mark_of(&parts))), "{title} {id}");
            }
        }
        assert!(names.contains("2026-11-23 t (29 days left)"));
        // Very many with the same title and the same beginning of the id are no slower than others.
        (0..200_000).for_each(|_| drop(given.mark_of(&parts("same"))));
    }
}
