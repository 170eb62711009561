//! What a command prints: tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde::Serialize;

use crate::{DaemonError, logging};

/// Why an answer could not be printed, if one could not.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);
/// Whether this process prints JSON, for what has no [`Output`] at hand.
static JSON: AtomicBool = AtomicBool::new(false);

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Print JSON.
    pub json: bool,
}

/// Whether all answers were printed, or nobody wanted the rest.
///
/// # Errors
/// [`DaemonError::File`] when, for example, the disk is full.
pub(crate) fn outcome() -> Result<(), DaemonError> {
    FAILURE.lock().take().map_or(Ok(()), |source| {
        Err(DaemonError::File { action: "write", path: "standard output".into(), source })
    })
}

/// Whether this process prints JSON.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

impl Output {
    /// The output of this process.
    pub(crate) fn of_process(json: bool) -> Self {
        JSON.store(json, Ordering::Relaxed);
        Self { json }
    }

    /// Prints a value: as JSON, or as people read it.
    pub fn show<T: Serialize>(&self, value: &T, for_people: impl FnOnce(&T) -> String) {
        if self.json {
            // Our own types always serialise; an error would show as its text.
            self.line(serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string()));
        } else {
            self.line(for_people(value));
        }
    }

    /// Prints a line. A reader that has gone away had enough, so that is no error; another failure is kept for
    /// the outcome of the program.
    pub fn line(&self, text: impl Display) {
        let mut stdout = io::stdout().lock();
        let written = writeln!(stdout, "{}", text.to_string().trim_end()).and_then(|()| stdout.flush());
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            FAILURE.lock().get_or_insert(error);
        }
    }

    /// Says something to a person that is no part of the answer.
    pub fn note(&self, text: impl Display) {
        if !self.json {
            logging::stderr_line(&text.to_string());
        }
    }

    /// Shows how something goes on: a spinner in a terminal, lines otherwise, nothing beside JSON.
    pub fn progress(&self) -> Progress {
        let spinner = (!self.json && io::stderr().is_terminal()).then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        Progress { spinner, silent: self.json, said: String::new() }
    }
}

/// How something goes on.
#[derive(Debug)]
pub struct Progress {
    spinner: Option<ProgressBar>,
    silent: bool,
    said: String,
}

impl Progress {
    /// Says where it is.
    pub fn say(&mut self, text: impl Into<String>) {
        let text = text.into();
        if text == self.said {
            return;
        }
        match &self.spinner {
            Some(spinner) => spinner.set_message(text.clone()),
            None if self.silent => {}
            None => logging::stderr_line(&text),
        }
        self.said = text;
    }

    /// What was said last.
    pub fn last(&self) -> &str {
        &self.said
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// A table with a header, without lines.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.map(str::to_uppercase));
    let mut empty = true;
    for row in rows {
        table.add_row(row);
        empty = false;
    }
    if empty { "none".to_owned() } else { trim_lines(&table) }
}

/// Names and values, one pair a line.
pub fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for (name, value) in pairs {
        table.add_row([name.to_owned(), value]);
    }
    trim_lines(&table)
}

fn trim_lines(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Nothing is a dash.
pub fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A time, to the second.
pub fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// How long ago a time is, coarsely.
pub fn ago(time: SystemTime) -> String {
    let passed = SystemTime::now().duration_since(time).unwrap_or_default();
    let seconds = passed.as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
