//! The account's key: an encrypted Web3 secret storage file.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use alloy::hex;
use alloy::signers::k256::elliptic_curve::rand_core::OsRng;
use alloy::signers::local::{LocalSignerError, PrivateKeySigner};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{DaemonError, files};

/// What can go wrong with the account's key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// There is no keystore.
    #[error("there is no keystore at {path}; make one with `init`, or set account.keystore")]
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
        reason: String,
    },
    /// The password is wrong.
    #[error("the password does not open keystore {path}; check account.password_file, or type it again")]
    WrongPassword {
        /// The keystore.
        path: PathBuf,
    },
    /// Nobody can be asked for the password.
    #[error(
        "no password for {what}: set account.password_file to a file that holds it, or run this in a terminal to type it"
    )]
    NoPassword {
        /// What it is for.
        what: String,
    },
    /// The two passwords typed differ.
    #[error("the two passwords differ; nothing was written")]
    PasswordsDiffer,
    /// A new keystore without a password would be no keystore.
    #[error("an empty password protects nothing; choose another")]
    EmptyPassword,
    /// The key to import is none.
    #[error("the private key in {from} is no key: {reason}; give 64 hexadecimal digits")]
    BadKey {
        /// The file, or standard input.
        from: String,
        /// What is wrong; never the key.
        reason: &'static str,
    },
}

/// Encrypts a key into a new file (scrypt, AES-128-CTR) that only its owner may read.
///
/// # Errors
/// [`DaemonError::Exists`], [`DaemonError::File`], [`KeystoreError::EmptyPassword`].
pub fn create(path: &Path, key: &PrivateKeySigner, password: &SecretString) -> Result<(), DaemonError> {
    if password.expose_secret().is_empty() {
        return Err(KeystoreError::EmptyPassword.into());
    }
    if path.exists() {
        return Err(DaemonError::Exists { path: path.to_owned() });
    }
    // The library writes over the file that is there and so keeps its permissions.
    let file = files::temporary_beside(path)?;
    let folder = file.path().parent().unwrap_or(Path::new("."));
    let name = file.path().file_name().and_then(std::ffi::OsStr::to_str);
    let secret = Zeroizing::new(key.to_bytes().0);
    PrivateKeySigner::encrypt_keystore(folder, &mut OsRng, *secret, password.expose_secret(), name).map_err(
        |error| DaemonError::File {
            action: "write",
            path: path.to_owned(),
            source: std::io::Error::other(error.to_string()),
        },
    )?;
    files::keep(file, path)
}

/// Decrypts a keystore. Takes a moment by intent; call it off the runtime's threads.
///
/// # Errors
/// [`KeystoreError::Missing`], [`KeystoreError::Malformed`], [`KeystoreError::WrongPassword`].
pub fn open(path: &Path, password: &SecretString) -> Result<PrivateKeySigner, DaemonError> {
    let address = check_form(path)?;
    let malformed = |reason: String| KeystoreError::Malformed { path: path.to_owned(), reason };
    let signer = match PrivateKeySigner::decrypt_keystore(path, password.expose_secret()) {
        Ok(signer) => signer,
        Err(LocalSignerError::EthKeystoreError(error)) if error.to_string() == "Mac Mismatch" => {
            return Err(KeystoreError::WrongPassword { path: path.to_owned() }.into());
        }
        Err(error) => return Err(malformed(error.to_string()).into()),
    };
    let own = hex::encode(signer.address());
    if address.is_some_and(|address| !address.trim_start_matches("0x").eq_ignore_ascii_case(&own)) {
        return Err(malformed("its key is not that of the address it names".into()).into());
    }
    Ok(signer)
}

