use diesel::sqlite::SqliteConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;

/// The asynchronous SQLite connection.
pub type SqliteConn = SyncConnectionWrapper<SqliteConnection>;

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
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::Conn::Sqlite($c) => {
                $crate::__note_site!();
                $body
            }
        }
    };
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
