//! Configuration in layers: defaults, then the file, then the environment, then the command line.

mod chain_proxy;
mod known;
mod percent;
mod sections;

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::{Actual, Error as FigmentError, Kind};
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use chain_proxy::ChainProxy;
pub use sections::{
    AccountSection, AdapterKind, AdapterSection, ApiSection, ChainSection, JobsSection, LogFormat,
    LogSection, PrivacySection, TokenAmount, TorSection,
};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no file.
    #[error("there is no configuration at {path}; make one with `{program} init`, or name it with --config")]
    Missing {
        /// Where it was sought.
        path: PathBuf,
        /// The program.
        program: &'static str,
    },
    /// Values that cannot be used, all of them.
    #[error("the configuration cannot be used:{}", list(.problems))]
    Invalid {
        /// Each names its key, its place and the remedy.
        problems: Vec<String>,
    },
}

fn list(problems: &[String]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    lines.concat()
}

/// Settings of a daemon: the sections that both have.
pub trait Settings: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Where the daemon keeps its files, as configured.
    fn data_dir(&self) -> &Path;
    /// `[chain]`
    fn chain(&self) -> &ChainSection;
    /// `[account]`
    fn account(&self) -> &AccountSection;
    /// `[api]`
    fn api(&self) -> &ApiSection;
    /// `[adapter]`
    fn adapter(&self) -> &AdapterSection;
    /// `[tor]`
    fn tor(&self) -> &TorSection;
    /// `[privacy]`
    fn privacy(&self) -> PrivacySection;
    /// `[jobs]`
    fn jobs(&self) -> JobsSection;
    /// `[log]`
    fn log(&self) -> &LogSection;
}

/// Where a daemon's configuration comes from.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// The program, for messages.
    pub program: &'static str,
    /// What its environment variables begin with, e.g. `PRIVATIX_AGENT_`.
    pub env_prefix: &'static str,
    /// Defaults that differ between the programs, by key.
    pub defaults: &'a [(&'a str, &'a str)],
    /// The file.
    pub file: &'a Path,
    /// Settings of the command line.
    pub overrides: &'a [Setting],
}

/// A setting of the command line. Its value may hold a secret, so `Debug` hides it.
#[derive(Clone)]
pub struct Setting {
    key: String,
    value: Option<String>,
}

impl Setting {
    /// Reads `key=value`. What is wrong with it is said when the configuration is loaded, by a message that does not quote it.
    pub fn new(text: &str) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Self { key: String::new(), value: None },
        }
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.key)
    }
}

/// A configuration, and where its relative paths begin.
#[derive(Clone, Debug)]
pub struct Loaded<C> {
    /// The settings.
    pub settings: C,
    /// The file they were read from.
    pub file: PathBuf,
    /// Where the daemon keeps its files.
    pub data_dir: PathBuf,
    /// Environment variables that begin with the program's prefix and are no settings.
    pub foreign: Vec<String>,
}

impl<C> Loaded<C> {
    /// A sentence about variables that were left out, if there were any.
    pub(crate) fn foreign_variables(&self) -> Option<String> {
        (!self.foreign.is_empty()).then(|| {
            format!(
                "no settings, so left out: {} in the environment; settings are <SECTION>__<KEY>",
                self.foreign.join(", ")
            )
        })
    }

    /// A path of the settings: relative ones begin at the data folder.
    pub fn path(&self, configured: &Path) -> PathBuf {
        self.data_dir.join(configured)
    }
}

/// Reads a configuration.
///
/// # Errors
/// [`ConfigError`]: an unknown key, a wrong type and a missing file are errors.
pub fn load<C: Settings>(sources: &Sources<'_>) -> Result<Loaded<C>, ConfigError> {
    let file = sources.file;
    if !file.is_file() {
        return Err(ConfigError::Missing { path: file.to_owned(), program: sources.program });
    }
    let invalid = |problem: String| ConfigError::Invalid { problems: vec![problem] };
    check_form(file).map_err(invalid)?;
    let mut figment = Figment::new();
    for (key, value) in sources.defaults {
        figment = figment.merge(Serialized::default(key, value));
    }
    figment = figment.merge(Toml::file_exact(file));
    let environment = environment(sources.env_prefix, known::top_level::<C>());
    for (key, value) in &environment.settings {
        figment = figment.merge(Override { key, value, place: ENVIRONMENT });
    }
    for setting in sources.overrides {
        let (false, Some(value)) = (setting.key.is_empty(), &setting.value) else {
            return Err(invalid(
                "an argument of --set is not of the form key=value, e.g. log.level=debug".into(),
            ));
        };
        figment = figment.merge(Override { key: &setting.key, value, place: "the command line" });
    }
    let settings: C = figment.extract().map_err(|errors| ConfigError::Invalid {
        problems: errors.into_iter().map(problem(sources)).collect(),
    })?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let data_dir = folder.join(settings.data_dir());
    Ok(Loaded { settings, file: file.to_owned(), data_dir, foreign: environment.foreign })
}

