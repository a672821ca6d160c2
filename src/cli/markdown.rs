//! The manual's Markdown, taken apart for the terminal and for manual pages.

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

pub(crate) type Text = Vec<Span>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    /// Level 1 is the page's title.
    Heading(u8, Text),
    Paragraph(Text),
    Item(Text),
    Code(String),
    Table {
        header: Vec<Text>,
        rows: Vec<Vec<Text>>,
    },
}

/// Returns a text without its looks.
pub(crate) fn plain(text: &[Span]) -> String {
    text.iter().map(|span| span.text.as_str()).collect()
}

#[derive(Default)]
struct Reading {
    blocks: Vec<Block>,
    text: Text,
    /// The styles that are open, innermost last.
    styles: Vec<Style>,
    is_item: bool,
    header: Vec<Text>,
    row: Vec<Text>,
    rows: Vec<Vec<Text>>,
}

/// Takes a page apart. Lists within lists, and what else the manual does without, come out flat.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut reading = Reading::default();
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(tag) => reading.open(tag),
            Event::End(tag) => reading.close(tag),
            Event::Text(text) => reading.push(&text, None),
            Event::Code(text) => reading.push(&text, Some(Style::Code)),
            Event::SoftBreak | Event::HardBreak => reading.push(" ", Some(Style::Plain)),
            _ => {}
        }
    }
    reading.blocks
}

impl Reading {
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
            TagEnd::Heading(level) => self.end(|text| Block::Heading(level as u8, text)),
            TagEnd::CodeBlock => self.end(|text| Block::Code(plain(&text))),
            TagEnd::Paragraph if !self.is_item => self.end(Block::Paragraph),
            TagEnd::Paragraph => self.end(Block::Item),
            TagEnd::Item => {
                self.end(Block::Item);
                self.is_item = false;
            }
            TagEnd::TableCell => self.row.push(std::mem::take(&mut self.text)),
            TagEnd::TableHead => self.header = std::mem::take(&mut self.row),
            TagEnd::TableRow => self.rows.push(std::mem::take(&mut self.row)),
            TagEnd::Table => {
                let (header, rows) = (std::mem::take(&mut self.header), std::mem::take(&mut self.rows));
                self.blocks.push(Block::Table { header, rows });
            }
            _ => {}
        }
    }

    fn end(&mut self, block: impl FnOnce(Text) -> Block) {
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
            Block::Heading(1, text("A")),
            Block::Paragraph(vec![
                span("one ", Style::Plain),
                span("two", Style::Emphasis),
                span(" ", Style::Plain),
                span("three", Style::Code),
            ]),
            Block::Item(vec![span("see ", Style::Plain), span("B", Style::Page("b".into()))]),
            Block::Item(text("d")),
            Block::Code("e\n\nf\n".into()),
            Block::Table { header: vec![text("g"), text("h")], rows: vec![vec![text("i"), vec![]]] },
        ];
        assert_eq!(blocks(page), expected);
    }
}
