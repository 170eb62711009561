//! The queries of every run are searches in the index made for them, however many jobs there have been.

use diesel::debug_query;
use diesel::prelude::*;
use diesel::query_builder::QueryFragment;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::MigrationHarness as _;
use privatix_db::types::Micros;
use privatix_db::{EmbeddedMigrations, embed_migrations};

use crate::{lease, queue};

const SCHEMA: EmbeddedMigrations = embed_migrations!("migrations");

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

fn plan(query: &impl QueryFragment<Sqlite>) -> String {
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    conn.run_pending_migrations(SCHEMA).unwrap();
    // What is not bound is NULL, which does not change a plan.
    let explain = format!("EXPLAIN QUERY PLAN {}", debug_query::<Sqlite, _>(query));
    let steps: Vec<Step> = diesel::sql_query(explain).load(&mut conn).unwrap();
    steps.into_iter().map(|step| step.detail).collect::<Vec<_>>().join("; ")
}

#[track_caller]
fn uses(query: &impl QueryFragment<Sqlite>, index: &str) {
    let plan = plan(query);
    let search = plan.starts_with(&format!("SEARCH job USING INDEX {index} "))
        || plan.starts_with(&format!("SEARCH job USING COVERING INDEX {index} "));
    assert!(search && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn finding_the_next_job_of_a_subject_does_not_pass_the_ended_ones() {
    uses(&queue::next_of("a").limit(1), "job_next");
}

#[test]
fn finding_a_subjects_head_is_one_look() {
    uses(&queue::head_of("a").limit(1), "job_head");
}

#[test]
fn finding_a_duplicate_looks_at_pending_jobs_only() {
    uses(&queue::duplicate_of("kind", "a", "key").limit(1), "job_unique");
}

#[test]
fn claiming_and_sleeping_look_at_heads_only() {
    uses(&lease::due_at(Micros(0)).limit(8), "job_claim");
    uses(&lease::soonest().limit(1), "job_claim");
}

#[test]
fn finding_cancelled_jobs_looks_at_what_is_in_hand_only() {
    uses(&lease::cancelled_of("me"), "job_held");
}
