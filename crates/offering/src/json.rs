//! JSON as it is signed: bounded, canonical (RFC 8785), with whole numbers only; and problems
//! that name the field.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The deepest nesting of arrays and objects in a message or template.
pub const MAX_DEPTH: usize = 32;

/// The largest whole number that every JSON reader keeps exact (2^53 - 1, RFC 8785 §3.2.2.3).
const MAX_EXACT: u64 = (1 << 53) - 1;

/// Why bytes are not JSON that we sign or accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// More bytes than allowed.
    #[error("{size} bytes are more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// Arrays and objects nested too deep.
    #[error("arrays and objects are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not JSON at all.
    #[error("not JSON: {problem}")]
    Syntax {
        /// The parser's words.
        problem: String,
    },
    /// JSON, but not in its canonical form: a duplicate key, keys out of order, spaces, another
    /// spelling of a value.
    #[error("not canonical JSON (RFC 8785): sort the keys, drop duplicates and spaces")]
    NotCanonical,
    /// A fraction, or a whole number beyond 2^53 - 1, which readers round differently.
    #[error("{pointer} holds a number that is not whole or is beyond 2^53 - 1; write it as a string")]
    InexactNumber {
        /// Where, as a JSON pointer.
        pointer: String,
    },
}

/// Something wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// The field, as a JSON pointer (RFC 6901): `/terms/unitPrice`; empty for the whole document.
    pub pointer: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.problem)
    }
}

/// Everything wrong with a document's fields, up to a bound; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblems(Vec<FieldProblem>);

impl FieldProblems {
    /// The most problems that are reported at once.
    pub(crate) const MOST: usize = 16;

    pub(crate) fn one(pointer: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self(vec![FieldProblem { pointer: pointer.into(), problem: shortened(&problem.to_string()) }])
    }

    /// `None` when there are no problems.
    pub(crate) fn collect(problems: impl Iterator<Item = FieldProblem>) -> Option<Self> {
        let problems: Vec<_> = problems.take(Self::MOST).collect();
        if problems.is_empty() { None } else { Some(Self(problems)) }
    }

    /// The problems, in the order of the document's schema.
    pub fn iter(&self) -> impl Iterator<Item = &FieldProblem> {
        self.0.iter()
    }
}

impl fmt::Display for FieldProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldProblems {}

/// At most 200 characters, so that a hostile document cannot fill a log.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads JSON of any spelling within the bounds: for templates and files that people write.
pub(crate) fn parse(bytes: &[u8], limit: usize) -> Result<Value, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge { size: bytes.len(), limit });
    }
    if depth(bytes) > MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    let value =
        serde_json::from_slice(bytes).map_err(|error| JsonError::Syntax { problem: error.to_string() })?;
    check_numbers(&value, &mut String::new())?;
    Ok(value)
}

/// Reads JSON that must already be in its canonical form: what is signed has one spelling only.
pub(crate) fn parse_canonical(bytes: &[u8], limit: usize) -> Result<Value, JsonError> {
    let value = parse(bytes, limit)?;
    if canonical(&value)? == bytes { Ok(value) } else { Err(JsonError::NotCanonical) }
}

/// The canonical bytes of a value (RFC 8785).
pub(crate) fn canonical(value: &impl Serialize) -> Result<Vec<u8>, JsonError> {
    serde_json_canonicalizer::to_vec(value).map_err(|error| JsonError::Syntax { problem: error.to_string() })
}

/// A value as a checked JSON tree: what its canonical bytes would be read back as.
pub(crate) fn to_value(value: &impl Serialize) -> Result<Value, JsonError> {
    let value =
        serde_json::to_value(value).map_err(|error| JsonError::Syntax { problem: error.to_string() })?;
    check_numbers(&value, &mut String::new())?;
    Ok(value)
}

/// A typed value out of a JSON tree that its schema already accepted.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, FieldProblems> {
    serde_json::from_value(value).map_err(|error| FieldProblems::one("", error))
}

/// The deepest nesting in a text, counted without recursion and before parsing it.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Recursion is bounded by [`MAX_DEPTH`], or by the types of what we write ourselves.
fn check_numbers(value: &Value, pointer: &mut String) -> Result<(), JsonError> {
    match value {
        Value::Number(number) => {
            let exact = number.as_u64().is_some_and(|whole| whole <= MAX_EXACT)
                || number.as_i64().is_some_and(|whole| whole.unsigned_abs() <= MAX_EXACT);
            if exact { Ok(()) } else { Err(JsonError::InexactNumber { pointer: pointer.clone() }) }
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| within(pointer, &index.to_string(), |at| check_numbers(item, at))),
        Value::Object(fields) => {
            fields.iter().try_for_each(|(name, field)| within(pointer, name, |at| check_numbers(field, at)))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

fn within<T>(pointer: &mut String, name: &str, check: impl FnOnce(&mut String) -> T) -> T {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&escaped(name));
    let result = check(pointer);
    pointer.truncate(length);
    result
}

/// A property's name inside a JSON pointer (RFC 6901).
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_inside_strings_are_not_nesting() {
        assert_eq!(depth(br#"{"a":"[[[\"[[","b":[1]}"#), 2);
        assert_eq!(depth(b"[[[]],[]]"), 3);
        assert_eq!(depth(b"]]]["), 1);
    }

    #[test]
    fn nesting_is_bounded_before_parsing() {
        let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
        assert!(parse(&nested(MAX_DEPTH), 1_000).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH + 1), 1_000), Err(JsonError::TooDeep));
        assert_eq!(parse(&nested(100_000), 1_000_000), Err(JsonError::TooDeep));
    }

    #[test]
    fn numbers_that_readers_round_are_refused_by_their_pointer() {
        for (text, pointer) in [
            (r#"{"a":[1,0.5]}"#, "/a/1"),
            (r#"{"a/b":{"c~d":9007199254740992}}"#, "/a~1b/c~0d"),
            ("1e3", ""),
            ("-9007199254740992", ""),
        ] {
            let error = parse(text.as_bytes(), 1_000);
            assert_eq!(error, Err(JsonError::InexactNumber { pointer: pointer.into() }), "{text}");
        }
        assert!(parse(b"[9007199254740991,-9007199254740991,0]", 100).is_ok());
    }

    #[test]
    fn only_one_spelling_is_canonical() {
        assert!(parse_canonical(br#"{"a":1,"b":[true,null]}"#, 100).is_ok());
        for other in [
            &br#"{"b":[true,null],"a":1}"#[..],
            br#"{"a": 1,"b":[true,null]}"#,
            br#"{"a":0,"a":1,"b":[true,null]}"#,
            br#"{"\u0061":1,"b":[true,null]}"#,
            b"{\"a\":1,\"b\":[true,null]}\n",
        ] {
            assert_eq!(parse_canonical(other, 100), Err(JsonError::NotCanonical));
        }
    }

    #[test]
    fn long_problems_are_shortened_at_a_character() {
        let long = "é".repeat(500);
        assert_eq!(shortened(&long).chars().count(), 201);
        assert_eq!(shortened("short"), "short");
    }
}
