//! Keys from a mnemonic: BIP-39 for the words, BIP-32 for the derivation, BIP-44 for the usual path.

use std::fmt;
use std::str::FromStr;

use alloy::signers::k256::elliptic_curve::sec1::ToEncodedPoint as _;
use alloy::signers::k256::{NonZeroScalar, SecretKey};
use alloy::signers::local::PrivateKeySigner;
use bip39::{Language, Mnemonic};
use hmac::{Hmac, Mac as _};
use sha2::Sha512;
use zeroize::Zeroizing;

/// Added to a number of a path to derive from the private key alone (BIP-32).
const HARDENED: u32 = 1 << 31;
/// Numbers of a path that are looked at.
const MAX_DEPTH: usize = 16;

/// Why no key is derived. Says nothing of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MnemonicError {
    /// As many words as there are.
    #[error("it has {0} words: expected 12, 15, 18, 21 or 24, with spaces or line ends between them")]
    WordCount(usize),
    /// The word's place, counted from 1.
    #[error("word {0} is not in the English list of BIP-39: check its spelling")]
    UnknownWord(usize),
    /// The last word holds a checksum of the others.
    #[error("its checksum does not fit: check the order of the words, and each word")]
    Checksum,
    /// About one in 2^127.
    #[error("it gives no key at this path: take the next account")]
    NoKey,
}

/// A BIP-32 path, such as `m/44'/60'/0'/0/0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DerivationPath(Vec<u32>);

const fn hardened(number: u32) -> u32 {
    number | HARDENED
}

impl DerivationPath {
    /// The account of this number as most Ethereum wallets count them, from 0: `m/44'/60'/0'/0/<index>`.
    pub(crate) fn account(index: u32) -> Self {
        // Purpose 44 (BIP-44), coin 60 (Ether, SLIP-44).
        Self(vec![hardened(44), hardened(60), hardened(0), 0, index & !HARDENED])
    }
}

impl Default for DerivationPath {
    fn default() -> Self {
        Self::account(0)
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        for number in &self.0 {
            let mark = if number & HARDENED == 0 { "" } else { "'" };
            write!(f, "/{}{mark}", number & !HARDENED)?;
        }
        Ok(())
    }
}

impl FromStr for DerivationPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no derivation path: write e.g. {}", Self::default());
        let mut parts = text.trim().split('/');
        if parts.next() != Some("m") {
            return Err(wrong());
        }
        let number = |part: &str| {
            let (digits, mark) = match part.strip_suffix(['\'', 'h', 'H']) {
                Some(digits) => (digits, HARDENED),
                None => (part, 0),
            };
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|number| plain && *number < HARDENED);
            number.map(|number: u32| number | mark).ok_or_else(wrong)
        };
        let numbers: Vec<u32> = parts.map(number).collect::<Result<_, _>>()?;
        if numbers.len() > MAX_DEPTH { Err(wrong()) } else { Ok(Self(numbers)) }
    }
}

/// The key at a path of a mnemonic. Letters may be in either case, with any space between words.
pub(crate) fn derive(
    words: &str,
    passphrase: &str,
    path: &DerivationPath,
) -> Result<PrivateKeySigner, MnemonicError> {
    let mut normal = Zeroizing::new(String::with_capacity(words.len() + 1));
    for word in words.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        normal.extend(word.chars().map(|letter| letter.to_ascii_lowercase()));
    }
    let mnemonic =
        Mnemonic::parse_in_normalized(Language::English, &normal).map_err(|error| match error {
            bip39::Error::BadWordCount(count) => MnemonicError::WordCount(count),
            bip39::Error::UnknownWord(index) => MnemonicError::UnknownWord(index + 1),
            _ => MnemonicError::Checksum,
        })?;
    let seed = Zeroizing::new(mnemonic.to_seed(passphrase));
    let mut node = Node::master(seed.as_slice())?;
    for number in &path.0 {
        node = node.child(*number)?;
    }
    let bytes = Zeroizing::new(node.key.to_bytes());
    PrivateKeySigner::from_slice(&bytes).map_err(|_| MnemonicError::NoKey)
}

/// An extended private key of BIP-32.
struct Node {
    key: SecretKey,
    chain_code: Zeroizing<[u8; 32]>,
}

impl Node {
    fn master(seed: &[u8]) -> Result<Self, MnemonicError> {
        let (left, chain_code) = hmac_sha512(b"Bitcoin seed", &[seed]);
        let key = SecretKey::from_slice(left.as_slice()).map_err(|_| MnemonicError::NoKey)?;
        Ok(Self { key, chain_code })
    }

    fn child(&self, number: u32) -> Result<Self, MnemonicError> {
        let (left, chain_code) = if number & HARDENED == 0 {
            let point = self.key.public_key().to_encoded_point(true);
            hmac_sha512(self.chain_code.as_slice(), &[point.as_bytes(), &number.to_be_bytes()])
        } else {
            let key = Zeroizing::new(self.key.to_bytes());
            hmac_sha512(self.chain_code.as_slice(), &[&[0], &key, &number.to_be_bytes()])
        };
        let tweak = SecretKey::from_slice(left.as_slice()).map_err(|_| MnemonicError::NoKey)?;
        let sum = Zeroizing::new(*tweak.to_nonzero_scalar() + *self.key.to_nonzero_scalar());
        let sum = Option::<NonZeroScalar>::from(NonZeroScalar::new(*sum)).ok_or(MnemonicError::NoKey)?;
        Ok(Self { key: sum.into(), chain_code })
    }
}

