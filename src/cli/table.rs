//! Tables for people: aligned, as wide as the terminal at most, coloured only there.

use std::io::{self, IsTerminal};

use console::{Color, Style, Term, measure_text_width, truncate_str};

/// Blanks between two columns.
const GAP: usize = 2;
/// Width to which a column can be shortened at most.
const MIN_SHORTENED: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

pub(crate) struct Column {
    pub(crate) header: &'static str,
    pub(crate) align: Align,
    /// Its texts may be cut off.
    pub(crate) shortens: bool,
    /// If there is no room, columns of the highest rank are left out first; those of rank 0 stay.
    pub(crate) rank: u8,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) color: Option<Color>,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, color: None }
    }
}

impl Cell {
    pub(crate) fn colored(text: String, color: Color) -> Cell {
        Cell { text, color: Some(color) }
    }
}

/// What a table is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    /// Columns and rows of the terminal; `None` if it is none.
    pub(crate) terminal: Option<(usize, usize)>,
    pub(crate) colored: bool,
}

impl Output {
    pub(crate) fn stdout() -> Output {
        let size = || Term::stdout().size_checked().map_or((80, 24), |(rows, columns)| (columns, rows));
        let terminal = io::stdout().is_terminal().then(|| {
            let (columns, rows) = size();
            (usize::from(columns.max(20)), usize::from(rows.max(4)))
        });
        Output { terminal, colored: terminal.is_some() && console::colors_enabled() }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }
}

/// Rows of cells, each as long as there are columns.
pub(crate) struct Table {
    pub(crate) columns: &'static [Column],
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Returns the lines, the header first.
    pub(crate) fn lines(&self, output: &Output) -> Vec<String> {
        let natural: Vec<usize> = (0..self.columns.len()).map(|i| self.width(i)).collect();
        let shown = self.fit(natural, output.terminal.map(|(columns, _)| columns));
        let bold = Style::new().bold().force_styling(output.colored);
        let header: Vec<Cell> = self.columns.iter().map(|c| Cell::from(c.header.to_string())).collect();
        let mut lines = vec![bold.apply_to(self.line(&header, &shown, false)).to_string()];
        lines.extend(self.rows.iter().map(|row| self.line(row, &shown, output.colored)));
        lines
    }

    fn width(&self, column: usize) -> usize {
        let texts = self.rows.iter().map(|row| measure_text_width(&row[column].text));
        texts.max().unwrap_or(0).max(self.columns[column].header.len())
    }

    /// Returns the columns that are shown, with their widths.
    fn fit(&self, natural: Vec<usize>, room: Option<usize>) -> Vec<(usize, usize)> {
        let mut shown: Vec<(usize, usize)> = natural.into_iter().enumerate().collect();
        let Some(room) = room else { return shown };
        shown.retain(|(i, _)| self.rows.is_empty() || self.rows.iter().any(|row| row[*i].text != "-"));
        loop {
            let total = shown.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP);
            let mut over = total.saturating_sub(room);
            if over == 0 {
                return shown;
            }
            let can_give: usize = shown.iter().map(|&(i, width)| self.can_give(i, width)).sum();
            let last = shown.iter().map(|(i, _)| self.columns[*i].rank).max().unwrap_or(0);
            if can_give < over && last > 0 {
                shown.retain(|(i, _)| self.columns[*i].rank != last);
                continue;
            }
            for (i, width) in &mut shown {
                let less = self.can_give(*i, *width).min(over);
                (*width, over) = (*width - less, over - less);
            }
            return shown;
        }
    }

    fn can_give(&self, column: usize, width: usize) -> usize {
        if self.columns[column].shortens { width.saturating_sub(MIN_SHORTENED) } else { 0 }
    }

    fn line(&self, row: &[Cell], shown: &[(usize, usize)], colored: bool) -> String {
        let mut line = String::new();
        for (n, &(i, width)) in shown.iter().enumerate() {
            let Cell { text, color } = &row[i];
            let text = truncate_str(text, width, "…");
            let padding = " ".repeat(width.saturating_sub(measure_text_width(&text)));
            let painted = match color {
                Some(color) if colored => {
                    Style::new().fg(*color).force_styling(true).apply_to(text).to_string()
                }
                _ => text.into_owned(),
            };
            if n > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            match self.columns[i].align {
                Align::Left => line.extend([painted, padding]),
                Align::Right => line.extend([padding, painted]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { header: "RUN", align: Align::Left, shortens: false, rank: 0 },
        Column { header: "TITLE", align: Align::Left, shortens: true, rank: 0 },
        Column { header: "SIZE", align: Align::Right, shortens: false, rank: 1 },
    ];

    fn table(title: &str) -> Table {
        let row = |run: &str, title: &str, size: &str| {
            vec![Cell::from(run.to_string()), Cell::from(title.to_string()), Cell::from(size.to_string())]
        };
        Table { columns: &COLUMNS, rows: vec![row("1", title, "10 B"), row("22", "b", "1.0 KiB")] }
    }

    fn lines(title: &str, columns: Option<usize>) -> Vec<String> {
        table(title).lines(&Output { terminal: columns.map(|columns| (columns, 24)), colored: false })
    }

    #[test]
    fn wide_characters_keep_the_columns_straight() {
        assert_eq!(
            lines("日本語", None),
            ["RUN  TITLE      SIZE", "1    日本語     10 B", "22   b       1.0 KiB"]
        );
    }

    #[test]
    fn a_narrow_terminal_shortens_titles_and_then_leaves_columns_out() {
        let long = "a title that is much too long for this";
        assert_eq!(lines(long, Some(30))[1], "1    a title that is…     10 B");
        assert_eq!(lines(long, Some(22))[1], "1    a title that is …");
        assert!(lines(long, Some(22)).iter().all(|line| measure_text_width(line) <= 22));
        assert!(lines(long, None)[1].contains(long));
    }
}
