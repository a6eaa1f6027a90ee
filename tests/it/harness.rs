//! What tests are made of.

pub mod app;
pub mod backend;
pub mod chatsdk;
pub mod database;
pub mod gateway;
pub mod http;
pub mod logs;
pub mod mesibo;
pub mod outbox;
pub mod postgres;
pub mod process;
pub mod reports;
pub mod sendbird;
pub mod smtp;
pub mod upstream;
pub mod wire;

pub use app::TestApp;
pub use backend::FakeBackend;
pub use database::{Backend, Database};
pub use gateway::{FakeGateway, Manner};
pub use mesibo::FakeMesibo;
pub use outbox::Outbox;
pub use upstream::{FakeUpstream, Mint};
pub use wire::Wire;

/// Writes a test once and runs it on each database.
macro_rules! on_both {
    ($(#[$attribute:meta])* async fn $name:ident($database:ident) $body:block) => {
        mod $name {
            use super::*;

            async fn test($database: $crate::harness::Database) $body

            $(#[$attribute])*
            #[tokio::test]
            async fn on_sqlite() {
                test($crate::harness::Database::fresh($crate::harness::Backend::Sqlite)).await;
            }

            $(#[$attribute])*
            #[tokio::test]
            async fn on_postgres() {
                if $crate::harness::postgres::is_here() {
                    test($crate::harness::Database::fresh($crate::harness::Backend::Postgres)).await;
                }
            }
        }
    };
}
pub(crate) use on_both;
