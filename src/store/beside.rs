//! Look-ups that are made together.
//!
//! Guarantees: each finds at most one row, by a key. On PostgreSQL they are one statement and one round trip.

use diesel::pg::{Pg, PgConnection};
use diesel::query_builder::{AstPass, Query, QueryFragment};
use diesel::result::QueryResult;
use diesel::sql_types::Nullable;

/// Look-ups as one statement of PostgreSQL.
pub(super) struct Beside<Looks>(pub(super) Looks);

macro_rules! beside {
    ($columns:literal, $($look:ident $index:tt $name:literal),+) => {
        impl<$($look: QueryFragment<Pg>),+> QueryFragment<Pg> for Beside<($($look),+)> {
            fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                pass.push_sql(concat!("SELECT ", $columns, " FROM (SELECT) AS one"));
                $(
                    pass.push_sql(" LEFT JOIN (");
                    self.0.$index.walk_ast(pass.reborrow())?;
                    pass.push_sql(concat!(") AS ", $name, " ON TRUE"));
                )+
                Ok(())
            }
        }

        impl<$($look: Query),+> Query for Beside<($($look),+)> {
            type SqlType = ($(Nullable<$look::SqlType>),+);
        }
    };
}

beside!("a.*, b.*", A 0 "a", B 1 "b");
beside!("a.*, b.*, c.*", A 0 "a", B 1 "b", C 2 "c");

impl<Looks> diesel::RunQueryDsl<PgConnection> for Beside<Looks> {}

/// Makes look-ups; what each found.
macro_rules! each_found {
    ($db:expr, $($look:expr),+) => {
        match $db {
            $crate::store::connection::AnyConnection::Sqlite(c) => {
                // A closure, so that the first error ends it.
                let each = |c: &mut diesel::SqliteConnection| {
                    Ok(($(prepared!($look).get_result(c).optional()?),+))
                };
                each(c)
            }
            $crate::store::connection::AnyConnection::Postgres(c) => {
                prepared!($crate::store::beside::Beside(($($look),+))).get_result(c)
            }
        }
    };
}
pub(super) use each_found;
