//! The formats, as pure functions over bytes and offsets: nothing here reads a file.
//!
//! | module | subject | source |
//! |---|---|---|
//! | [`mime`] | header block, armour around a message, the entity inside it | RFC 2045, RFC 8551, RFC 7468 |
//! | [`base64`] | where the characters of a base64 text stand, decoding of lines | RFC 4648, RFC 2045 section 6.8 |
//! | [`ber`] | tag and length octets | X.690 |
//! | [`oid`] | object identifiers and their names | X.690 section 8.19 |
//! | [`cms`] | EnvelopedData and AuthEnvelopedData up to the content, and what follows it | RFC 5652, RFC 5083 |
//! | [`extents`] | logical to physical offsets over pieces of equal stride | |
//! | [`block_hashes`] | the hashes that verify a stored part | our own |
//! | [`part_name`] | which part of which set a file name means | |
//! | [`deflate`] | where blocks begin, and blocks made a stream of their own | RFC 1951 |
//! | [`zip`] | end records and central directory | APPNOTE 6.3.10 |
//! | [`seek_table`] | where a member that we wrote can be read from | our own |
//! | [`zip_time`] | when a member was changed | APPNOTE 4.4.6, 4.5.5 |
//! | [`member_name`] | names of members, made safe to show | APPNOTE 4.4.17, 4.6.9, appendix D |
//! | [`printable`] | texts from outside, made safe to show | |
//! | [`text`] | instants, bytes and JSON as texts | RFC 3339 |
//! | [`rejoin`] | the tail of a split zip, rewritten for one disk | APPNOTE section 8 |
//! | [`sqlite_uri`] | a path as SQLite opens it without making files | RFC 3986 |

pub mod base64;
pub mod ber;
pub mod block_hashes;
pub mod cms;
pub mod deflate;
pub mod extents;
pub mod member_name;
pub mod mime;
pub mod oid;
pub mod part_name;
pub mod printable;
pub mod rejoin;
pub mod seek_table;
pub mod sqlite_uri;
pub mod text;
pub mod zip;
pub mod zip_time;
