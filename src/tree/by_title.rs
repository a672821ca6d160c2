//! `by-title/`: a directory for each run, with a name for people, and links to its zip, its contents and its record in it.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::attr::{DirEntry, NodeKind, Shape, TTL_CHANGING};
use super::directory::{Directory, ino_of};
use super::ino::{Ino, base};
use super::listing::Listing;
use super::needs::{Asked, Needs, Place};
use super::node::{Node, is_a_directory, missing};
use super::scope::Scope;
use super::shown::ShownSet;
use super::view::View;
use crate::error::Result;
use crate::record::Record;
use crate::store::catalogue::{Run, Status};

const NAME: &str = "by-title";
/// Of a title, in bytes: with what is around it this is a file name of at most 255 (NAME_MAX).
const MAX_TITLE: usize = 180;
/// Names that look the same are told apart by so much of the id.
const ID: usize = 8;
/// Names are made anew when they are listed, and when one is missed, but not more often than this.
const FRESH: Duration = Duration::from_secs(1);
/// A name that is not there any more is still found for so long: by whoever has listed it.
const HELD: Duration = Duration::from_secs(60);
/// More of these are not kept.
const MAX_HELD: usize = 20_000;

#[derive(Default)]
pub(crate) struct ByTitle {
    named: Mutex<Named>,
}

#[derive(Default)]
struct Named {
    now: Option<Arc<Names>>,
    /// What stood under names that are not there any more, and since when.
    held: HashMap<String, (String, Instant)>,
}

impl Named {
    /// Returns the names as they are, if nothing can have changed since they were made.
    fn fresh(&self, scope: &Scope) -> Option<Arc<Names>> {
        let is_fresh = |names: &&Arc<Names>| {
            names.view.as_ptr() == Arc::as_ptr(&scope.view) && names.made.elapsed() < FRESH
        };
        self.now.as_ref().filter(is_fresh).cloned()
    }

    /// Returns the stem of what stands, or stood lately, under a name.
    fn stem_of(&self, name: &str) -> Option<String> {
        let now = self.now.as_ref().filter(|names| names.made.elapsed() < HELD);
        let held = || self.held.get(name).filter(|(_, since)| since.elapsed() < HELD);
        now.and_then(|names| names.get(name))
            .map(Subject::stem)
            .or_else(|| held().map(|(stem, _)| stem.clone()))
    }
}

impl ByTitle {
    fn name_all(&self, scope: &Scope) -> Arc<Names> {
        if let Some(names) = self.named.lock().fresh(scope) {
            return names;
        }
        let names = Arc::new(Names::new(scope));
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

    fn find_named(&self, scope: &Scope, name: &str) -> Option<Subject> {
        let stem = self.named.lock().stem_of(name)?;
        Subject::of_stem(&scope.view, &stem)
    }
}

impl Directory for ByTitle {
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
        let of = Subject::at(view, at)?;
        match inside {
            0 => Some(Arc::new(Folder(of))),
            _ => Some(Arc::new(Link { to: *Target::ALL.get(inside as usize - 1)?, of })),
        }
    }

    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        let named_now = || {
            let names = self.name_all(scope);
            Subject::of_stem(&scope.view, &names.get(name)?.stem())
        };
        let found = self.find_named(scope, name).or_else(named_now);
        Ok(found.map(|of| Arc::new(Folder(of)) as Arc<dyn Node>))
    }

    /// Names are not made for an answer that nobody may wait for.
    fn needs_of_name(&self, scope: &Scope, name: &str) -> Needs {
        let place = if scope.context.managed().is_some() { Place::Catalogue } else { Place::Anywhere };
        Needs::memory_if(self.find_named(scope, name).is_some(), place)
    }

    fn list(&self, scope: &Scope) -> Result<Listing> {
        let entry = |(name, of): &(String, Subject)| DirEntry {
            ino: of.ino(),
            kind: NodeKind::Directory,
            name: name.clone(),
        };
        Ok(Listing::of_each(ino_of(NAME), &self.name_all(scope).names, entry, Vec::new()))
    }
}

