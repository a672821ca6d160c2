//! Pages of the manual as text for man(1).

use std::fmt::Write;

use clap_mangen::roff::{Inline, Roff, bold, italic, line_break, roman};

use super::topics;
use crate::cli::markdown::{PageBlock, Spans, Style, blocks, plain};

/// What the headings of a page become.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Levels {
    /// The page is a manual page of its own: it has sections where it is divided.
    Own,
    /// The page is a section of another one.
    Section,
}

/// Appends a page of the manual.
pub(crate) fn append(roff: &mut Roff, page: &str, levels: Levels) {
    for block in blocks(page) {
        match block {
            PageBlock::Heading(level, text) => {
                heading(roff, level + u8::from(levels == Levels::Section), &text)
            }
            PageBlock::Paragraph(text) => {
                roff.control("PP", []);
                roff.text(inlines(&text));
            }
            PageBlock::Item(text) => {
                roff.control("IP", [r"\(bu", "2"]);
                roff.text(inlines(&text));
            }
            PageBlock::Code(code) => {
                roff.control("RS", ["4"]);
                verbatim(roff, &code);
                roff.control("RE", []);
            }
            PageBlock::Table { header, rows } => rows.iter().for_each(|row| table_row(roff, &header, row)),
        }
    }
}

/// The title of a page of its own is not said again below its NAME.
fn heading(roff: &mut Roff, level: u8, text: &Spans) {
    let text = plain(text);
    match level {
        1 => {}
        2 => drop(roff.control("SH", [text.to_uppercase().as_str()])),
        3 => drop(roff.control("SS", [text.as_str()])),
        _ => {
            roff.control("PP", []);
            roff.text([bold(text)]);
        }
    }
}

/// Appends a row as a list entry: not every man fits tables to the width of the screen.
fn table_row(roff: &mut Roff, header: &[Spans], row: &[Spans]) {
    let Some((term, rest)) = row.split_first() else { return };
    roff.control("TP", []);
    roff.text(inlines(term));
    let mut cells = Vec::new();
    for (name, cell) in header.iter().skip(1).zip(rest).filter(|(_, cell)| !cell.is_empty()) {
        if !cells.is_empty() {
            cells.push(line_break());
        }
        if rest.len() > 1 && !name.is_empty() {
            cells.push(roman(format!("{}: ", plain(name))));
        }
        cells.extend(inlines(cell));
    }
    roff.text(cells);
}

fn inlines(text: &Spans) -> Vec<Inline> {
    let inline = |(style, text): (&Style, &str)| match style {
        Style::Plain => roman(text),
        Style::Emphasis => italic(text),
        Style::Strong | Style::Code => bold(text),
        Style::Page(page) => bold(topics::named(page).unwrap_or_else(|| format!("cddsfs help {page}"))),
    };
    text.iter().map(|span| inline((&span.style, &span.text))).collect()
}

/// Appends lines that are not filled.
pub(crate) fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// Appends references to other manual pages, with their sections.
pub(crate) fn see<'a>(roff: &mut Roff, pages: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let pages: Vec<_> = pages.into_iter().collect();
    for (i, (page, section)) in pages.iter().enumerate() {
        let comma = if i + 1 < pages.len() { "," } else { "" };
        roff.text([bold(*page), roman(format!("{section}{comma}"))]);
    }
}

/// Escapes characters so that every man shows them as they are: some show ASCII characters as typographic ones, and
/// others not at all.
pub(crate) fn portable(roff: &str) -> String {
    let mut out = String::with_capacity(roff.len());
    for c in roff.chars() {
        match c {
            '\'' => out.push_str(r"\(aq"),
            '`' => out.push_str(r"\(ga"),
            '~' => out.push_str(r"\(ti"),
            '^' => out.push_str(r"\(ha"),
            c if c.is_ascii() => out.push(c),
            // Writing into a text cannot fail.
            c => drop(write!(out, r"\[u{:04X}]", u32::from(c))),
        }
    }
    out
}
