//! What all contenders run.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// The processor of this repository.
    Ours,
    /// `apalis-sqlite`, which asks for new jobs every 20 ms.
    Polling,
    /// `apalis-sqlite`, which is also woken by SQLite's update hook.
    Hooked,
}

impl Contender {
    pub const ALL: [Self; 3] = [Self::Ours, Self::Polling, Self::Hooked];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "privatix-jobs",
            Self::Polling => "apalis-sqlite, polling",
            Self::Hooked => "apalis-sqlite, hooked",
        }
    }
}

/// A job of 200 bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    pub number: i64,
    pub body: String,
}

impl Load {
    pub fn new(number: i64) -> Self {
        Self { number, body: "x".repeat(200) }
    }
}

/// How jobs are pushed and run.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    /// Handlers at once.
    pub workers: usize,
    /// Tasks that push.
    pub producers: u64,
    /// Jobs that a push carries.
    pub a_push: u64,
    /// Whether a handler writes a row of its own.
    pub effects: bool,
}

/// The table of the handlers' rows.
pub const EFFECTS: &str = "CREATE TABLE IF NOT EXISTS effect (number INTEGER NOT NULL)";

/// The row of one job.
pub fn effect(number: i64) -> String {
    format!("INSERT INTO effect (number) VALUES ({number})")
}