/// Checks that the file is TOML. The reader behind it would quote the line that is not, with whatever secret is in it.
fn check_form(file: &Path) -> Result<(), String> {
    let path = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let Err(error) = toml::from_str::<toml::Table>(&text) else { return Ok(()) };
    let before = error.span().and_then(|place| text.get(..place.start)).unwrap_or_default();
    let (line, column) = (
        before.matches('\n').count() + 1,
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
    );
    Err(format!("{path} is no TOML: line {line}, column {column}: {}", error.message()))
}

const ENVIRONMENT: &str = "the environment";

/// The variables that begin with a program's prefix, but for the one that names its file.
#[derive(Debug, Default)]
struct Environment {
    /// Keys and values.
    settings: Vec<(String, String)>,
    /// Names of those that are no settings.
    foreign: Vec<String>,
}

fn environment(prefix: &str, top_level: &[&str]) -> Environment {
    let mut found = Environment::default();
    let mut all: Vec<_> = std::env::vars_os().collect();
    all.sort();
    for (name, value) in all {
        let name = name.to_string_lossy();
        let Some((start, rest)) = name.split_at_checked(prefix.len()) else { continue };
        if !start.eq_ignore_ascii_case(prefix) || rest.eq_ignore_ascii_case("config") {
            continue;
        }
        if known::is_setting(rest, top_level) {
            let key = rest.to_ascii_lowercase().replace("__", ".");
            found.settings.push((key, value.to_string_lossy().into_owned()));
        } else {
            found.foreign.push(name.into_owned());
        }
    }
    found
}

/// One setting from the environment or from the command line.
struct Override<'a> {
    key: &'a str,
    value: &'a str,
    place: &'static str,
}

impl Provider for Override<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, FigmentError> {
        let nested = figment::util::nest(self.key, value(self.value));
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}

/// A value as TOML has it, or the text itself. `[::1]` is an address, though a list could be written so as well.
fn value(text: &str) -> Value {
    let inner = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Value::from(text.trim());
    }
    match text.parse() {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// One error as a sentence that names key, place and remedy.
fn problem(sources: &Sources<'_>) -> impl Fn(FigmentError) -> String {
    let file = sources.file.display().to_string();
    move |error| {
        let key = error.path.join(".");
        let place = match &error.metadata {
            Some(source) if source.name == ENVIRONMENT => {
                format!("the environment ({}{})", sources.env_prefix, key.to_uppercase().replace('.', "__"))
            }
            Some(source) if source.name.contains("TOML") => file.clone(),
            Some(source) => source.name.to_string(),
            None => file.clone(),
        };
        match &error.kind {
            Kind::MissingField(field) => {
                let parent = if key.is_empty() { String::new() } else { format!("{key}.") };
                format!("`{parent}{field}` is missing: set it in {place}")
            }
            Kind::UnknownField(field, known) => {
                let section = key.strip_suffix(field.as_str()).unwrap_or(&key).trim_end_matches('.');
                let full = if section.is_empty() { field.clone() } else { format!("{section}.{field}") };
                format!("`{full}` in {place} is no setting: known are {}", known.join(", "))
            }
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                format!("`{key}` in {place} is {}: expected {expected}", unquoted(found))
            }
            Kind::UnknownVariant(found, known) => {
                // A short word is a slip of the pen rather than a secret.
                let word = found.len() <= 16 && found.bytes().all(|byte| byte.is_ascii_lowercase());
                let found = if word { format!("`{found}`") } else { "a text".to_owned() };
                format!("`{key}` in {place} is {found}: expected one of {}", known.join(", "))
            }
            other if key.is_empty() => format!("{place}: {other}"),
            other => format!("`{key}` in {place}: {other}"),
        }
    }
}

/// What was found. Texts are not quoted: one in a wrong place may be a secret.
fn unquoted(found: &Actual) -> String {
    match found {
        Actual::Str(_) | Actual::Bytes(_) | Actual::Other(_) => "a text".to_owned(),
        other => other.to_string(),
    }
}
