//! The two schemas are one, there and back again.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use diesel::query_builder::AsQuery;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{QueryDsl, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use latchkey::config::{self, DatabaseUrl};
use latchkey::store::{Store, StoreError, schema};

use crate::harness::{Backend, Database, TestApp, on_both, postgres};
use crate::store::settings;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

fn migrate_up(database: &Database) {
    match database.backend {
        Backend::Sqlite => database.sqlite().run_pending_migrations(SQLITE).map(|_| ()),
        Backend::Postgres => database.postgres().run_pending_migrations(POSTGRES).map(|_| ()),
    }
    .expect("up");
}

fn migrate_down(database: &Database) {
    match database.backend {
        Backend::Sqlite => database.sqlite().revert_all_migrations(SQLITE).map(|_| ()),
        Backend::Postgres => database.postgres().revert_all_migrations(POSTGRES).map(|_| ()),
    }
    .expect("down");
}

/// Our tables: all but those of the tools.
fn tables(database: &Database) -> Vec<String> {
    database.texts(match database.backend {
        Backend::Sqlite => {
            "SELECT name AS t FROM sqlite_master WHERE type = 'table' \
             AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_!_diesel%' ESCAPE '!' ORDER BY name"
        }
        Backend::Postgres => {
            "SELECT CAST(tablename AS TEXT) AS t FROM pg_tables WHERE schemaname = 'public' \
             AND tablename NOT LIKE '!_!_diesel%' ESCAPE '!' ORDER BY tablename"
        }
    })
}

/// `table.column type`, in the words of diesel and the order of the migration; `Nullable<…>` where it may be null.
fn columns(database: &Database, table: &str) -> Vec<String> {
    let lines = database.texts(&match database.backend {
        Backend::Sqlite => format!(
            "SELECT name || ' ' || type || CASE WHEN \"notnull\" THEN '' ELSE ' NULL' END AS t \
             FROM pragma_table_info('{table}') ORDER BY cid"
        ),
        Backend::Postgres => format!(
            "SELECT column_name || ' ' || data_type || CASE is_nullable WHEN 'NO' THEN '' ELSE ' NULL' END AS t \
             FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}' \
             ORDER BY ordinal_position"
        ),
    });
    let in_diesels_words = |line: &String| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let (kind, nullable) = match kind.strip_suffix(" NULL") {
            Some(kind) => (kind, true),
            None => (kind, false),
        };
        let kind = match kind.to_lowercase().as_str() {
            "text" => "Text",
            "bytea" | "blob" => "Binary",
            "bigint" => "BigInt",
            // SQLite's automatic keys are 64 bits wide, and want to be called so.
            "integer" if (table, name, database.backend) == ("audit", "id", Backend::Sqlite) => "BigInt",
            "integer" => "Integer",
            "boolean" => "Bool",
            other => panic!("{table}.{name}: what is {other}?"),
        };
        if nullable { format!("{table}.{name} Nullable<{kind}>") } else { format!("{table}.{name} {kind}") }
    };
    lines.iter().map(in_diesels_words).collect()
}

/// `table column` for each column of a primary key.
fn primary_keys(database: &Database) -> BTreeSet<String> {
    let of_table = |table: &String| {
        database.texts(&match database.backend {
            Backend::Sqlite => {
                format!("SELECT name AS t FROM pragma_table_info('{table}') WHERE pk > 0 ORDER BY pk")
            }
            Backend::Postgres => format!(
                "SELECT CAST(a.attname AS TEXT) AS t FROM pg_index i \
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
                 WHERE i.indrelid = '{table}'::regclass AND i.indisprimary \
                 ORDER BY array_position(CAST(i.indkey AS int2[]), a.attnum)"
            ),
        })
    };
    tables(database).iter().map(|table| format!("{table} ({})", of_table(table).join(", "))).collect()
}

