//! A key that its owner brings along: in hexadecimal digits, in a keystore, or as a mnemonic.
//!
//! The key is kept in memory alone until it is encrypted under the new password.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use alloy::signers::local::PrivateKeySigner;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::mnemonic::{self, DerivationPath};
use super::secret_storage::SecretStorage;
use super::{KeystoreError, ask, open_text, parse_key};
use crate::{DaemonError, files};

/// Where an account's key is taken from. `init` makes a new one when nothing is given.
#[derive(Args, Debug)]
#[command(next_help_heading = "An account that exists already")]
pub(crate) struct ImportArgs {
    /// Imports the key in this file, or from standard input with -: 64 hexadecimal digits, or a keystore of another
    /// program (Web3 secret storage, e.g. UTC--...json of geth)
    #[arg(long, value_name = "FILE")]
    import_key: Option<PathBuf>,
    /// A file whose first line is the password of the keystore to import; that of --password-file is tried when not
    /// given, else it is asked for
    #[arg(long, value_name = "FILE", requires = "import_key")]
    import_password_file: Option<PathBuf>,
    /// Imports the key that the mnemonic (BIP-39, English words) in this file, or on standard input with -, gives
    #[arg(long, value_name = "FILE", conflicts_with = "import_key")]
    import_mnemonic: Option<PathBuf>,
    /// The number of the mnemonic's account, from 0: m/44'/60'/0'/0/NUMBER
    #[arg(long, value_name = "NUMBER", requires = "import_mnemonic", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..0x8000_0000))]
    account_index: u32,
    /// The path to derive the mnemonic's key at, e.g. m/44'/60'/1'/0/0
    #[arg(long, value_name = "PATH", requires = "import_mnemonic", conflicts_with = "account_index")]
    derivation_path: Option<DerivationPath>,
    /// A file whose first line is the mnemonic's passphrase (BIP-39; few mnemonics have one)
    #[arg(long, value_name = "FILE", requires = "import_mnemonic")]
    mnemonic_passphrase_file: Option<PathBuf>,
    /// Asks for the mnemonic's passphrase
    #[arg(long, requires = "import_mnemonic", conflicts_with = "mnemonic_passphrase_file")]
    mnemonic_passphrase: bool,
}

impl ImportArgs {
    /// The key to import, if one is. `new_password_file` holds the password that it is going to be encrypted under.
    pub(crate) fn key(
        &self,
        new_password_file: Option<&Path>,
    ) -> Result<Option<PrivateKeySigner>, DaemonError> {
        if let Some(from) = &self.import_key {
            let source = Source::read(from, "Private key: ")?;
            if !SecretStorage::looks_like(&source.text) {
                return Ok(Some(parse_key(&source.text, &source.name())?));
            }
            let password = match self.import_password_file.as_deref().or(new_password_file) {
                Some(file) => files::read_secret(file)?,
                None => keystore_password(&source)?,
            };
            return Ok(Some(open_text(&source.text, &source.path, &password)?));
        }
        let Some(from) = &self.import_mnemonic else { return Ok(None) };
        let source = Source::read(from, "Mnemonic: ")?;
        let passphrase = self.passphrase()?;
        let path =
            self.derivation_path.clone().unwrap_or_else(|| DerivationPath::account(self.account_index));
        let key = mnemonic::derive(&source.text, passphrase.expose_secret(), &path);
        Ok(Some(key.map_err(|reason| KeystoreError::BadMnemonic { from: source.name(), reason })?))
    }

    fn passphrase(&self) -> Result<SecretString, DaemonError> {
        match &self.mnemonic_passphrase_file {
            Some(file) => files::read_secret(file),
            None if self.mnemonic_passphrase => ask("Passphrase of the mnemonic: ", "the mnemonic"),
            None => Ok(SecretString::from("")),
        }
    }
}

fn keystore_password(source: &Source) -> Result<SecretString, DaemonError> {
    let name = source.name();
    ask(&format!("Password of keystore {name}: "), &name).map_err(|error| match error {
        DaemonError::Keystore(KeystoreError::NoPassword { .. }) => {
            KeystoreError::NoImportPassword { from: name }.into()
        }
        other => other,
    })
}

/// What was read, and where from.
struct Source {
    text: Zeroizing<String>,
    path: PathBuf,
}

impl Source {
    /// Reads a file, or standard input, or what is typed unseen where standard input is a terminal.
    fn read(from: &Path, prompt: &str) -> Result<Self, DaemonError> {
        if from != Path::new("-") {
            return Ok(Self { text: files::read_secret_text(from)?, path: from.to_owned() });
        }
        let path = PathBuf::from("standard input");
        let stdin = std::io::stdin();
        let text = if stdin.is_terminal() {
            Zeroizing::new(ask(prompt, "standard input")?.expose_secret().to_owned())
        } else {
            files::secret_text_from(stdin.lock(), &path)?
        };
        Ok(Self { text, path })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