/// Inode number of a directory; those of its links follow.
fn ino(stem: &str) -> Ino {
    base(&[b"by-title\0", stem.as_bytes()])
}

/// What a directory is about.
#[derive(Clone)]
enum Subject {
    Run(Arc<Run>, Option<Arc<ShownSet>>),
    /// Of a plain store.
    Set(Arc<ShownSet>),
}

impl Subject {
    fn at(view: &View, i: usize) -> Option<Subject> {
        match view.is_managed {
            true => Some(Subject::of_run(view, view.runs.get(i)?)),
            false => Some(Subject::Set(view.sets.get(i)?.clone())),
        }
    }

    fn of_stem(view: &View, stem: &str) -> Option<Subject> {
        match view.is_managed {
            true => Some(Subject::of_run(view, view.run(stem)?)),
            false => Some(Subject::Set(view.set(stem)?.clone())),
        }
    }

    fn of_run(view: &View, run: &Arc<Run>) -> Subject {
        Subject::Run(run.clone(), view.set(&run.stem()).cloned())
    }

    fn stem(&self) -> String {
        match self {
            Subject::Run(run, _) => run.stem(),
            Subject::Set(set) => set.stem().into(),
        }
    }

    fn ino(&self) -> Ino {
        ino(&self.stem())
    }

    /// The set that is there.
    fn set(&self) -> Option<&Arc<ShownSet>> {
        match self {
            Subject::Run(_, set) => set.as_ref(),
            Subject::Set(set) => Some(set),
        }
    }

    fn record(&self, scope: &Scope) -> Record {
        let retention = scope.view.retention;
        match self {
            Subject::Run(run, _) => Record::of_run(run, retention, scope.now()),
            Subject::Set(set) => set.record_as_known(retention, &scope.context),
        }
    }

    fn mtime(&self, scope: &Scope) -> SystemTime {
        let mtime = match self {
            Subject::Run(run, _) => run.finished.or(run.started).or(run.queued),
            Subject::Set(set) => Some(scope.made(set)),
        };
        mtime.unwrap_or(scope.view.mtime)
    }
}

/// The names of all directories at one moment.
struct Names {
    view: Weak<View>,
    made: Instant,
    /// In their order.
    names: Arc<[(String, Subject)]>,
}

impl Names {
    fn new(scope: &Scope) -> Names {
        let all = (0..).map_while(|i| Subject::at(&scope.view, i));
        let mut all: Vec<(Parts, Subject)> = all.map(|of| (Parts::of(&of.record(scope)), of)).collect();
        // The earliest of those that look the same keeps its name.
        all.sort_by(|(a, _), (b, _)| (&a.date, &a.id).cmp(&(&b.date, &b.id)));
        let mut given = Given::default();
        let mut names: Vec<_> =
            all.iter().map(|(parts, of)| (parts.name(&given.mark_of(parts)), of.clone())).collect();
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        Names { view: Arc::downgrade(&scope.view), made: Instant::now(), names: names.into() }
    }

    /// Returns what has the name.
    fn get(&self, name: &str) -> Option<&Subject> {
        let found = self.names.binary_search_by(|(own, _)| own.as_str().cmp(name));
        found.ok().map(|at| &self.names[at].1)
    }
}

/// What names are told apart by.
#[derive(Default)]
struct Given {
    /// Names without how it stands, which changes.
    taken: HashSet<String>,
    /// The next number of those that have the same with an id.
    next: HashMap<String, u32>,
}

