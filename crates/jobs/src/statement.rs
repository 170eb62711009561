//! Statements in SQL, for what the query builder has no words for or would prepare again at every use.

use std::borrow::Cow;
use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Text};

/// A statement with `?` for each value, whose rows have the SQL types `ST`. Prepared once for each text.
pub(crate) struct Statement<ST = ()> {
    sql: Cow<'static, str>,
    values: Vec<Value>,
    rows: PhantomData<fn() -> ST>,
}

enum Value {
    Number(i64),
    Text(String),
}

impl<ST> Statement<ST> {
    /// `sql` holds no `?` but those for values.
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), values: Vec::new(), rows: PhantomData }
    }

    pub(crate) fn number(mut self, value: i64) -> Self {
        self.values.push(Value::Number(value));
        self
    }

    pub(crate) fn text(mut self, value: impl Into<String>) -> Self {
        self.values.push(Value::Text(value.into()));
        self
    }
}

// Without an id of its type, the text identifies the prepared statement.
impl<ST> QueryId for Statement<ST> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<ST> Query for Statement<ST> {
    type SqlType = ST;
}

impl<ST, DB> QueryFragment<DB> for Statement<ST>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text>,
    i64: ToSql<BigInt, DB>,
    String: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut values = self.values.iter();
        for (n, piece) in self.sql.split('?').enumerate() {
            if n > 0 {
                match values.next() {
                    Some(Value::Number(number)) => out.push_bind_param::<BigInt, _>(number)?,
                    Some(Value::Text(text)) => out.push_bind_param::<Text, _>(text)?,
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
