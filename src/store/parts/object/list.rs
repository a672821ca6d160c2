//! What is in a folder of a store.

use object_store::list::PaginatedListOptions;
use object_store::{ListResult, ObjectMeta};

use super::connect::Folder;
use super::{errors, runtime};
use crate::error::{Error, Kind, Result};
use crate::io::Cancel;

/// A server that has more pages, or more objects of interest, is not believed.
const MAX_PAGES: usize = 10_000;
const MAX_TAKEN: usize = 1_000_000;

/// Lists the objects of a folder, with those below it if `deep`, and returns what `take` makes of each and of its name within the
/// folder.
pub(crate) fn list<T>(
    folder: &Folder,
    below: Option<&str>,
    is_deep: bool,
    stop: &Cancel,
    mut take: impl FnMut(&str, &ObjectMeta) -> Option<T>,
) -> Result<Vec<T>> {
    let mut taken = Vec::new();
    let mut token = None;
    for _ in 0..MAX_PAGES {
        let (page, next) = page(folder, below, is_deep, token, stop)?;
        for meta in &page.objects {
            let name = folder.within(&meta.location).filter(|name| is_deep || !name.contains('/'));
            taken.extend(name.and_then(|name| take(name, meta)));
        }
        token = next.filter(|next| !next.is_empty());
        if taken.len() > MAX_TAKEN {
            break;
        }
        if token.is_none() {
            return Ok(taken);
        }
    }
    Err(Error::new(Kind::Os(libc::EIO), "the list of the server does not end"))
}

type Page = (ListResult, Option<String>);

fn page(
    folder: &Folder,
    below: Option<&str>,
    is_deep: bool,
    page_token: Option<String>,
    stop: &Cancel,
) -> Result<Page> {
    let Some(pages) = &folder.pages else {
        let prefix = Some(&folder.prefix).filter(|prefix| !prefix.is_root());
        return runtime::wait(stop, async {
            let all = folder.store.list_with_delimiter(prefix).await;
            all.map(|all| (all, None)).map_err(|error| errors::of(&error))
        });
    };
    let parts = [folder.prefix.as_ref(), below.unwrap_or_default()];
    let prefix: String =
        parts.iter().filter(|part| !part.is_empty()).map(|part| format!("{part}/")).collect();
    let delimiter = (!is_deep).then_some("/".into());
    let options = PaginatedListOptions { delimiter, page_token, ..PaginatedListOptions::default() };
    let prefix = Some(prefix.as_str()).filter(|prefix| !prefix.is_empty());
    runtime::wait(stop, async {
        let page = pages.list_paginated(prefix, options).await.map_err(|error| errors::of(&error))?;
        Ok((page.result, page.page_token))
    })
}