/// The indexes beside the primary keys, as they were made.
fn indexes(database: &Database) -> BTreeSet<String> {
    let made = database.texts(match database.backend {
        Backend::Sqlite => "SELECT sql AS t FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
        Backend::Postgres => {
            "SELECT indexdef AS t FROM pg_indexes WHERE schemaname = 'public' \
             AND indexname NOT LIKE '%!_pkey' ESCAPE '!'"
        }
    });
    let plain = |sql: String| {
        let sql = ["public.", "USING btree ", "::text", "(", ")", ","]
            .iter()
            .fold(sql, |sql, noise| sql.replace(noise, " "));
        sql.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    made.into_iter().map(plain).collect()
}

/// Who refers to whom.
fn references(database: &Database) -> BTreeSet<String> {
    let of_table = |table: &String| {
        database.texts(&match database.backend {
            Backend::Sqlite => format!(
                "SELECT '{table}.' || \"from\" || ' ' || \"table\" || '.' || \"to\" AS t \
                 FROM pragma_foreign_key_list('{table}')"
            ),
            Backend::Postgres => format!(
                "SELECT '{table}.' || a.attname || ' ' || c.confrelid::regclass || '.' || b.attname AS t \
                 FROM pg_constraint c \
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] \
                 JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1] \
                 WHERE c.contype = 'f' AND c.conrelid = '{table}'::regclass"
            ),
        })
    };
    tables(database).iter().flat_map(of_table).collect()
}

fn all_columns(database: &Database) -> Vec<String> {
    tables(database).iter().flat_map(|table| columns(database, table)).collect()
}

on_both! {
    async fn the_schema_goes_up_down_and_up_again(database) {
        migrate_up(&database);
        let (first, first_indexes) = (all_columns(&database), indexes(&database));
        assert!(first.len() > 50, "{first:?}");
        migrate_down(&database);
        assert!(tables(&database).is_empty(), "{:?}", tables(&database));
        assert!(indexes(&database).is_empty());
        migrate_up(&database);
        assert_eq!((all_columns(&database), indexes(&database)), (first, first_indexes));
        let app = TestApp::start(&database);
        app.log_in(crate::harness::app::PHONE).await;
        app.stop().await;
    }
}

#[test]
fn both_databases_have_one_schema() {
    if !postgres::is_here() {
        return;
    }
    let [sqlite, postgres] = [Backend::Sqlite, Backend::Postgres].map(|backend| {
        let database = Database::fresh(backend);
        migrate_up(&database);
        database
    });
    assert!(tables(&sqlite).contains(&"challenges".to_owned()));
    assert_eq!(all_columns(&sqlite), all_columns(&postgres));
    assert_eq!(primary_keys(&sqlite), primary_keys(&postgres));
    assert_eq!(indexes(&sqlite), indexes(&postgres));
    assert_eq!(references(&sqlite), references(&postgres));
    assert_eq!(references(&sqlite).len(), 1);
}

/// What schema.rs says of a table, in the form of [`columns`], and whether all of it can be selected.
macro_rules! expected {
    ($database:expr, $table:ident) => {{
        let empty = || schema::$table::table.select(schema::$table::all_columns).limit(0);
        match $database.backend {
            Backend::Sqlite => empty().execute(&mut $database.sqlite()),
            Backend::Postgres => empty().execute(&mut $database.postgres()),
        }
        .expect("every column is there");
        let names = diesel::debug_query::<diesel::pg::Pg, _>(&empty()).to_string();
        let names = names.split_once(" FROM ").expect("a query").0.replace("SELECT ", "").replace('"', "");
        let types = std::any::type_name::<<schema::$table::table as AsQuery>::SqlType>();
        let types = types.replace("diesel::sql_types::", "").replace("diesel_types::", "");
        let types = types.trim_start_matches('(').trim_end_matches(')').to_owned();
        let both = names.split(", ").zip(types.split(", "));
        both.map(|(name, kind)| format!("{name} {}", last_words(kind))).collect::<Vec<_>>()
    }};
}

/// A type without the path to it.
fn last_words(kind: &str) -> String {
    let word = |path: &str| path.rsplit("::").next().unwrap_or_default().to_owned();
    match kind.split_once('<') {
        Some((outer, inner)) => format!("{}<{}", word(outer), word(inner)),
        None => word(kind),
    }
}

on_both! {
    async fn every_table_is_as_diesel_expects_it(database) {
        migrate_up(&database);
        let expected = [
            expected!(database, audit),
            expected!(database, budgets),
            expected!(database, challenges),
            expected!(database, deliveries),
            expected!(database, guards),
            expected!(database, identities),
            expected!(database, provider_outcomes),
            expected!(database, provider_state),
            expected!(database, sessions),
            expected!(database, users),
        ];
        assert_eq!(all_columns(&database), expected.concat());
    }
}

on_both! {
    async fn an_app_and_address_have_one_current_challenge_in_the_mesibo_dialect(database) {
        migrate_up(&database);
        let add = |id: &str, dialect: &str, ended_at: &str| {
            let sql = format!(
                "INSERT INTO challenges (id, dialect, purpose, app_id, realm, address, key_id, salt, slots, version, \
                 guesses, repeats, created_at, expires_at, is_new_user, grant_expires_at, lease_until, ended_at) \
                 VALUES ('{id}', '{dialect}', 'login', 'app', 'chat', '+1', 'k1', '', '', 1, 0, 0, 0, 0, false, 0, 0, \
                 {ended_at})"
            );
            let query = diesel::sql_query(sql);
            match database.backend {
                Backend::Sqlite => query.execute(&mut database.sqlite()),
                Backend::Postgres => query.execute(&mut database.postgres()),
            }
        };
        for (id, dialect, ended_at) in
            [("1", "mesibo", "NULL"), ("2", "mesibo", "5"), ("3", "v1", "NULL"), ("4", "v1", "NULL")]
        {
            add(id, dialect, ended_at).unwrap_or_else(|error| panic!("{id}: {error}"));
        }
        let second = add("5", "mesibo", "NULL");
        assert!(matches!(&second, Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))), "{second:?}");
        assert!(indexes(&database).iter().any(|index| index.contains("challenges_current")));
    }
}

