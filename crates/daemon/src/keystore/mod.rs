//! The account's key: an encrypted Web3 secret storage file.

pub(crate) mod account_name;
pub(crate) mod directory;
pub(crate) mod import;
mod mnemonic;
mod scrypt_kdf;
mod secret_storage;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use alloy::hex;
use alloy::signers::local::PrivateKeySigner;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{DaemonError, files};
pub use directory::AccountError;
pub use mnemonic::MnemonicError;
pub use secret_storage::FormError;
use secret_storage::{Cost, OpenError, SecretStorage};

/// What can go wrong with the account's key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// There is no keystore.
    #[error(
        "there is no keystore at {path}; make one with `init`, or set account.keystore (chain.rescue_keystore for a rescue account)"
    )]
    Missing {
        /// Where it was sought.
        path: PathBuf,
    },
    /// It is no keystore, or one of a form that is not supported.
    #[error("{path} is no usable keystore: {reason}; give a Web3 secret storage file of version 3")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: FormError,
    },
    /// It is a folder, as geth keeps keystores in.
    #[error("{path} is a folder: name one of the keystores in it")]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The password is wrong.
    #[error(
        "the password does not open keystore {path}; check the password's file (account.password_file, chain.rescue_password_file for a rescue account, or --import-password-file for a keystore to import), or type it again"
    )]
    WrongPassword {
        /// The keystore.
        path: PathBuf,
    },
    /// Nobody can be asked for the password.
    #[error(
        "no password for {what}: set account.password_file (chain.rescue_password_file for a rescue account) to a file that holds it, or run this in a terminal to type it"
    )]
    NoPassword {
        /// What it is for.
        what: String,
    },
    /// Nobody can be asked for the password of a keystore to import.
    #[error(
        "no password for keystore {from}: give --import-password-file with a file that holds it, or run this in a terminal to type it"
    )]
    NoImportPassword {
        /// The keystore.
        from: String,
    },
    /// The two passwords typed differ.
    #[error("the two passwords differ; nothing was written")]
    PasswordsDiffer,
    /// A new keystore without a password would be no keystore.
    #[error("an empty password protects nothing; choose another")]
    EmptyPassword,
    /// The key to import is none.
    #[error(
        "the private key in {from} is no key: {reason}; give 64 hexadecimal digits, or a keystore (Web3 secret storage, a JSON file)"
    )]
    BadKey {
        /// The file, or standard input.
        from: String,
        /// What is wrong; never the key.
        reason: &'static str,
    },
    /// The mnemonic to import is none.
    #[error("the mnemonic in {from} gives no key: {reason}")]
    BadMnemonic {
        /// The file, or standard input.
        from: String,
        /// What is wrong; never the words.
        reason: MnemonicError,
    },
}

/// Encrypts a key into a new file (scrypt, AES-128-CTR) that only its owner may read. Takes a moment by intent.
///
/// # Errors
/// [`DaemonError::Exists`], [`DaemonError::File`], [`KeystoreError::EmptyPassword`].
pub fn create(path: &Path, key: &PrivateKeySigner, password: &SecretString) -> Result<(), DaemonError> {
    create_at(path, key, password, Cost::STANDARD)
}

fn create_at(
    path: &Path,
    key: &PrivateKeySigner,
    password: &SecretString,
    cost: Cost,
) -> Result<(), DaemonError> {
    if password.expose_secret().is_empty() {
        return Err(KeystoreError::EmptyPassword.into());
    }
    if path.exists() {
        return Err(DaemonError::Exists { path: path.to_owned() });
    }
    files::write_private(path, encrypted_at(key, password, cost)?.as_bytes())
}

/// Encrypts a key into a document. Takes a moment by intent.
pub(crate) fn encrypted(key: &PrivateKeySigner, password: &SecretString) -> Result<String, DaemonError> {
    encrypted_at(key, password, Cost::STANDARD)
}

fn encrypted_at(key: &PrivateKeySigner, password: &SecretString, cost: Cost) -> Result<String, DaemonError> {
    if password.expose_secret().is_empty() {
        return Err(KeystoreError::EmptyPassword.into());
    }
    Ok(secret_storage::encrypt(key, password.expose_secret(), cost))
}

/// Decrypts a keystore. Takes a moment by intent; call it off the runtime's threads.
///
/// # Errors
/// [`KeystoreError::Missing`], [`KeystoreError::Malformed`], [`KeystoreError::WrongPassword`].
pub fn open(path: &Path, password: &SecretString) -> Result<PrivateKeySigner, DaemonError> {
    if !path.exists() {
        return Err(KeystoreError::Missing { path: path.to_owned() }.into());
    }
    if path.is_dir() {
        return Err(KeystoreError::Folder { path: path.to_owned() }.into());
    }
    Ok(open_text(&files::read_text(path)?, path, password)?)
}

/// Decrypts a keystore that was read from `path`.
pub(crate) fn open_text(
    text: &str,
    path: &Path,
    password: &SecretString,
) -> Result<PrivateKeySigner, KeystoreError> {
    let malformed = |reason| KeystoreError::Malformed { path: path.to_owned(), reason };
    let storage = SecretStorage::parse(text).map_err(malformed)?;
    storage.open(password.expose_secret()).map_err(|error| match error {
        OpenError::WrongPassword => KeystoreError::WrongPassword { path: path.to_owned() },
        OpenError::Form(reason) => malformed(reason),
    })
}

