//! Countries by their ISO 3166-1 alpha-2 code.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A country that ISO 3166-1 assigns a two-letter code to, in capitals: `NL`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(&'static str);

impl Country {
    /// The two-letter code.
    pub fn code(&self) -> &'static str {
        self.0
    }

    /// The country's short English name.
    pub fn name(&self) -> &'static str {
        rust_iso3166::from_alpha2(self.0).map_or(self.0, |country| country.name)
    }
}

/// A text that is not an assigned code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{code:?} is not an assigned ISO 3166-1 alpha-2 country code; use two capital letters such as \"NL\""
)]
pub struct UnknownCountry {
    /// The refused text, shortened.
    pub code: String,
}

impl FromStr for Country {
    type Err = UnknownCountry;

    fn from_str(code: &str) -> Result<Self, UnknownCountry> {
        rust_iso3166::from_alpha2(code)
            .filter(|country| country.alpha2 == code)
            .map(|country| Self(country.alpha2))
            .ok_or_else(|| UnknownCountry { code: code.chars().take(8).collect() })
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Country({})", self.0)
    }
}

impl Serialize for Country {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assigned_codes_in_capitals_are_countries() {
        let country: Country = "NL".parse().unwrap();
        assert_eq!((country.code(), country.to_string().as_str()), ("NL", "NL"));
        assert!(country.name().contains("Netherlands"));
    }

    #[test]
    fn anything_else_is_refused_by_its_text() {
        for code in ["nl", "XX", "NLD", "", "N", "ＮＬ", "NL "] {
            assert_eq!(code.parse::<Country>(), Err(UnknownCountry { code: code.into() }));
        }
        let error = "ZZ".parse::<Country>().unwrap_err().to_string();
        assert!(error.starts_with("\"ZZ\" is not an assigned ISO 3166-1 alpha-2 country code"), "{error}");
    }
}
