//! Web3 secret storage, version 3: a private key encrypted under a password, as a JSON document.
//!
//! <https://ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage/> defines it. Wallets differ in
//! what they write, so this reads what geth reads and a little more: field names and hexadecimal digits in either case,
//! digits with or without `0x`, numbers as numbers or in quotes, keys without their leading zeros.

use aes::Aes128;
use alloy::hex;
use alloy::primitives::{Address, keccak256};
use alloy::signers::local::PrivateKeySigner;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::Hmac;
use serde_json::{Value, json};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::scrypt_kdf::{self, Params};

/// Most memory that an scrypt computation may take: four times what geth's standard takes.
const MAX_MEMORY: u64 = 1 << 30;
/// Most work of an scrypt computation, as N * r * p: 32 times geth's standard.
const MAX_WORK: u64 = 1 << 26;
/// Most rounds of PBKDF2: 38 times the usual 262,144.
const MAX_ROUNDS: u64 = 10_000_000;
const KEY_LENGTH: usize = 32;
/// The derived key: 16 bytes for the cipher, 16 for the checksum.
const DERIVED_LENGTH: usize = 32;

/// Why a document is no keystore that can be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// Not JSON, or not a JSON object.
    #[error("it is not a JSON object: {0}")]
    NotJson(String),
    /// A field is not there.
    #[error("`{field}` is missing")]
    Missing {
        /// The field, with its path.
        field: String,
    },
    /// A field does not have the form or value that it must have.
    #[error("`{field}` is {found}: expected {expected}")]
    Unexpected {
        /// The field, with its path.
        field: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// Opening it would take more memory or time than any honest keystore does.
    #[error("`{field}` asks for too much {resource}: {found}, at most {limit} are allowed")]
    TooCostly {
        /// The field, with its path.
        field: &'static str,
        /// Memory or time.
        resource: &'static str,
        /// What it asks for, with its unit.
        found: String,
        /// The bound.
        limit: String,
    },
    /// A presale wallet of 2014.
    #[error("it is a presale wallet (`encseed`): import it with `geth wallet import` first")]
    Presale,
    /// It was opened, but holds no key of an account.
    #[error("`crypto.ciphertext` holds a number that is no private key")]
    NoKey,
    /// It was opened, but holds the key of another account than it names.
    #[error("`address` is {named}, but its key is that of {own}")]
    AnotherAddress {
        /// What the document says.
        named: Address,
        /// The address of the key.
        own: Address,
    },
}

/// Why a well-formed document does not open.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The checksum does not fit.
    WrongPassword,
    /// It opens, but what is in it cannot be used.
    Form(FormError),
}

/// Work that a password guess costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    log_n: u8,
}

impl Cost {
    /// scrypt with N = 2^18, r = 8, p = 1, as geth's standard: 256 MiB and most of a second for each guess.
    pub(crate) const STANDARD: Self = Self { log_n: 18 };
    /// For tests, which have nothing to protect.
    #[cfg(test)]
    pub(crate) const TEST: Self = Self { log_n: 4 };
}

#[derive(Debug)]
enum Kdf {
    Scrypt { params: Params, salt: Vec<u8> },
    Pbkdf2 { rounds: u32, salt: Vec<u8> },
}

impl Kdf {
    fn derive(&self, password: &str) -> Zeroizing<[u8; DERIVED_LENGTH]> {
        let mut derived = Zeroizing::new([0; DERIVED_LENGTH]);
        match self {
            Self::Scrypt { params, salt } => {
                scrypt_kdf::derive(password.as_bytes(), salt, *params, &mut derived);
            }
            Self::Pbkdf2 { rounds, salt } => {
                pbkdf2::pbkdf2::<Hmac<Sha256>>(password.as_bytes(), salt, *rounds, derived.as_mut_slice());
            }
        }
        derived
    }
}

/// A keystore that is well-formed; whether it can be opened is up to the password.
#[derive(Debug)]
pub(crate) struct SecretStorage {
    address: Option<Address>,
    ciphertext: Vec<u8>,
    iv: [u8; 16],
    kdf: Kdf,
    mac: [u8; 32],
}

impl SecretStorage {
    /// Whether a text is meant to be such a document: private keys and mnemonics do not begin with a brace.
    pub(crate) fn looks_like(text: &str) -> bool {
        text.trim_start().starts_with('{')
    }

