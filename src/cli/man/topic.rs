//! Manual pages that are a page of the manual each.

use clap_mangen::roff::{Roff, roman};

use super::roff::{self, Levels};
use super::topics::{Topic, others};
use crate::manual;

pub(crate) fn page(page: &Topic) -> String {
    let mut out = Roff::new();
    let source = concat!("cddsfs ", env!("CARGO_PKG_VERSION"));
    out.control("TH", [page.name, page.section, "", source, page.title]);
    out.control("SH", ["NAME"]);
    out.text([roman(format!("{} - {}", page.name, page.about))]);
    out.control("SH", ["DESCRIPTION"]);
    let text = manual::page(page.topic).map_or("", |page| page.text);
    roff::append(&mut out, text, Levels::Own);
    out.control("SH", ["SEE ALSO"]);
    roff::see(&mut out, [("cddsfs", "(1)")].into_iter().chain(others(page)));
    out.to_roff()
}