on_both! {
    async fn sixteen_stores_can_open_one_empty_database_at_once_l7(database) {
        let start = Arc::new(Barrier::new(16));
        let settings = config::Database { connections: 2, ..settings(&database) };
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let (start, settings) = (Arc::clone(&start), settings.clone());
                std::thread::spawn(move || {
                    start.wait();
                    Store::open(&settings).map(|_| ())
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic").expect("opened");
        }
        let expected: i64 = match database.backend {
            Backend::Sqlite => count(&SQLITE),
            Backend::Postgres => count(&POSTGRES),
        };
        assert_eq!(database.count("__diesel_schema_migrations"), expected);
        assert_eq!(tables(&database).len(), 10);
    }
}

fn count(migrations: &EmbeddedMigrations) -> i64 {
    let all = diesel::migration::MigrationSource::<diesel::sqlite::Sqlite>::migrations(migrations);
    i64::try_from(all.expect("migrations").len()).expect("few")
}

#[test]
fn a_file_in_a_folder_that_is_missing_is_an_error() {
    let database = Database::fresh(Backend::Sqlite);
    let url = DatabaseUrl::Sqlite(database.file("missing/test.db"));
    let settings = config::Database { url, ..settings(&database) };
    assert!(matches!(Store::open(&settings), Err(StoreError::Connect(_))));
}

#[derive(diesel::QueryableByName)]
struct Step {
    #[diesel(sql_type = diesel::sql_types::Text)]
    detail: String,
}

#[test]
fn sqlite_finds_what_every_login_asks_for_by_an_index_and_not_by_a_walk_through_the_realm() {
    let database = Database::fresh(Backend::Sqlite);
    let _store = Store::open(&settings(&database)).expect("the database");
    for (index, table, condition) in [
        (
            "identities_upstream (upstream_id=",
            "identities",
            "upstream_id IS NOT NULL AND realm = ? AND upstream_id = ?",
        ),
        ("sessions_user (user_id=", "sessions", "user_id = ? AND ended_at IS NULL"),
        (
            "deliveries_failed (challenge_id=",
            "deliveries",
            "challenge_id = ? AND failed_providers IS NOT NULL",
        ),
        (
            "challenges_current (app_id=? AND address=",
            "challenges",
            "dialect = 'mesibo' AND ended_at IS NULL AND app_id = ? AND address = ?",
        ),
    ] {
        let explain = format!("EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {condition}");
        let steps: Vec<Step> = diesel::sql_query(explain).load(&mut database.sqlite()).expect("a plan");
        let plan: Vec<&str> = steps.iter().map(|step| step.detail.as_str()).collect();
        assert!(plan.concat().contains(index), "{table}: {plan:?}");
    }
}
