//! A page on the terminal: wrapped, with bold headings; plain if a program reads it.

use comfy_table::{ContentArrangement, Table, presets};
use console::{Style as Paint, measure_text_width};
use textwrap::{Options, WordSplitter};

use crate::cli::markdown::{PageBlock, Span, Spans, Style, blocks};
use crate::cli::table::Output;

/// Columns of text: no more than can be read well, and without a terminal.
const WIDEST: usize = 100;
const WITHOUT_TERMINAL: usize = 80;
const INDENT: &str = "  ";
const CODE_INDENT: &str = "      ";
/// Columns of the terminal for each column of a table; with fewer it is shown as a list.
const NARROWEST: usize = 13;

pub(crate) struct Look {
    columns: usize,
    is_styled: bool,
}

impl Look {
    pub(crate) fn of(output: &Output) -> Look {
        let columns = output.terminal.map_or(WITHOUT_TERMINAL, |(columns, _)| columns.min(WIDEST));
        Look { columns, is_styled: output.colored }
    }

    fn paint(&self, span: &Span) -> String {
        let (text, paint) = match &span.style {
            Style::Plain => return span.text.clone(),
            Style::Emphasis => (span.text.clone(), Paint::new().underlined()),
            Style::Strong | Style::Code => (span.text.clone(), Paint::new().bold()),
            Style::Page(topic) => (format!("cddsfs help {topic}"), Paint::new().bold()),
        };
        let paint = paint.force_styling(self.is_styled);
        // Word by word, so that no line ends within a style.
        let words: Vec<String> = text.split(' ').map(|word| paint.apply_to(word).to_string()).collect();
        words.join(" ")
    }

    fn text(&self, text: &Spans) -> String {
        text.iter().map(|span| self.paint(span)).collect()
    }

    fn wrap(&self, text: &Spans, first: &str, next: &str) -> String {
        fill(&self.text(text), self.columns, first, next)
    }
}

fn fill(text: &str, columns: usize, first: &str, next: &str) -> String {
    let options = Options::new(columns).initial_indent(first).subsequent_indent(next);
    textwrap::fill(text, options.break_words(false).word_splitter(WordSplitter::NoHyphenation))
}

/// Wraps a text that has no styles.
pub(crate) fn wrapped(text: &str) -> String {
    fill(text, WIDEST, "", "")
}

pub(crate) fn render(page: &str, look: &Look) -> String {
    let plain = Look { columns: look.columns, is_styled: false };
    let bold = Paint::new().bold().force_styling(look.is_styled);
    let mut out = String::new();
    let mut was_item = false;
    for block in blocks(page) {
        let is_item = matches!(block, PageBlock::Item(_));
        if !out.is_empty() && (!is_item || !was_item) {
            out.push('\n');
        }
        was_item = is_item;
        match block {
            PageBlock::Heading(_, text) => out += &bold.apply_to(plain.wrap(&text, "", "")).to_string(),
            PageBlock::Paragraph(text) => out += &look.wrap(&text, INDENT, INDENT),
            PageBlock::Item(text) => out += &look.wrap(&text, "  * ", "    "),
            PageBlock::Code(code) => out += indented(&code, CODE_INDENT).trim_end(),
            PageBlock::Table { header, rows } if look.columns < NARROWEST * header.len() => {
                out += list(&header, &rows, look).trim_end()
            }
            PageBlock::Table { header, rows } => {
                out += indented(&table(&header, &rows, &plain), INDENT).trim_end()
            }
        }
        out.push('\n');
    }
    out
}

fn indented(text: &str, indent: &str) -> String {
    let lines = text.lines().map(|line| format!("{indent}{line}").trim_end().to_string() + "\n");
    lines.collect()
}

/// Renders a table with a line between rows, because cells may have several lines.
fn table(header: &[Spans], rows: &[Vec<Spans>], look: &Look) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width((look.columns - measure_text_width(INDENT)) as u16);
    table.set_header(header.iter().map(|cell| look.text(cell)));
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| look.text(cell))));
    table.trim_fmt()
}

/// Renders each row as an item: the first cell, and below it the others with their headers.
fn list(header: &[Spans], rows: &[Vec<Spans>], look: &Look) -> String {
    let mut out = String::new();
    for row in rows {
        for (i, (name, cell)) in header.iter().zip(row).enumerate() {
            let (first, title) = match (i, name.is_empty()) {
                (0, _) => ("  * ", String::new()),
                (_, true) => ("    ", String::new()),
                (_, false) => ("    ", look.text(name) + ": "),
            };
            if i == 0 || !cell.is_empty() {
                out += &fill(&(title + &look.text(cell)), look.columns, first, "    ");
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manual::PAGES;

    /// Lines of code are not wrapped.
    fn is_code(line: &str) -> bool {
        line.starts_with(CODE_INDENT)
    }

    #[test]
    fn pages_fit_the_terminal() {
        for columns in [40, 80, 100] {
            for page in PAGES {
                let text = render(page.text, &Look { columns, is_styled: false });
                let too_long = text.lines().find(|line| {
                    let is_wide = measure_text_width(line) > columns;
                    is_wide && !is_code(line) && line.split_whitespace().count() > 2
                });
                assert_eq!(too_long, None, "{}, {columns} columns", page.topic);
            }
        }
    }

    #[test]
    fn only_a_terminal_gets_escapes() {
        let page = "# Title\n\nA `code with blanks` and [Errors](errors.md).\n";
        let piped = render(page, &Look { columns: 30, is_styled: false });
        assert_eq!(piped, "Title\n\n  A code with blanks and\n  cddsfs help errors.\n");
        let shown = render(page, &Look { columns: 30, is_styled: true });
        assert!(shown.starts_with("\x1b[1mTitle\x1b[0m\n"), "{shown:?}");
        assert_eq!(console::strip_ansi_codes(&shown), piped);
    }
}
