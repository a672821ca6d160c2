//! Parses the manual's Markdown, for the terminal and for manual pages.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// How a piece of text stands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Emphasis,
    Strong,
    Code,
    /// A link to the page of a topic; its text is the page's title.
    Page(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) style: Style,
}

pub(crate) type Spans = Vec<Span>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PageBlock {
    /// Level 1 is the page's title.
    Heading(u8, Spans),
    Paragraph(Spans),
    Item(Spans),
    Code(String),
    Table {
        header: Vec<Spans>,
        rows: Vec<Vec<Spans>>,
    },
}

/// Returns a text without its styles.
pub(crate) fn plain(text: &[Span]) -> String {
    text.iter().map(|span| span.text.as_str()).collect()
}

#[derive(Default)]
struct BlockBuilder {
    blocks: Vec<PageBlock>,
    text: Spans,
    /// The styles that are open, innermost last.
    styles: Vec<Style>,
    is_item: bool,
    header: Vec<Spans>,
    row: Vec<Spans>,
    rows: Vec<Vec<Spans>>,
}

/// Parses a page. Nested lists, and whatever else the manual does not use, come out flat.
pub(crate) fn blocks(page: &str) -> Vec<PageBlock> {
    let mut builder = BlockBuilder::default();
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(tag) => builder.open(tag),
            Event::End(tag) => builder.close(tag),
            Event::Text(text) => builder.push(&text, None),
            Event::Code(text) => builder.push(&text, Some(Style::Code)),
            Event::SoftBreak | Event::HardBreak => builder.push(" ", Some(Style::Plain)),
            _ => {}
        }
    }
    builder.blocks
}

impl BlockBuilder {
    fn push(&mut self, text: &str, style: Option<Style>) {
        let style = style.or_else(|| self.styles.last().cloned()).unwrap_or(Style::Plain);
        match self.text.last_mut() {
            Some(last) if last.style == style => last.text.push_str(text),
            _ => self.text.push(Span { text: text.into(), style }),
        }
    }

    fn open(&mut self, tag: Tag) {
        match tag {
            Tag::Item => self.is_item = true,
            Tag::Emphasis => self.styles.push(Style::Emphasis),
            Tag::Strong => self.styles.push(Style::Strong),
            Tag::Link { dest_url, .. } => {
                let file = dest_url.split('#').next().unwrap_or_default();
                let style = file.strip_suffix(".md").map(|topic| Style::Page(topic.into()));
                self.styles.push(style.unwrap_or(Style::Plain));
            }
            _ => {}
        }
    }

    fn close(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Link => drop(self.styles.pop()),
            TagEnd::Heading(level) => self.end(|text| PageBlock::Heading(level as u8, text)),
            TagEnd::CodeBlock => self.end(|text| PageBlock::Code(plain(&text))),
            TagEnd::Paragraph if !self.is_item => self.end(PageBlock::Paragraph),
            TagEnd::Paragraph => self.end(PageBlock::Item),
            TagEnd::Item => {
                self.end(PageBlock::Item);
                self.is_item = false;
            }
            TagEnd::TableCell => self.row.push(std::mem::take(&mut self.text)),
            TagEnd::TableHead => self.header = std::mem::take(&mut self.row),
            TagEnd::TableRow => self.rows.push(std::mem::take(&mut self.row)),
            TagEnd::Table => {
                let (header, rows) = (std::mem::take(&mut self.header), std::mem::take(&mut self.rows));
                self.blocks.push(PageBlock::Table { header, rows });
            }
            _ => {}
        }
    }

    fn end(&mut self, block: impl FnOnce(Spans) -> PageBlock) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.blocks.push(block(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str, style: Style) -> Span {
        Span { text: text.into(), style }
    }

    #[test]
    fn a_page_comes_apart() {
        let page = "# A\n\none *two*\n`three`\n\n* see [B](b.md#c)\n* d\n\n```sh\ne\n\nf\n```\n\n| g | h |\n|---|---|\n| i | |\n";
        let text = |text: &str| vec![span(text, Style::Plain)];
        let expected = [
            PageBlock::Heading(1, text("A")),
            PageBlock::Paragraph(vec![
                span("one ", Style::Plain),
                span("two", Style::Emphasis),
                span(" ", Style::Plain),
                span("three", Style::Code),
            ]),
            PageBlock::Item(vec![span("see ", Style::Plain), span("B", Style::Page("b".into()))]),
            PageBlock::Item(text("d")),
            PageBlock::Code("e\n\nf\n".into()),
            PageBlock::Table { header: vec![text("g"), text("h")], rows: vec![vec![text("i"), vec![]]] },
        ];
        assert_eq!(blocks(page), expected);
    }
}
