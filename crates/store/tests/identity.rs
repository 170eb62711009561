//! A database serves one role, chain, contract, token and account, and no older program.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use alloy::primitives::Address;
use common::*;
use diesel_async::SimpleAsyncConnection;
use privatix_channel::Domain;
use privatix_db::{Database, DbError, EmbeddedMigrations, embed_migrations, on};
use privatix_store::StoreError;
use privatix_store::identity::{self, Identity, Role};

const SCHEMA: EmbeddedMigrations = embed_migrations!("migrations");

async fn claim(db: &Database, ours: &Identity) -> Result<(), StoreError> {
    let mut tx = db.begin().await.unwrap();
    identity::claim(&mut tx, ours).await?;
    tx.commit().await.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_new_database_is_claimed_and_known_again_after_a_restart() {
    let (dir, db) = fresh().await;
    claim(&db, &identity()).await.unwrap();
    claim(&db, &identity()).await.unwrap();
    drop(db);
    let db = open(&dir.path().join("market.db")).await;
    claim(&db, &identity()).await.unwrap();
}

#[tokio::test]
async fn a_database_of_another_role_chain_contract_token_or_account_is_refused_by_name() {
    let (_dir, db) = fresh().await;
    let ours = identity();
    claim(&db, &ours).await.unwrap();
    let other = Address::repeat_byte(0xee);
    let with = |chain_id, contract, token| Identity {
        domain: Domain::new(chain_id, contract, token),
        ..ours.clone()
    };
    let (contract, token) = (ours.domain.contract(), ours.domain.token());
    for (what, theirs) in [
        ("role", Identity { role: Role::Client, ..ours.clone() }),
        ("chain", with(1, contract, token)),
        ("chain of a fork", Identity { domain: ours.domain.on_chain(31338), ..ours.clone() }),
        ("contract", with(31337, other, token)),
        ("token", with(31337, contract, other)),
        ("account", Identity { account: other, ..ours.clone() }),
    ] {
        let refusal = claim(&db, &theirs).await.unwrap_err();
        let StoreError::OtherIdentity { found, expected } = &refusal else { panic!("{what}: {refusal}") };
        assert_eq!((found, expected), (&ours.to_string(), &theirs.to_string()), "{what}");
        assert!(refusal.to_string().contains("configure another database file"), "{refusal}");
    }
    claim(&db, &ours).await.unwrap();
}

#[tokio::test]
async fn a_database_on_a_forks_contract_keeps_the_chain_id_of_its_deployment() {
    let (_dir, db) = fresh().await;
    let forked = Identity { domain: domain().on_chain(31338), ..identity() };
    claim(&db, &forked).await.unwrap();
    claim(&db, &forked).await.unwrap();
    let deployed_there = Domain::new(31338, domain().contract(), domain().token());
    let other = Identity { domain: deployed_there, ..identity() };
    let refusal = claim(&db, &other).await.unwrap_err();
    assert!(matches!(refusal, StoreError::OtherIdentity { .. }), "{refusal}");
    assert!(refusal.to_string().contains("deployed on chain 31337"), "{refusal}");
}

#[tokio::test]
async fn a_database_that_a_newer_program_migrated_is_refused_and_says_what_to_do() {
    let (dir, db) = fresh().await;
    let path = dir.path().join("market.db");
    let mut tx = db.begin().await.unwrap();
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000300')";
    on!(&mut *tx, |c| c.batch_execute(newer).await).unwrap();
    tx.commit().await.unwrap();
    drop(db);
    let refusal = Database::open(&path, &[privatix_store::MIGRATIONS]).await.unwrap_err();
    assert!(matches!(&refusal, DbError::Newer { version, .. } if version == "20991231000300"), "{refusal}");
    let text = refusal.to_string();
    assert!(text.contains("market.db") && text.contains("run the newer program"), "{text}");
}

#[tokio::test]
async fn a_database_of_the_contracts_first_edition_is_refused_and_left_as_it_is() {
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, SqliteConnection};
    use diesel_migrations::MigrationHarness as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("market.db");
    let before = {
        let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
        for _ in 0..2 {
            conn.run_next_migration(SCHEMA).unwrap();
        }
        let identity =
            "INSERT INTO identity VALUES (1, 'agent', 1, randomblob(20), randomblob(20), randomblob(20))";
        conn.batch_execute(identity).unwrap();
        conn.applied_migrations().unwrap()
    };
    let refusal = Database::open(&path, &[privatix_store::MIGRATIONS]).await.unwrap_err();
    let text = refusal.to_string();
    assert!(matches!(refusal, DbError::Migration { .. }), "{text}");
    assert!(text.contains("first edition") && text.contains("new data folder"), "{text}");

    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    assert_eq!(conn.applied_migrations().unwrap(), before, "the earlier version can go on with it");
    // One that served nobody yet is no loss.
    conn.batch_execute("DELETE FROM identity").unwrap();
    drop(conn);
    Database::open(&path, &[privatix_store::MIGRATIONS]).await.unwrap();
}

#[tokio::test]
async fn the_schema_can_be_taken_back_whole() {
    use diesel::Connection as _;
    use diesel_migrations::MigrationHarness as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("market.db");
    let mut conn = diesel::SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    conn.run_pending_migrations(SCHEMA).unwrap();
    conn.revert_all_migrations(SCHEMA).unwrap();
    conn.run_pending_migrations(SCHEMA).unwrap();
}
