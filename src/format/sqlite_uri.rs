//! The URI by which SQLite opens a file (<https://www.sqlite.org/uri.html>).

use std::fmt::Write;
use std::path::Path;

/// Returns the URI of a database that is taken to be immutable: SQLite makes no files beside it.
pub(crate) fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    // RFC 3986 section 2.1.
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(byte.into());
        } else {
            // Writing into a String does not fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_no_query_and_no_fragment() {
        let uri = immutable(Path::new("/a b/?mode=memory#%41ü.db"));
        assert_eq!(uri, "file:/a%20b/%3Fmode%3Dmemory%23%2541%C3%BC.db?immutable=1");
    }
}
