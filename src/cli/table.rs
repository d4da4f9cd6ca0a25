//! Tables for people: columns aligned by blanks, readable without colour, cut by nobody.

use serde_json::Value;

/// A table under construction.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    title: &'static str,
    align: Align,
}

/// Where a column's texts stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        let columns = columns.iter().map(|(title, align)| Column { title, align: *align }).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { one_line(&cell) };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The table as text, one line for the titles and one for each row.
    pub(super) fn text(&self) -> String {
        let titles = self.columns.iter().map(|column| column.title.to_owned()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&titles).chain(&self.rows).collect();
        let width = |place: usize| {
            lines
                .iter()
                .filter_map(|line| line.get(place))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let cells = line.iter().zip(&self.columns).zip(&widths);
            let cells: Vec<String> = cells
                .map(|((cell, column), width)| match column.align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                })
                .collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// The text of `value` that is called `name`; empty if there is none.
pub(super) fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// What a page lists.
pub(super) fn items(page: &Value) -> impl Iterator<Item = &Value> {
    page["items"].as_array().into_iter().flatten()
}

/// What comes from elsewhere may break neither the table nor the terminal.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A span of time for people: `0.4s`, `12s`, `3m 20s`, `5h 2m`, `3d 4h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..10 => format!("{}.{}s", seconds, ms % 1_000 / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let mut table = Table::new(&[("NAME", Align::Left), ("COUNT", Align::Right), ("NOTE", Align::Left)]);
        table.row(["crisis", "7", ""].map(str::to_owned));
        table.row(["übergröße", "12000", "slow\nnow"].map(str::to_owned));
        assert_eq!(
            table.text(),
            "NAME       COUNT  NOTE\n\
             crisis         7  -\n\
             übergröße  12000  slow now\n"
        );
    }

    #[test]
    fn spans_are_as_coarse_as_people_think() {
        let spans = [0, 450, 9_999, 59_999, 200_000, 18_120_000, 273_600_000].map(span);
        assert_eq!(spans, ["0.0s", "0.4s", "9.9s", "59s", "3m 20s", "5h 2m", "3d 4h"]);
    }
}
