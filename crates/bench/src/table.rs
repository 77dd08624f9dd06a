//! The one table that a run prints.

use std::time::Duration;

/// The columns. Those of the version before are there with `--before` only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Proxy,
    SqliteBefore,
    Sqlite,
    RedisBefore,
    Redis,
}

const HEADINGS: [&str; 5] = ["bare proxy", "SQLite before", "SQLite", "Redis before", "Redis"];

impl Column {
    /// Whether the system needs a Redis.
    pub fn is_redis(self) -> bool {
        matches!(self, Self::Redis | Self::RedisBefore)
    }

    /// Whether it is the version before.
    pub fn is_before(self) -> bool {
        matches!(self, Self::SqliteBefore | Self::RedisBefore)
    }
}

struct Row {
    name: String,
    cells: [String; 5],
    aim: &'static str,
}

/// Rows in the order in which they were first written to.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Fills a cell, and says it on stderr: a run takes minutes.
    pub fn put(&mut self, name: &str, column: Column, value: impl Into<String>) {
        let value = value.into();
        let heading = HEADINGS[column as usize];
        eprintln!("{name} | {heading} | {value}");
        let row = self.row(name);
        row.cells[column as usize] = value;
    }

    /// Says what a row should show.
    pub fn aim(&mut self, name: &str, aim: &'static str) {
        self.row(name).aim = aim;
    }

    fn row(&mut self, name: &str) -> &mut Row {
        let at = self.0.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.0.push(Row { name: name.to_owned(), cells: Default::default(), aim: "" });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// As Markdown.
    pub fn print(&self) {
        let is_used = |column: &usize| self.0.iter().any(|row| !row.cells[*column].is_empty());
        let columns: Vec<usize> = (0..HEADINGS.len()).filter(is_used).collect();
        let line = |cells: &[&str]| columns.iter().map(|at| format!(" {} |", cells[*at])).collect::<String>();
        println!("| |{} aim |\n|---|{}---|", line(&HEADINGS), "---:|".repeat(columns.len()));
        for Row { name, cells, aim } in &self.0 {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            println!("| {name} |{} {aim} |", line(&cells));
        }
    }
}

/// A duration with three digits.
pub fn show(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..10.0 => format!("{micros:.2} µs"),
        ..100.0 => format!("{micros:.1} µs"),
        ..1_000.0 => format!("{micros:.0} µs"),
        ..10_000.0 => format!("{:.2} ms", micros / 1e3),
        ..100_000.0 => format!("{:.1} ms", micros / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// A duration, and how many times the baseline's it is.
pub fn show_beside(duration: Duration, baseline: Duration) -> String {
    if baseline.is_zero() {
        return show(duration);
    }
    format!("{} ({:.1}x)", show(duration), duration.as_secs_f64() / baseline.as_secs_f64())
}
