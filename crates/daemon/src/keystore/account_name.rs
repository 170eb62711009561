//! What an account of this daemon is called, and how a command line names one.

use std::fmt;
use std::str::FromStr;

use alloy::primitives::Address;
use serde::Serialize;

use super::AccountError;

/// Longest name. An address has more characters, so that no text is both.
const MAX_LENGTH: usize = 32;

/// The name of an account, which the file of its key has too.
///
/// Lower-case letters alone, as file systems differ in whether `Seller` and `seller` are one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(crate) struct AccountName(String);

impl AccountName {
    /// The name of the keystore that `account.keystore` names, where that is outside of the directory.
    pub(crate) fn main() -> Self {
        Self("main".to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let begins = bytes.first().is_some_and(|first| plain(*first));
        let fits = bytes.iter().all(|byte| plain(*byte) || matches!(byte, b'-' | b'_'));
        if begins && fits && bytes.len() <= MAX_LENGTH {
            return Ok(Self(text.to_owned()));
        }
        Err(AccountError::BadName)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which account is meant: its name, or its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    Name(AccountName),
    Address(Address),
}

impl FromStr for Selector {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_on_every_file_system() {
        for good in ["a", "0", "seller-2", "my_account", &"x".repeat(32)] {
            assert_eq!(good.parse::<AccountName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "Seller",
            "-a",
            "_a",
            ".",
            "..",
            ".lock",
            "a.json",
            "a/b",
            "../a",
            "a b",
            "a\n",
            "ä",
            "a\0",
            &"x".repeat(33),
        ] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_name_is_not_repeated_as_it_may_be_a_key() {
        let key = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        for text in [key.to_owned(), format!("0x{key}"), "test test test junk".to_owned()] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains("lower-case") && !error.contains(&text[2..]), "{error}");
        }
    }

    #[test]
    fn an_account_is_meant_by_its_name_or_its_address() {
        let address = Address::repeat_byte(0xab);
        assert_eq!(address.to_string().parse::<Selector>().unwrap(), Selector::Address(address));
        let name = "seller".parse::<AccountName>().unwrap();
        assert_eq!("seller".parse::<Selector>().unwrap(), Selector::Name(name));
    }
}
