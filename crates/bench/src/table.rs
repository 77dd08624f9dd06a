//! The one table that a run prints.

use std::time::Duration;

/// The columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Proxy,
    Sqlite,
    Redis,
}

struct Row {
    name: String,
    cells: [String; 3],
    aim: &'static str,
}

/// Rows in the order in which they were first written to.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Fills a cell, and says it on stderr: a run takes minutes.
    pub fn put(&mut self, name: &str, column: Column, value: impl Into<String>) {
        let value = value.into();
        let heading = ["bare proxy", "SQLite", "Redis"][column as usize];
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
        println!("| | bare proxy | SQLite | Redis | aim |\n|---|---:|---:|---:|---|");
        for Row { name, cells: [proxy, sqlite, redis], aim } in &self.0 {
            println!("| {name} | {proxy} | {sqlite} | {redis} | {aim} |");
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
