//! The queries of every run are searches in the index made for them, however many jobs there have been.

use diesel::debug_query;
use diesel::prelude::*;
use diesel::query_builder::QueryFragment;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::MigrationHarness as _;
use privatix_db::types::Micros;
use privatix_db::{EmbeddedMigrations, embed_migrations};

use crate::claim::{Among, Lease};
use crate::suspect;
use crate::{JobId, JobStatus, claim, clock, depth, lease, queue};

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
fn uses(query: &impl QueryFragment<Sqlite>, steps: &[&str]) {
    let plan = plan(query);
    for step in steps {
        assert!(plan.contains(step), "{step} is not in {plan}");
    }
    // Virtual tables and results of subqueries are as long as what the caller passes.
    let scans = plan.split("; ").filter(|step| step.starts_with("SCAN") && !step.contains("VIRTUAL TABLE"));
    let of_tables: Vec<&str> = scans.filter(|step| step.starts_with("SCAN job")).collect();
    assert_eq!(of_tables, [""; 0], "{plan}");
}

#[test]
fn finding_a_subjects_head_is_one_look() {
    uses(&queue::head_of("a").limit(1), &["SEARCH job USING INDEX job_head (subject=?)"]);
}

#[test]
fn hastening_a_job_looks_at_it_by_its_id() {
    uses(&queue::hasten_statement(JobId(1), Micros(0)), &["SEARCH job USING INTEGER PRIMARY KEY (rowid=?)"]);
}

#[test]
fn making_a_head_does_not_pass_the_ended_jobs_of_its_subject() {
    uses(
        &queue::promote_statement(&["a"], Micros(0)),
        &[
            "SEARCH head USING INDEX job_head (subject=?)",
            "SEARCH next USING INDEX job_next (subject=? AND status=?)",
            "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)",
        ],
    );
}

#[test]
fn marking_jobs_done_looks_at_each_by_its_id() {
    let lease = Lease { id: JobId(1), token: 1, subject: String::new() };
    uses(
        &lease::complete_statement(&[lease], Micros(0)),
        &["SEARCH job USING INTEGER PRIMARY KEY (rowid=?)"],
    );
}

#[test]
fn finding_a_duplicate_looks_at_pending_jobs_only() {
    uses(
        &queue::duplicate_of("kind", "a", "key").limit(1),
        &["USING INDEX job_unique (kind=? AND subject=? AND unique_key=?)"],
    );
}

#[test]
fn claiming_and_sleeping_look_at_the_heads_of_their_kinds_only() {
    uses(
        &claim::claim_statement("me", &[(&["a", "b"], 8), (&["c"], 0)], Among::Jobs, Micros(0)),
        &[
            "SEARCH job USING INDEX job_due (kind=? AND claim_at>? AND claim_at<?)",
            "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)",
        ],
    );
    uses(&claim::next_due_statement(&["a", "b"]), &["SEARCH job USING INDEX job_due (kind=?"]);
}

#[test]
fn claiming_and_finding_suspects_reads_those_only() {
    uses(
        &claim::claim_statement("me", &[(&["a", "b"], 1)], Among::Suspects, Micros(0)),
        &["SEARCH job USING INDEX job_suspect (kind=? AND claim_at>? AND claim_at<?)"],
    );
    assert_eq!(plan(&suspect::waiting_statement()), "SCAN job USING INDEX job_suspect");
}

#[test]
fn counting_what_waits_reads_the_due_jobs_of_each_kind() {
    uses(
        &depth::depths_statement(&["a", "b"], Micros(0)),
        &[
            "SEARCH job USING INDEX job_due (kind=? AND claim_at>? AND claim_at<?)",
            "SEARCH job USING INDEX job_suspect (kind=?",
        ],
    );
    uses(&depth::failed_statement(), &["INDEX job_ended (status=?"]);
}

#[test]
fn looking_for_held_jobs_reads_those_only() {
    let plan = plan(&lease::held_by_anyone());
    assert!(plan.contains("USING INDEX job_held"), "{plan}");
}

#[test]
fn a_clock_that_was_set_back_is_found_by_the_newest_wait() {
    uses(&clock::set_after(Micros(0)).limit(1), &["SEARCH job USING INDEX job_set (set_at>?)"]);
    uses(&clock::waits_statement(Micros(0)), &["SEARCH job USING INDEX job_set (set_at>?)"]);
}

#[test]
fn pruning_reads_what_it_deletes() {
    let plan = plan(&queue::ended(JobStatus::Done, Micros(0)).limit(1));
    assert!(plan.contains("SEARCH job USING INDEX job_ended (status=? AND ended_at<?)"), "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}