    /// Reads a document, without opening it.
    pub(crate) fn parse(text: &str) -> Result<Self, FormError> {
        let json: Value =
            serde_json::from_str(text).map_err(|error| FormError::NotJson(error.to_string()))?;
        if !json.is_object() {
            return Err(FormError::NotJson("it is another JSON value".to_owned()));
        }
        let document = Field::root(&json);
        if document.get("encseed").is_ok() {
            return Err(FormError::Presale);
        }
        let version = document.get("version")?;
        if version.number()? != 3 {
            return Err(version.unexpected("3"));
        }
        let crypto = document.get("crypto")?;
        crypto.get("cipher")?.word(&["aes-128-ctr"])?;
        let iv = crypto.get("cipherparams")?.get("iv")?.array()?;
        let ciphertext = crypto.get("ciphertext")?;
        let encrypted = ciphertext.bytes()?;
        if encrypted.is_empty() || encrypted.len() > KEY_LENGTH {
            return Err(ciphertext.unexpected("1 to 32 bytes in hexadecimal digits"));
        }
        Ok(Self {
            address: address(&document)?,
            ciphertext: encrypted,
            iv,
            kdf: kdf(&crypto)?,
            mac: crypto.get("mac")?.array()?,
        })
    }

    /// The address that it names. Nothing proves it before it is opened.
    pub(crate) fn address(&self) -> Option<Address> {
        self.address
    }

    /// Decrypts the key. Takes a moment by intent.
    pub(crate) fn open(&self, password: &str) -> Result<PrivateKeySigner, OpenError> {
        let derived = self.kdf.derive(password);
        let (cipher_key, mac_key) = derived.split_at(16);
        if !bool::from(mac(mac_key, &self.ciphertext).ct_eq(&self.mac)) {
            return Err(OpenError::WrongPassword);
        }
        // Early wallets cut leading zeros off the key.
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        let place = &mut key[KEY_LENGTH - self.ciphertext.len()..];
        place.copy_from_slice(&self.ciphertext);
        apply_cipher(cipher_key, &self.iv, place);
        let signer =
            PrivateKeySigner::from_slice(key.as_slice()).map_err(|_| OpenError::Form(FormError::NoKey))?;
        match self.address {
            Some(named) if named != signer.address() => {
                Err(OpenError::Form(FormError::AnotherAddress { named, own: signer.address() }))
            }
            _ => Ok(signer),
        }
    }
}

/// Encrypts a key into a new document.
pub(crate) fn encrypt(signer: &PrivateKeySigner, password: &str, cost: Cost) -> String {
    let params = Params { log_n: cost.log_n, r: 8, p: 1 };
    let salt = rand::random::<[u8; 32]>();
    let iv = rand::random::<[u8; 16]>();
    let derived = Kdf::Scrypt { params, salt: salt.to_vec() }.derive(password);
    let (cipher_key, mac_key) = derived.split_at(16);
    let mut key = Zeroizing::new(signer.to_bytes().0);
    apply_cipher(cipher_key, &iv, key.as_mut_slice());
    let document = json!({
        "address": hex::encode(signer.address()),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": hex::encode(iv) },
            "ciphertext": hex::encode(*key),
            "kdf": "scrypt",
            "kdfparams": { "dklen": DERIVED_LENGTH, "n": 1_u64 << params.log_n, "p": params.p, "r": params.r, "salt": hex::encode(salt) },
            "mac": hex::encode(mac(mac_key, key.as_slice())),
        },
        "id": uuid::Uuid::new_v4(),
        "version": 3,
    });
    document.to_string()
}

fn apply_cipher(key: &[u8], iv: &[u8; 16], bytes: &mut [u8]) {
    let mut cipher_key = Zeroizing::new([0; 16]);
    cipher_key.copy_from_slice(key);
    Ctr128BE::<Aes128>::new(&(*cipher_key).into(), iv.into()).apply_keystream(bytes);
}

fn mac(key: &[u8], ciphertext: &[u8]) -> [u8; 32] {
    let hashed = Zeroizing::new([key, ciphertext].concat());
    keccak256(hashed.as_slice()).0
}

