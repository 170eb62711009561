//! Templates: what messages of one product look like, as JSON Schema.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use alloy::primitives::{B256, keccak256};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::json::{self, FieldProblem, FieldProblems, JsonError, escaped, shortened};

/// The largest template, in bytes of canonical JSON or as written.
pub const MAX_TEMPLATE_SIZE: usize = 64 * 1024;

/// The dialect of JSON Schema that all templates are written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Which message a template describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TemplateKind {
    /// Offering messages.
    Offering,
    /// Access messages.
    Access,
}

impl fmt::Display for TemplateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offering => "offering",
            Self::Access => "access",
        })
    }
}

/// A template document as its author writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    kind: TemplateKind,
    name: String,
    product: Uuid,
    schema: Value,
}

/// What messages of one kind and product look like: a checked JSON Schema (draft 2020-12) with a
/// name, the product it belongs to, and a hash that messages carry.
///
/// A message must satisfy two schemas: the one of its kind, which is part of this crate (the fields
/// that every offering or access message has), and the template's, which says what this product
/// asks in addition. Schemas are closed worlds: nothing is ever fetched from the network or read
/// from a file, and patterns are matched in linear time.
pub struct Template {
    kind: TemplateKind,
    name: String,
    product: Uuid,
    hash: B256,
    canonical: Vec<u8>,
    validator: Validator,
}

impl Template {
    /// Reads a template: `{"kind": "offering" | "access", "name": ..., "product": UUID, "schema": ...}`.
    ///
    /// # Errors
    /// Says which part is wrong; a schema that refers to anything outside itself is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, TemplateError> {
        let value = json::parse(bytes, MAX_TEMPLATE_SIZE)?;
        let canonical = json::canonical(&value)?;
        let document: Document = serde_json::from_value(value)
            .map_err(|error| TemplateError::Document { problem: error.to_string() })?;
        if document.name.trim().is_empty() || document.name.chars().count() > 64 {
            return Err(TemplateError::Name);
        }
        let validator = compile(&document.schema)?;
        Ok(Self {
            kind: document.kind,
            name: document.name,
            product: document.product,
            hash: keccak256(&canonical),
            canonical,
            validator,
        })
    }

    /// Which message it describes.
    pub fn kind(&self) -> TemplateKind {
        self.kind
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The product whose messages it describes: the same in a product's offering and access
    /// templates, and what an adapter says that it serves.
    pub fn product(&self) -> Uuid {
        self.product
    }

    /// keccak256 of the canonical bytes: the name that messages call it by.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// The canonical JSON (RFC 8785) of the document.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// Checks a message against the schema of its kind and against this template's.
    pub(crate) fn validate(&self, message: &Value) -> Result<(), FieldProblems> {
        let base = match self.kind {
            TemplateKind::Offering => &OFFERING_SCHEMA,
            TemplateKind::Access => &ACCESS_SCHEMA,
        };
        // The values of an access message are secrets: its problems never quote them.
        let quote = self.kind == TemplateKind::Offering;
        check(base, message, quote)?;
        check(&self.validator, message, quote)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("product", &self.product)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

static OFFERING_SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| own(include_bytes!("../schemas/offering.json")));
static ACCESS_SCHEMA: LazyLock<Validator> = LazyLock::new(|| own(include_bytes!("../schemas/access.json")));

#[expect(clippy::expect_used, reason = "the schema is part of this crate and a test compiles it")]
fn own(schema: &[u8]) -> Validator {
    let schema = json::parse(schema, MAX_TEMPLATE_SIZE).expect("a schema of this crate is JSON");
    compile(&schema).expect("a schema of this crate is valid")
}

fn compile(schema: &Value) -> Result<Validator, TemplateError> {
    if !schema.is_object() {
        return Err(TemplateError::Schema { pointer: String::new(), problem: "not an object".into() });
    }
    // Without this a schema of another dialect would be read by the rules of ours.
    if schema.get("$schema").is_some_and(|dialect| dialect != DIALECT) {
        return Err(TemplateError::Schema { pointer: "/$schema".into(), problem: format!("not {DIALECT}") });
    }
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .offline()
        .build(schema)
        .map_err(|error| TemplateError::Schema {
            pointer: error.instance_path().as_str().to_owned(),
            problem: shortened(&error.to_string()),
        })
}

fn check(validator: &Validator, message: &Value, quote: bool) -> Result<(), FieldProblems> {
    let problems = validator.iter_errors(message).flat_map(|error| {
        let at = error.instance_path().as_str();
        let words = || shortened(&if quote { error.to_string() } else { error.masked().to_string() });
        let problem = |name: &str, problem: String| FieldProblem {
            pointer: format!("{at}/{}", escaped(name)),
            problem,
        };
        match error.kind() {
            // These are reported about the object; name the property instead.
            ValidationErrorKind::Required { property: Value::String(name) } => {
                vec![problem(name, "missing".to_owned())]
            }
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected
                .iter()
                .take(FieldProblems::MOST)
                .map(|name| problem(&shortened(name), "unknown field".to_owned()))
                .collect(),
            _ => vec![FieldProblem { pointer: at.to_owned(), problem: words() }],
        }
    });
    FieldProblems::collect(problems).map_or(Ok(()), Err)
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Not JSON within the bounds.
    #[error("the template is refused: {0}")]
    Json(#[from] JsonError),
    /// Not a template document.
    #[error("the template must be an object of kind, name, product and schema: {problem}")]
    Document {
        /// What is wrong.
        problem: String,
    },
    /// The name is empty or too long.
    #[error("the template's name must have 1 to 64 characters")]
    Name,
    /// The schema is not a JSON Schema, or refers to something outside itself.
    #[error("the template's schema is not usable at \"{pointer}\": {problem}")]
    Schema {
        /// Where in the schema.
        pointer: String,
        /// What is wrong.
        problem: String,
    },
}

/// The templates that this node knows, by hash.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    by_hash: HashMap<B256, Arc<Template>>,
}

impl Templates {
    /// No templates at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The templates that ship with this crate: those of the proxy ([`crate::proxy`]).
    pub fn builtin() -> Self {
        let mut templates = Self::empty();
        for template in crate::proxy::templates() {
            templates.insert(template);
        }
        templates
    }

    /// Adds a template; adding one twice changes nothing.
    pub fn insert(&mut self, template: impl Into<Arc<Template>>) -> B256 {
        let template = template.into();
        let hash = template.hash();
        self.by_hash.entry(hash).or_insert(template);
        hash
    }

    /// Reads and adds a template.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn add(&mut self, bytes: &[u8]) -> Result<B256, TemplateError> {
        Ok(self.insert(Template::parse(bytes)?))
    }

    /// The template of this hash.
    pub fn get(&self, hash: &B256) -> Option<&Arc<Template>> {
        self.by_hash.get(hash)
    }

    /// The template of this hash, if it is of this kind.
    pub(crate) fn of_kind(&self, hash: &B256, kind: TemplateKind) -> Option<&Arc<Template>> {
        self.get(hash).filter(|template| template.kind() == kind)
    }

    /// All templates, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Template>> {
        self.by_hash.values()
    }
}
