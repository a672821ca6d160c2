//! cddsfs mounts a store of contact-centre data exports, so that any program can read them.
//!
//! An export is a zip of JSON Lines, often split into `.z01 ... .zip`, each part encrypted on its own as an S/MIME
//! message. Mounted, each set is one plain zip with random access.
//!
//! [`manual`] is what users are told, and [`manual::developing`] where to begin with a change: how tests are run, and how
//! to add a directory, a source, a cipher, a command. What follows is how it is built.
//!
//! # Layers
//!
//! ```text
//! main -> cli -> mount -> tree -> record -> export -> { artifact, store } -> { crypto, postgresql } -> { format, io }
//! ```
//!
//! Arrows go one way, and every outside crate lives in one family of modules. `scripts/check` keeps both rules.
//!
//! | family | subject | names alone |
//! |---|---|---|
//! | [`cli`] | one file per command; the `-o` grammar; exit codes | clap |
//! | [`mount`] | the FUSE adapter and the life of a mount | fuser |
//! | [`tree`] | what is where: names, inodes, attributes, handles, `jobs/` | |
//! | [`record`] | what is known of a run or a set, and its renderings: JSON, tables, attributes | |
//! | [`export`] | job specs, schedules, the engine, sources, the writer | rusqlite (`source::sqlite`, `sample`) |
//! | [`artifact`] | the readers put together: parts, sets, one zip | |
//! | [`store`] | files on disk, grouping, what is a managed store, the catalogue, backups, watching, retention | notify, rusqlite (catalogue) |
//! | [`crypto`] | keys, certificates, key transport, decryption of byte ranges, encryption | openssl |
//! | [`postgresql`] | connecting to PostgreSQL, statements whose waits are bounded, what its errors mean | tokio_postgres (and what is built on [`postgresql::Client`]) |
//! | [`format`](mod@format) | pure codecs, both directions: MIME, base64, BER, CMS, zip | |
//! | [`io`] | [`io::ReadAt`] and the readers that know no format; opening nothing but regular files; budgets of memory, threads that live beside requests ([`io::Background`]), what ends them ([`io::Cancel`]) | |
//!
//! [`error`] belongs to all of them: one type, one mapping to errno. [`manual`] is texts alone, and `cli` shows them.
//!
//! # How a byte is read
//!
//! Everything that can be read is an [`io::ReadAt`]: a length, and bytes at a position. They are stacked; each knows
//! one thing and nothing of its neighbours.
//!
//! ```text
//! read(2) of artifacts/export-<uuid>.zip at 5 GiB               mount::adapter, tree::read, tree::handle
//!   set         before the central directory: as it is          artifact::set (the tail of a split one: rejoined)
//!   joined      it is in part 6, at 17 MiB                      io::Joined
//!   part        behind 68 bytes of MIME header                  artifact::part
//!   content     these 16-byte blocks, and the one before        crypto::cbc (or gcm)
//!   segments    these 1000-byte segments                        artifact::segments
//!   transfer    these base64 lines                              artifact::transfer
//!   verified    these blocks of 64 KiB have the right hashes    store::verified (parts that we wrote)
//!   file        this range of export-<uuid>.z06.smime           io::FileReader
//! ```
//!
//! Opening costs work in proportion to the number of parts. The widths of lines and segments are learnt from the
//! first and the last; every line end and segment header that a read steps on is checked. Where one is not as
//! expected, the part is indexed in one pass and read by that. Memory does not grow with an export, and no plaintext
//! is ever written anywhere.
//!
//! # How a byte is written
//!
//! ```text
//! write(2) to jobs/new
//!   draft       the text as it grows                            tree::jobs
//!   spec        strict JSON, or a refusal                       export::spec
//!   jobs        a run in the catalogue, now or later            export::jobs
//!   engine      a process that may execute runs looks five      export::engine
//!               times a second, and claims it
//!   source      rows of one snapshot, as JSON Lines             export::source
//!   writer      blocks deflated on all cores, zip segments,     export::writer
//!               each encrypted, into the store's location       store::parts
//!   run         durable, named, and one commit: it is there     export::run
//! ```
//!
//! Everything that is to be done stands in the catalogue before it is begun, so that whoever opens the store next
//! finishes it. An artifact is there when the commit says so, and gone when another one does; files come before and
//! go after.
//!
//! # How a name is found
//!
//! [`store::Store::snapshot`] looks at the location, grouped into sets, and at the catalogue. Which kinds these are nothing above
//! `store` knows ([`store::parts::Parts`], [`store::catalogue::Catalogue`], [`store::catalogue::Queue`]). [`tree::Tree`] makes a view of it:
//! inode numbers are hashes of names and file versions, so that they are the same in the next mount and others for
//! other bytes. [`store::watch`] notices changes; the next view replaces the last as a whole, and the kernel is told
//! which names to forget. Each directory of the root is one module, which finds, lists, describes, opens and deletes what is
//! in it, and says what an answer takes; a new one is a file and its line in the tree's list of directories. What a set is (a zip of which length, incomplete, unreadable) takes a private key operation
//! for each part: [`tree::Sizer`] works that out in the background, and [`store::sizes`] remembers it.
//!
//! # How a spec is handed in
//!
//! What is written into `jobs/` collects in a draft (`tree::jobs::draft`), which judges it as it grows: what can only
//! be wrong is refused by the write that shows it, and what is complete goes into the catalogue with the write that
//! completes it, once. What is defined is asked for in the catalogue every time; drafts, and temporary files of editors, are in
//! memory only. [`export::jobs`] makes runs of specs.
//!
//! # What does not last for ever
//!
//! A request that takes the store has 30 seconds (`mount::deadline`), and one that changes something takes a permit just
//! before it counts ([`io::Permit`]): it is done, or time is up, but never both. What the catalogue says is to be done is
//! compared with what is being done at every look of [`export::engine`], and `tests/support/invariants.rs` says what holds
//! whatever happens. What comes from outside has a budget: see [`manual::limits`].

pub mod artifact;
pub mod cli;
pub mod crypto;
pub mod error;
pub mod export;
pub mod format;
pub mod io;
pub mod manual;
pub mod mount;
pub mod postgresql;
pub mod record;
pub mod store;
pub mod tree;