/// The address that a document names. Some wallets leave it out or empty.
fn address(document: &Field<'_>) -> Result<Option<Address>, FormError> {
    match document.get("address") {
        Ok(field) if field.value.as_str() != Some("") => {
            field.array().map(|bytes| Some(Address::from(bytes)))
        }
        Ok(_) | Err(FormError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn kdf(crypto: &Field<'_>) -> Result<Kdf, FormError> {
    let name = crypto.get("kdf")?.word(&["scrypt", "pbkdf2"])?;
    let params = crypto.get("kdfparams")?;
    let length = params.get("dklen")?;
    // More would be derived and not used.
    if !(DERIVED_LENGTH as u64..=1024).contains(&length.number()?) {
        return Err(length.unexpected("32"));
    }
    let salt = params.get("salt")?.bytes()?;
    if name == "pbkdf2" {
        if let Ok(function) = params.get("prf") {
            function.word(&["hmac-sha256"])?;
        }
        let c = params.get("c")?;
        let rounds = c.positive()?;
        if rounds > MAX_ROUNDS {
            return Err(FormError::TooCostly {
                field: "crypto.kdfparams.c",
                resource: "time",
                found: format!("{rounds} rounds"),
                limit: MAX_ROUNDS.to_string(),
            });
        }
        let rounds = u32::try_from(rounds).map_err(|_| c.unexpected("a number of rounds"))?;
        return Ok(Kdf::Pbkdf2 { rounds, salt });
    }
    let (n, r, p) = (params.get("n")?, params.get("r")?, params.get("p")?);
    if !n.number()?.is_power_of_two() || n.number()? < 2 {
        return Err(n.unexpected("a power of two above 1"));
    }
    let log_n = u8::try_from(n.number()?.trailing_zeros()).map_err(|_| n.unexpected("a power of two"))?;
    let small = |field: &Field<'_>| {
        let number = field.positive()?;
        u32::try_from(number).map_err(|_| field.unexpected("a number below 4294967296"))
    };
    let (r_small, p_small) = (small(&r)?, small(&p)?);
    let large = n.number()?.max(p_small.into());
    let memory = u64::from(r_small).saturating_mul(128).saturating_mul(large);
    let work = n.number()?.saturating_mul(r_small.into()).saturating_mul(p_small.into());
    if memory > MAX_MEMORY {
        return Err(FormError::TooCostly {
            field: "crypto.kdfparams.n",
            resource: "memory",
            found: format!("{} MiB with its r and p", memory >> 20),
            limit: (MAX_MEMORY >> 20).to_string(),
        });
    }
    if work > MAX_WORK {
        return Err(FormError::TooCostly {
            field: "crypto.kdfparams",
            resource: "time",
            found: format!("n * r * p = {work}"),
            limit: MAX_WORK.to_string(),
        });
    }
    Ok(Kdf::Scrypt { params: Params { log_n, r: r_small, p: p_small }, salt })
}

/// A value of the document with its path, for messages.
struct Field<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    const fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// A member that is there and not null. Old wallets write some names in capitals (`Crypto`, `KDF`).
    fn get(&self, name: &str) -> Result<Self, FormError> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let Some(object) = self.value.as_object() else { return Err(self.unexpected("an object")) };
        let found = object.get(name).or_else(|| {
            object.iter().find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
        });
        match found {
            None | Some(Value::Null) => Err(FormError::Missing { field: path }),
            Some(value) => Ok(Self { path, value }),
        }
    }

    fn unexpected(&self, expected: impl Into<String>) -> FormError {
        const SHOWN: usize = 24;
        let found = match self.value {
            Value::String(text) if text.chars().count() > SHOWN => {
                format!("a text of {} characters", text.chars().count())
            }
            Value::String(text) => format!("{text:?}"),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Null => "null".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        FormError::Unexpected { field: self.path.clone(), found, expected: expected.into() }
    }

    /// A whole number, in quotes or not.
    fn number(&self) -> Result<u64, FormError> {
        let number = match self.value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.unexpected("a whole number"))
    }

    fn positive(&self) -> Result<u64, FormError> {
        match self.number()? {
            0 => Err(self.unexpected("a number above 0")),
            number => Ok(number),
        }
    }

    /// One of several words, whatever the case of its letters.
    fn word(&self, allowed: &[&'static str]) -> Result<&'static str, FormError> {
        let text = self.value.as_str().unwrap_or_default();
        let known = allowed.iter().find(|word| word.eq_ignore_ascii_case(text));
        known.copied().ok_or_else(|| self.unexpected(allowed.join(" or ")))
    }

    fn bytes(&self) -> Result<Vec<u8>, FormError> {
        let text = self.value.as_str().ok_or_else(|| self.unexpected("hexadecimal digits"))?;
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        hex::decode(digits).map_err(|_| self.unexpected("an even number of hexadecimal digits"))
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], FormError> {
        let bytes = self.bytes()?;
        bytes.try_into().map_err(|bytes: Vec<u8>| FormError::Unexpected {
            field: self.path.clone(),
            found: format!("{} bytes", bytes.len()),
            expected: format!("{N} bytes in hexadecimal digits"),
        })
    }
}

#[cfg(test)]
mod tests;
