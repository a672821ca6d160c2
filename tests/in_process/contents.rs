//! The members of every set of the corpus, read by the library without a mount.

use std::sync::Arc;
use std::time::SystemTime;

use crate::support::corpus;
use cddsfs::artifact::member::MemberResources;
use cddsfs::artifact::members::{Members, NodeId, ROOT};
use cddsfs::artifact::{self, OpenedSet};

fn find(members: &Members, path: &str) -> Option<NodeId> {
    path.split('/').try_fold(ROOT, |id, name| members.child(id, name).unwrap())
}

fn count(members: &Members, id: NodeId) -> usize {
    members.children(id).unwrap().iter().map(|&child| 1 + count(members, child)).sum()
}

#[test]
fn every_member_of_every_set_has_its_size_and_bytes() {
    let identities = corpus::identities(&["k1.pem"]);
    let mut compared = 0;
    let mut failures = Vec::new();
    for row in corpus::table("expected/JOINED.tsv") {
        let set = &row[0];
        let parts = corpus::parts(&corpus::dir().join("split").join(set).join("smime"));
        let Ok(OpenedSet::Zip(zip)) =
            artifact::open(&parts, &identities, false, &cddsfs::io::Budget::unlimited())
        else {
            panic!("{set} does not open");
        };
        let members =
            Members::open(Arc::new(zip), SystemTime::now(), &cddsfs::io::Budget::unlimited()).unwrap();
        let shared = Arc::new(MemberResources::default());
        // The mixed set has the parts of another, and no table of its own.
        let expected = if set == "mixed" { "z4-basic" } else { set };
        for member in corpus::table(&format!("expected/{expected}.tsv")) {
            let (name, size, sha256) = (&member[0], &member[1], &member[3]);
            let Some(id) = find(&members, name.trim_end_matches('/')) else {
                failures.push(format!("{set}: {name} is not there"));
                continue;
            };
            if name.ends_with('/') {
                continue;
            }
            if members.attr(id).unwrap().size.to_string() != *size {
                failures.push(format!("{set}: {name} has another size"));
            }
            let read = members.open_member(id, &shared).and_then(|reader| corpus::read_all(&*reader));
            match read {
                Ok(bytes) if corpus::sha256(&bytes) == *sha256 => compared += 1,
                Ok(_) => failures.push(format!("{set}: {name} has other bytes")),
                // Encrypted inside the zip, or lost by its writer.
                Err(error) if set == "z4-AES" && error.errno() == libc::EACCES => {}
                Err(_) if member[2] == "UNREADABLE" => {}
                Err(error) => failures.push(format!("{set}: {name}: {error}")),
            }
        }
        assert!(count(&members, ROOT) > 0);
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(compared > 3000, "{compared}");
}

/// A four-part set without one of its parts: what lies wholly in the others is still there.
#[test]
fn members_that_lie_in_parts_that_are_there_can_be_saved() {
    let identities = corpus::identities(&["k1.pem"]);
    for lacking in 0..3 {
        let mut parts = corpus::parts(&corpus::dir().join("split/lite/smime"));
        let removed = parts.remove(lacking).ordinal.to_string();
        let zip = artifact::open_rest(&parts, &identities, false, &cddsfs::io::Budget::unlimited()).unwrap();
        let members =
            Members::open(Arc::new(zip), SystemTime::now(), &cddsfs::io::Budget::unlimited()).unwrap();
        let shared = Arc::new(MemberResources::default());
        let (mut saved, mut lost) = (0, 0);
        for member in corpus::table("expected/lite.tsv") {
            let id = find(&members, &member[0]).unwrap();
            let read = members.open_member(id, &shared).and_then(|reader| corpus::read_all(&*reader));
            match read {
                Ok(bytes) => {
                    assert_eq!(corpus::sha256(&bytes), member[3]);
                    assert!(members.needs(id).unwrap().is_empty());
                    saved += 1;
                }
                Err(error) => {
                    assert_eq!(error.errno(), libc::EIO);
                    assert_eq!(members.needs(id).unwrap(), [removed.as_str()], "{}", member[0]);
                    lost += 1;
                }
            }
        }
        assert!(saved >= 2 && lost >= 1, "without {removed}: {saved} saved, {lost} lost");
    }
}
