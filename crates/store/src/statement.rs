//! Statements in SQL, for many rows at once and for comparisons of positions.

use std::borrow::Cow;
use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, HasSqlType, Nullable, Text};

/// A statement with `?` for each value, whose rows have the SQL types `ST`. Prepared once for each text.
#[derive(Debug)]
pub(crate) struct Statement<ST = ()> {
    sql: Cow<'static, str>,
    values: Vec<Value>,
    rows: PhantomData<fn() -> ST>,
}

/// What a column gets, or is compared with.
#[derive(Debug)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

impl<ST> Statement<ST> {
    /// `sql` holds no `?` but those for values.
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values, rows: PhantomData }
    }
}

/// The statements that insert these rows: few, and of few different lengths, so that each is prepared once. `head` ends before
/// the first row's parenthesis, `tail` begins after the last one's.
pub(crate) fn inserts(head: &str, rows: Vec<Vec<Value>>, tail: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(width) = rows.peek().map(Vec::len) {
        let some = if rows.len() >= 100 {
            100
        } else if rows.len() >= 10 {
            10
        } else {
            1
        };
        let row = format!("({})", vec!["?"; width].join(", "));
        let sql = format!("{head} {} {tail}", vec![row.as_str(); some].join(", "));
        statements.push(Statement::new(sql, rows.by_ref().take(some).flatten().collect()));
    }
    statements
}

// Without an id of its type, the text identifies the prepared statement.
impl<ST> QueryId for Statement<ST> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<ST> Query for Statement<ST> {
    type SqlType = ST;
}

impl<ST, C> diesel::RunQueryDsl<C> for Statement<ST> {}

impl<ST, DB> QueryFragment<DB> for Statement<ST>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text> + HasSqlType<Binary>,
    i64: ToSql<BigInt, DB>,
    String: ToSql<Text, DB>,
    Option<Vec<u8>>: ToSql<Nullable<Binary>, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut values = self.values.iter();
        for (n, piece) in self.sql.split('?').enumerate() {
            if n > 0 {
                match values.next() {
                    Some(Value::Number(number)) => out.push_bind_param::<BigInt, _>(number)?,
                    Some(Value::Text(text)) => out.push_bind_param::<Text, _>(text)?,
                    Some(Value::Bytes(bytes)) => out.push_bind_param::<Nullable<Binary>, _>(bytes)?,
                    None => {
                        return Err(diesel::result::Error::QueryBuilderError("a value is missing".into()));
                    }
                }
            }
            out.push_sql(piece);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_into_statements_of_three_lengths() {
        let rows = (0..123).map(|n| vec![Value::Number(n), Value::Text(String::new())]).collect();
        let statements = inserts("INSERT INTO t VALUES", rows, "RETURNING a");
        let lengths: Vec<usize> = statements.iter().map(|one| one.values.len() / 2).collect();
        assert_eq!(lengths, [100, 10, 10, 1, 1, 1]);
        assert_eq!(statements[5].sql, "INSERT INTO t VALUES (?, ?) RETURNING a");
        assert!(inserts("INSERT INTO t VALUES", Vec::new(), "").is_empty());
    }
}