/// Reads a private key in hexadecimal digits.
///
/// # Errors
/// [`KeystoreError::BadKey`].
pub fn parse_key(text: &str, from: &str) -> Result<PrivateKeySigner, KeystoreError> {
    let bad = |reason| KeystoreError::BadKey { from: from.to_owned(), reason };
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if text.split_whitespace().count() >= 12 && text.chars().all(|c| c.is_alphabetic() || c.is_whitespace()) {
        return Err(bad("it looks like a mnemonic, which --import-mnemonic takes"));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, bytes.as_mut_slice()).map_err(|_| bad("it is not 64 hexadecimal digits"))?;
    PrivateKeySigner::from_slice(bytes.as_slice()).map_err(|_| bad("it is not in the curve's range"))
}

/// The password of a keystore: from its file, or typed.
///
/// # Errors
/// [`KeystoreError::NoPassword`], [`DaemonError::File`].
pub fn password(file: Option<&Path>, what: &str) -> Result<SecretString, DaemonError> {
    match file {
        Some(file) => files::read_secret(file),
        None => ask(&format!("Password of {what}: "), what),
    }
}

/// A new password, typed twice.
///
/// # Errors
/// [`KeystoreError::NoPassword`], [`KeystoreError::PasswordsDiffer`], [`KeystoreError::EmptyPassword`].
pub fn new_password(what: &str) -> Result<SecretString, DaemonError> {
    let first = ask(&format!("New password for {what}: "), what)?;
    if first.expose_secret().is_empty() {
        return Err(KeystoreError::EmptyPassword.into());
    }
    let second = ask("The same again: ", what)?;
    if first.expose_secret() != second.expose_secret() {
        return Err(KeystoreError::PasswordsDiffer.into());
    }
    Ok(first)
}

fn ask(prompt: &str, what: &str) -> Result<SecretString, DaemonError> {
    let nobody = || KeystoreError::NoPassword { what: what.to_owned() };
    if !std::io::stdin().is_terminal() {
        return Err(nobody().into());
    }
    Ok(SecretString::from(rpassword::prompt_password(prompt).map_err(|_| nobody())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (tempfile::TempDir, PathBuf, PrivateKeySigner) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        let key = PrivateKeySigner::random();
        create_at(&path, &key, &"correct horse".into(), Cost::TEST).unwrap();
        (dir, path, key)
    }

    #[test]
    fn a_key_comes_back_with_its_password_only() {
        let (_dir, path, key) = made();
        assert_eq!(open(&path, &"correct horse".into()).unwrap().to_bytes(), key.to_bytes());
        let error = open(&path, &"wrong".into()).unwrap_err();
        assert!(matches!(error, DaemonError::Keystore(KeystoreError::WrongPassword { .. })), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_a_keystore() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, path, _) = made();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_keystore_is_never_overwritten() {
        let (_dir, path, key) = made();
        let error = create(&path, &PrivateKeySigner::random(), &"other".into()).unwrap_err();
        assert!(matches!(error, DaemonError::Exists { .. }), "{error}");
        assert_eq!(open(&path, &"correct horse".into()).unwrap().address(), key.address());
    }

    #[test]
    fn a_file_that_is_no_keystore_is_named_with_what_is_wrong() {
        let (dir, path, _) = made();
        std::fs::write(&path, "{}").unwrap();
        let error = open(&path, &"x".into()).unwrap_err();
        assert!(matches!(error, DaemonError::Keystore(KeystoreError::Malformed { .. })), "{error}");
        assert!(error.to_string().contains("no usable keystore: `version` is missing"), "{error}");
        let error = open(dir.path(), &"x".into()).unwrap_err();
        assert!(error.to_string().contains("is a folder"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(open(&path, &"x".into()).unwrap_err().to_string().contains("there is no keystore"));
    }

    #[test]
    fn a_new_keystore_costs_a_guesser_what_is_usual_today() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        let key = PrivateKeySigner::random();
        create(&path, &key, &"correct horse".into()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(json["crypto"]["kdfparams"]["n"], 1 << 18);
        assert_eq!(json["crypto"]["kdfparams"]["r"], 8);
        assert_eq!(open(&path, &"correct horse".into()).unwrap().address(), key.address());
    }

    #[test]
    fn an_imported_key_is_64_hexadecimal_digits() {
        let digits = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let expected = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        for text in [digits.to_owned(), format!("0x{digits}\n"), digits.to_uppercase()] {
            assert_eq!(parse_key(&text, "a file").unwrap().address().to_string(), expected);
        }
        let error = parse_key(&"junk ".repeat(12), "a file").unwrap_err().to_string();
        assert!(error.contains("--import-mnemonic"), "{error}");
        for text in ["", "0x", "12", &digits[1..], &"0".repeat(64), &"f".repeat(64), &"g".repeat(64)] {
            let error = parse_key(text, "a file").unwrap_err().to_string();
            assert!(error.contains("a file"), "{error}");
            assert!(text.len() < 10 || !error.contains(text), "the key is in the message");
        }
    }
}
