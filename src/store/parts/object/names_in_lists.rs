//! Names in the lists of servers. One that object_store does not take would fail the whole list: such are taken out before.

use object_store::path::Path;
use quick_xml::events::Event;
use quick_xml::{Reader, Writer};

/// What a list is, of the same services.
const LISTS: [&[u8]; 3] = [b"ListBucketResult", b"EnumerationResults", b"multistatus"];

/// Elements that stand for one name each, with the element in which the name is: of S3 and Google, of Azure, of WebDAV.
const ENTRIES: [(&[u8], &[u8]); 5] = [
    (b"Contents", b"Key"),
    (b"CommonPrefixes", b"Prefix"),
    (b"Blob", b"Name"),
    (b"BlobPrefix", b"Name"),
    (b"response", b"href"),
];

/// Returns true for the query of a request that asks for a list.
pub(crate) fn lists(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "list-type=2" | "comp=list"))
}

/// Returns a list without those names; `None` for what is no list. (To object_store any other document is a list with nothing in it.)
pub(crate) fn without_bad_names(list: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::from_reader(list);
    let mut kept = Writer::new(Vec::with_capacity(list.len()));
    // The entry that is being read: where it begins, the element of its name, and whether it is a good one.
    let mut entry: Option<(usize, &[u8], bool)> = None;
    let mut name: Option<String> = None;
    let (mut depth, mut is_list) = (0usize, false);
    loop {
        let event = reader.read_event().ok()?;
        match &event {
            Event::Eof => return (is_list && depth == 0).then(|| kept.into_inner()),
            Event::Start(tag) => {
                let tag = tag.local_name();
                is_list |= depth == 0 && LISTS.contains(&tag.as_ref());
                depth += 1;
                match entry {
                    None => {
                        let found = ENTRIES.iter().find(|(element, _)| *element == tag.as_ref());
                        entry = found.map(|(_, of_name)| (kept.get_ref().len(), *of_name, true));
                    }
                    Some((_, of_name, _)) if of_name == tag.as_ref() => name = Some(String::new()),
                    Some(_) => {}
                }
            }
            Event::Empty(tag) => is_list |= depth == 0 && LISTS.contains(&tag.local_name().as_ref()),
            Event::End(_) => depth = depth.checked_sub(1)?,
            Event::Text(text) => {
                name.iter_mut().try_for_each(|name| text.decode().map(|text| name.push_str(&text))).ok()?;
            }
            // Of those that have names, none is a character that matters here.
            Event::GeneralRef(of) => {
                let char = of.resolve_char_ref().ok()?.unwrap_or('&');
                name.iter_mut().for_each(|name| name.push(char));
            }
            _ => {}
        }
        let ends = match &event {
            Event::End(tag) => Some(tag.local_name().as_ref().to_vec()),
            _ => None,
        };
        kept.write_event(event).ok()?;
        let (Some(tag), Some((start, of_name, is_good))) = (ends, &mut entry) else { continue };
        if tag == *of_name {
            *is_good &= name.take().is_some_and(|name| is_taken(&name, of_name == b"href"));
        } else if ENTRIES.iter().any(|(element, _)| *element == tag.as_slice()) {
            if !*is_good {
                kept.get_mut().truncate(*start);
            }
            entry = None;
        }
    }
}

/// Returns true for what object_store takes for a path.
fn is_taken(name: &str, is_url: bool) -> bool {
    if !is_url {
        return Path::parse(name).is_ok();
    }
    let path = match name.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => name,
    };
    Path::from_url_path(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> String {
        let entries: String = names
            .iter()
            .map(|name| format!("<Contents><Key>{name}</Key><Size>1</Size></Contents>"))
            .collect();
        format!("<?xml version=\"1.0\"?><ListBucketResult><Prefix>//</Prefix>{entries}</ListBucketResult>")
    }

    #[test]
    fn names_that_are_no_path_are_taken_out_and_nothing_else() {
        let good = ["a/b.smime", "a &amp; b", "ü", "a/%41"];
        let bad = ["a//b", "a/../b", "a/.", "a/&#1;b", "a&#10;b", "//"];
        let kept =
            |names: &[&str]| String::from_utf8(without_bad_names(list(names).as_bytes()).unwrap()).unwrap();
        assert_eq!(kept(&good), list(&good));
        for name in bad {
            assert_eq!(kept(&[good[0], name, good[1]]), list(&good[..2]), "{name}");
        }
        let prefix = |name: &str| format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>");
        let list = |inside: &str| format!("<ListBucketResult>{inside}</ListBucketResult>");
        let prefixes = list(&(prefix("a//") + &prefix("b/")));
        assert_eq!(without_bad_names(prefixes.as_bytes()).unwrap(), list(&prefix("b/")).as_bytes());
        let dav = "<D:multistatus><D:response><D:href>/a/%2E%2E/x</D:href></D:response></D:multistatus>";
        assert_eq!(without_bad_names(dav.as_bytes()).unwrap(), b"<D:multistatus></D:multistatus>");
    }

    #[test]
    fn what_is_no_list_is_none() {
        let cut_off = "<ListBucketResult><Contents><Key>a</Key>";
        for text in ["", "no XML", "<a", "<html>a</html>", cut_off, "{\"a\": 1}"] {
            assert_eq!(without_bad_names(text.as_bytes()), None, "{text}");
        }
        assert!(without_bad_names(b"<ListBucketResult/>").is_some());
    }
}