/// The two halves of an HMAC-SHA-512.
fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104, 2)")]
    let mut hmac = Hmac::<Sha512>::new_from_slice(key).expect("every length is allowed");
    for part in parts {
        hmac.update(part);
    }
    let output = Zeroizing::new(<[u8; 64]>::from(hmac.finalize().into_bytes()));
    let (mut left, mut right) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    left.copy_from_slice(&output[..32]);
    right.copy_from_slice(&output[32..]);
    (left, right)
}

#[cfg(test)]
mod tests {
    use alloy::hex;

    use super::*;

    const JUNK: &str = "test test test test test test test test test test test junk";

    fn address(words: &str, passphrase: &str, path: &DerivationPath) -> String {
        derive(words, passphrase, path).unwrap().address().to_string()
    }

    #[test]
    fn the_accounts_are_those_of_other_wallets() {
        // The accounts that anvil, Hardhat and Ganache make of these words.
        for (index, expected) in [
            (0, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            (1, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            (9, "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
        ] {
            assert_eq!(address(JUNK, "", &DerivationPath::account(index)), expected);
        }
        let spread = "Test test\ttest  test\r\ntest test test test test test test JUNK\n";
        assert_eq!(
            address(spread, "", &DerivationPath::default()),
            address(JUNK, "", &DerivationPath::account(0))
        );
        assert_ne!(
            address(JUNK, "x", &DerivationPath::default()),
            address(JUNK, "", &DerivationPath::default())
        );
    }

    #[test]
    fn derivation_keeps_to_the_test_vectors_of_bip_32() {
        // Test vector 1; the keys are those inside its serialised extended keys.
        let seed = hex!("000102030405060708090a0b0c0d0e0f");
        for (path, key) in [
            ("m", "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35"),
            ("m/0'", "edb2e14f9ee77d26dd93b4ecede8d16ed408ce149b6cd80b0715a2d911a0afea"),
            ("m/0'/1", "3c6cb8d0f6a264c91ea8b5030fadaa8e538b020f0a387421a12de9319dc93368"),
            ("m/0'/1/2'", "cbce0d719ecf7431d88e6a89fa1483e02e35092af60c042b1df2ff59fa424dca"),
            ("m/0h/1/2H/2", "0f479245fb19a38a1954c5c7c0ebab2f9bdfd96a17563ef28a6a4b1a2a764ef4"),
            ("m/0'/1/2'/2/1000000000", "471b76e389e528d6de6d816857e012c5455051cad6660850e58372a6c3e6e7c8"),
        ] {
            let path: DerivationPath = path.parse().unwrap();
            let node =
                path.0.iter().try_fold(Node::master(&seed).unwrap(), |node, number| node.child(*number));
            assert_eq!(hex::encode(node.unwrap().key.to_bytes()), key, "{path}");
        }
    }

    #[test]
    fn a_passphrase_counts_as_bip_39_says() {
        // The first of BIP-39's test vectors: its seed, with the passphrase TREZOR.
        let words =
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, words).unwrap();
        let seed = hex::encode(mnemonic.to_seed("TREZOR"));
        assert!(seed.starts_with("c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e5349553"));
    }

    #[test]
    fn what_is_wrong_with_the_words_is_said_without_them() {
        let path = DerivationPath::default();
        let refused = |words: &str| derive(words, "", &path).unwrap_err();
        assert_eq!(refused(""), MnemonicError::WordCount(0));
        assert_eq!(refused("test test"), MnemonicError::WordCount(2));
        assert_eq!(refused(&JUNK.replace("junk", "privatix")), MnemonicError::UnknownWord(12));
        assert_eq!(refused(&JUNK.replace("junk", "test")), MnemonicError::Checksum);
        assert!(!refused(&JUNK.replace("junk", "privatix")).to_string().contains("privatix"));
    }

    #[test]
    fn a_path_reads_back_what_it_writes() {
        for text in ["m", "m/0", "m/44'/60'/0'/0/0", "m/44'/60'/7'", "m/2147483647'"] {
            assert_eq!(text.parse::<DerivationPath>().unwrap().to_string(), text);
        }
        assert_eq!(DerivationPath::account(3).to_string(), "m/44'/60'/0'/0/3");
        let deep = format!("m{}", "/1".repeat(17));
        for text in ["", "44'/60'", "m/", "m//0", "m/x", "m/-1", "m/+1", "m/2147483648", "m/1''", &deep] {
            let refused = text.parse::<DerivationPath>().unwrap_err();
            assert!(refused.contains("m/44'/60'/0'/0/0"), "{text:?}: {refused}");
        }
    }
}
