//! Reading from a SQLite file.
//!
//! Guarantees: each thread reads over a connection of its own, in place: a look-up by key takes less time than handing
//! it to another thread, and in WAL mode a reader waits for nobody. What one look sees belongs together. A connection
//! that failed is never used again.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::ConnectionError;
use thread_local::ThreadLocal;

use super::{AnyConnection, StoreError};

type Connect = Box<dyn Fn() -> Result<AnyConnection, ConnectionError> + Send + Sync>;

pub(super) struct Readers {
    connect: Connect,
    connections: ThreadLocal<RefCell<Option<AnyConnection>>>,
}

impl Readers {
    pub(super) fn new<C>(connect: C) -> Self
    where
        C: Fn() -> Result<AnyConnection, ConnectionError> + Send + Sync + 'static,
    {
        Self { connect: Box::new(connect), connections: ThreadLocal::new() }
    }

    pub(super) fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: Fn(&mut AnyConnection) -> Result<T, diesel::result::Error>,
    {
        let kept = self.connections.get_or_default();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => (self.connect)().map_err(|error| StoreError::Connect(error.to_string()))?,
        };
        // In one transaction: each costs a lock on the file, and a look at how far the log is.
        let read = |connection: &mut AnyConnection| {
            connection.command("BEGIN")?;
            let value = query(connection)?;
            connection.command("COMMIT")?;
            Ok(value)
        };
        let done = catch_unwind(AssertUnwindSafe(|| read(&mut connection))).or(Err(StoreError::Panicked))?;
        let value = done.map_err(|source| StoreError::Database { doing: "reading", source })?;
        kept.replace(Some(connection));
        Ok(value)
    }
}