impl Given {
    fn mark_of(&mut self, parts: &Parts) -> String {
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
struct Parts {
    id: String,
    /// YYYY-MM-DD
    date: String,
    title: String,
    /// How it stands, or how long it is kept.
    standing: String,
}

impl Parts {
    fn of(record: &Record) -> Parts {
        let at = record.mtime.or(record.started).or(record.queued).or(record.scheduled);
        let date = at.map(|at| at.to_string()).unwrap_or_default();
        let is_there = record.artifact.is_some() && matches!(record.status, None | Some(Status::Completed));
        let days = record.remaining_days.filter(|_| is_there);
        Parts {
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

    /// The same without how it stands.
    fn shown(&self, mark: &str) -> String {
        let Parts { date, title, .. } = self;
        let is_isolated = title.chars().any(is_right_to_left);
        let (begin, end) = if is_isolated { ("\u{2068}", "\u{2069}") } else { ("", "") };
        format!("{date} {begin}{title}{end}{mark}").trim_start().into()
    }
}

/// Makes a title what a file name can have: not too long, without `/`, and without what is not shown or changes how the rest
/// is shown.
fn safe(title: &str) -> String {
    let is_bad = |c: char| c == '/' || c.is_control() || is_unseen(c);
    let safe: String = title.chars().map(|c| if is_bad(c) { '_' } else { c }).collect();
    let safe = safe.trim();
    safe[..safe.floor_char_boundary(MAX_TITLE)].trim_end().into()
}

/// Signs that have no width, end a line, or say in which direction others are read.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Letters of Hebrew, Arabic and others.
fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// `by-title/<name>`
struct Folder(Subject);

impl Folder {
    fn links(&self) -> impl Iterator<Item = Link> {
        let link = |to| Link { to, of: self.0.clone() };
        Target::ALL.into_iter().map(link).filter(|link| link.path().is_some())
    }
}

impl Node for Folder {
    fn ino(&self) -> Ino {
        self.0.ino()
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        Ok((Shape::directory(self.0.mtime(scope), 2), TTL_CHANGING))
    }

    fn needs(&self, _: &Scope, _: Asked) -> Needs {
        Needs::Memory
    }

    fn text(&self, _: &Scope) -> Result<Vec<u8>> {
        Err(is_a_directory())
    }

    fn find(&self, _: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        let found = self.links().find(|link| link.to.name() == name).ok_or_else(missing)?;
        Ok(Some(Arc::new(found)))
    }

    fn list(&self, _: &Scope) -> Result<Listing> {
        let entry =
            |link: Link| DirEntry { ino: link.ino(), kind: NodeKind::Link, name: link.to.name().into() };
        Ok(Listing::new(self.ino(), ino_of(NAME), self.links().map(entry).collect::<Vec<_>>()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Zip,
    Contents,
    Record,
}

impl Target {
    const ALL: [Target; 3] = [Target::Zip, Target::Contents, Target::Record];

    fn name(self) -> &'static str {
        match self {
            Target::Zip => "export.zip",
            Target::Contents => "contents",
            Target::Record => "record.json",
        }
    }
}

/// `by-title/<name>/<link>`
struct Link {
    to: Target,
    of: Subject,
}

impl Link {
    /// Where it leads; `None` for what is not there.
    fn path(&self) -> Option<String> {
        let stem = self.of.stem();
        match self.to {
            Target::Zip => Some(format!("../../artifacts/{}", self.of.set()?.artifact_name())),
            Target::Contents => self.of.set().map(|_| format!("../../contents/{stem}")),
            Target::Record => Some(format!("../../history/{stem}.json")),
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

    fn needs(&self, _: &Scope, _: Asked) -> Needs {
        Needs::Memory
    }

    fn readlink(&self, _: &Scope) -> Result<Vec<u8>> {
        Ok(self.path().ok_or_else(missing)?.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(title: &str) -> Parts {
        let text = String::from;
        Parts {
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
        let of = |id: &str, title: &str| Parts { id: id.into(), ..parts(title) };
        let ids = ["1b4e28ba-1", "1b4e28ba-2", "1b4e28ba-3", "99999999-1"];
        for title in ["t", "t 1b4e28ba", "t 1b4e28ba (2)", "t 1b4e28ba (3)", ""] {
            for id in ids {
                let parts = of(id, title);
                assert!(names.insert(parts.name(&given.mark_of(&parts))), "{title} {id}");
            }
        }
        assert!(names.contains("2026-11-23 t (29 days left)"));
        // That many of one title and one beginning of an id take no longer than others.
        (0..200_000).for_each(|_| drop(given.mark_of(&parts("same"))));
    }
}
