use diesel::QueryResult;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::result::Error;
use diesel::sqlite::SqliteConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnectionCore, SimpleAsyncConnection};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::Activity;

type Wrapped = SyncConnectionWrapper<SqliteConnection>;

/// The asynchronous SQLite connection.
///
/// The writer's one watches what its statements come to: after an error that may have made SQLite roll back the transaction,
/// it refuses every further statement, which would commit alone. Diesel's instrumentation cannot see that by itself, as it
/// reports no error of statements that return rows.
pub struct SqliteConn {
    wrapped: Wrapped,
    watched: Option<Activity>,
}

impl SqliteConn {
    /// A connection that nobody watches.
    pub fn new(conn: SqliteConnection) -> Self {
        Self { wrapped: Wrapped::new(conn), watched: None }
    }

    pub(crate) fn watched(mut conn: SqliteConnection, activity: Activity) -> Self {
        activity.watch(&mut conn);
        Self { wrapped: Wrapped::new(conn), watched: Some(activity) }
    }

    /// Runs several statements in one visit to the connection's thread.
    ///
    /// # Errors
    /// What `task` returns; in a broken transaction it is not run.
    pub fn spawn_blocking<'a, R: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut SqliteConnection) -> QueryResult<R> + Send + 'static,
    ) -> BoxFuture<'a, QueryResult<R>> {
        self.guarded(|conn| conn.spawn_blocking(task))
    }

    fn refuse(&self) -> QueryResult<()> {
        match &self.watched {
            Some(activity) if activity.is_broken() => Err(Error::BrokenTransactionManager),
            _ => Ok(()),
        }
    }

    /// Starts a statement, unless the transaction is broken, and notes its error.
    fn guarded<'query, T: Send + 'query>(
        &mut self,
        start: impl FnOnce(&mut Wrapped) -> BoxFuture<'query, QueryResult<T>>,
    ) -> BoxFuture<'query, QueryResult<T>> {
        if let Err(error) = self.refuse() {
            return std::future::ready(Err(error)).boxed();
        }
        let statement = start(&mut self.wrapped);
        match self.watched.clone() {
            Some(activity) => statement.inspect(move |outcome| activity.note(outcome.as_ref().err())).boxed(),
            None => statement,
        }
    }
}

impl SimpleAsyncConnection for SqliteConn {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.refuse()?;
        // Its errors are seen by the instrumentation.
        self.wrapped.batch_execute(query).await
    }
}

impl AsyncConnectionCore for SqliteConn {
    type LoadFuture<'conn, 'query> = BoxFuture<'query, QueryResult<Self::Stream<'conn, 'query>>>;
    type ExecuteFuture<'conn, 'query> = BoxFuture<'query, QueryResult<usize>>;
    type Stream<'conn, 'query> = <Wrapped as AsyncConnectionCore>::Stream<'conn, 'query>;
    type Row<'conn, 'query> = <Wrapped as AsyncConnectionCore>::Row<'conn, 'query>;
    type Backend = <Wrapped as AsyncConnectionCore>::Backend;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Self::Backend> + QueryId + 'query,
    {
        // All rows are read before the future is ready, so that it has the error of each.
        self.guarded(|conn| conn.load(source))
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Self::Backend> + QueryId + 'query,
    {
        self.guarded(|conn| conn.execute_returning_count(source))
    }
}

/// A connection to whichever backend the database lives in. Queries reach it through [`on!`](crate::on).
#[allow(missing_debug_implementations, reason = "the wrapped connection has no Debug")]
pub enum Conn {
    /// The embedded backend.
    Sqlite(SqliteConn),
}

/// Runs a query body against the connection of a [`Conn`], whatever its backend.
///
/// `on!(conn, |c| body)` expands `body` once for each backend, with `c` a `&mut` to that backend's connection, so
/// the compiler checks the same Diesel query against all of them. The body is usually `query.execute(c).await`.
#[macro_export]
macro_rules! on {
    ($conn:expr, |$c:ident| $body:expr) => {{
        $crate::__note_site!();
        match $conn {
            $crate::Conn::Sqlite($c) => $body,
        }
    }};
}

#[cfg(feature = "notes")]
#[doc(hidden)]
#[macro_export]
macro_rules! __note_site {
    () => {
        $crate::notes::site(file!(), line!())
    };
}

#[cfg(not(feature = "notes"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __note_site {
    () => {};
}