/// The library takes the file's word for lengths and costs, and would panic or never end over some; so they are checked
/// first. Gives the address that the file names, if it names one.
fn check_form(path: &Path) -> Result<Option<String>, DaemonError> {
    let malformed =
        |reason: &str| KeystoreError::Malformed { path: path.to_owned(), reason: reason.to_owned() };
    if !path.exists() {
        return Err(KeystoreError::Missing { path: path.to_owned() }.into());
    }
    let json: Value =
        serde_json::from_str(&files::read(path)?).map_err(|error| malformed(&error.to_string()))?;
    let crypto = &json["crypto"];
    let bytes =
        |value: &Value| value.as_str().and_then(|text| hex::decode(text).ok()).map(|bytes| bytes.len());
    let number = |name: &str| crypto["kdfparams"][name].as_u64();
    let check = |holds: bool, reason: &str| if holds { Ok(()) } else { Err(malformed(reason)) };
    check(json["version"] == 3, "its version is not 3")?;
    check(crypto["cipher"] == "aes-128-ctr", "its cipher is not aes-128-ctr")?;
    check(bytes(&crypto["cipherparams"]["iv"]) == Some(16), "its iv is not of 16 bytes")?;
    check(bytes(&crypto["ciphertext"]) == Some(32), "its ciphertext is not of 32 bytes")?;
    check(bytes(&crypto["mac"]) == Some(32), "its mac is not of 32 bytes")?;
    check(number("dklen").is_some_and(|length| (32..=128).contains(&length)), "its dklen is not 32")?;
    check(bytes(&crypto["kdfparams"]["salt"]).is_some(), "its salt is not hexadecimal")?;
    match crypto["kdf"].as_str() {
        Some("scrypt") => {
            let cost = number("n").filter(|n| n.is_power_of_two() && (2..=1 << 22).contains(n));
            let small = |name| number(name).is_some_and(|value| (1..=64).contains(&value));
            check(cost.is_some() && small("r") && small("p"), "its scrypt parameters are out of bounds")?;
        }
        Some("pbkdf2") => {
            let cost = number("c").filter(|c| (1..=100_000_000).contains(c));
            check(cost.is_some(), "its pbkdf2 parameters are out of bounds")?;
        }
        _ => check(false, "its kdf is neither scrypt nor pbkdf2")?,
    }
    Ok(json["address"].as_str().map(str::to_owned))
}

/// Reads a private key in hexadecimal digits.
///
/// # Errors
/// [`KeystoreError::BadKey`].
pub fn parse_key(text: &str, from: &str) -> Result<PrivateKeySigner, KeystoreError> {
    let bad = |reason| KeystoreError::BadKey { from: from.to_owned(), reason };
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
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
        create(&path, &key, &"correct horse".into()).unwrap();
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
    fn a_malformed_keystore_is_an_error_and_no_panic() {
        let (_dir, path, _) = made();
        let sound: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let spoil: [(&str, Value); 9] = [
            ("/version", 4.into()),
            ("/crypto/cipher", "rot13".into()),
            ("/crypto/cipherparams/iv", "00".into()),
            ("/crypto/ciphertext", "0011".into()),
            ("/crypto/mac", "zz".into()),
            ("/crypto/kdfparams/dklen", 8.into()),
            ("/crypto/kdfparams/n", (1_u64 << 60).into()),
            ("/crypto/kdfparams/r", 0.into()),
            ("/crypto/kdf", "none".into()),
        ];
        for (place, value) in spoil {
            let mut bad = sound.clone();
            *bad.pointer_mut(place).unwrap() = value;
            std::fs::write(&path, bad.to_string()).unwrap();
            let error = open(&path, &"correct horse".into()).unwrap_err();
            assert!(
                matches!(error, DaemonError::Keystore(KeystoreError::Malformed { .. })),
                "{place}: {error}"
            );
        }
        std::fs::write(&path, "not json").unwrap();
        assert!(open(&path, &"x".into()).unwrap_err().to_string().contains("no usable keystore"));
        std::fs::remove_file(&path).unwrap();
        assert!(open(&path, &"x".into()).unwrap_err().to_string().contains("there is no keystore"));
    }

    #[test]
    fn an_imported_key_is_64_hexadecimal_digits() {
        let digits = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let expected = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        for text in [digits.to_owned(), format!("0x{digits}\n"), digits.to_uppercase()] {
            assert_eq!(parse_key(&text, "a file").unwrap().address().to_string(), expected);
        }
        for text in ["", "0x", "12", &digits[1..], &"0".repeat(64), &"f".repeat(64), &"g".repeat(64)] {
            let error = parse_key(text, "a file").unwrap_err().to_string();
            assert!(error.contains("a file"), "{error}");
            assert!(text.len() < 10 || !error.contains(text), "the key is in the message");
        }
    }
}
