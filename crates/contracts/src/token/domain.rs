//! Which EIP-712 domain a token's permits are signed in.

use std::borrow::Cow;
use std::fmt;

use alloy::primitives::{Address, B256, FixedBytes, U256};
use alloy::sol;
use alloy::sol_types::{Eip712Domain, SolCall as _};

use super::name::printable;

sol! {
    interface IERC5267 {
        function eip712Domain() external view returns (
            bytes1 fields,
            string name,
            string version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] extensions
        );
    }
}

/// What a token says about its domain. All of it may be wrong, so only the separator decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainClaims {
    /// `name()`.
    pub name: Option<String>,
    /// `version()`.
    pub version: Option<String>,
    /// `eip712Domain()` of EIP-5267, as [`eip5267_domain`] reads it.
    pub eip5267: Option<Eip712Domain>,
}

/// The domain of a token's permits: found among what the token claims and what tokens usually have, and equal in its
/// separator to the token's `DOMAIN_SEPARATOR()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitDomain(Eip712Domain);

impl PermitDomain {
    /// The domain with this separator. `None` when no domain that we know has it.
    ///
    /// Only domains of this token on this chain are considered: a token that shows another token's separator would otherwise
    /// obtain a permit over that other token.
    pub fn find(chain_id: u64, token: Address, claims: &DomainClaims, separator: B256) -> Option<Self> {
        let claimed = claims.eip5267.clone().into_iter();
        let found = claimed
            .chain(usual(chain_id, token, claims))
            .find(|domain| is_bound(domain, chain_id, token) && domain.separator() == separator);
        found.map(Self)
    }

    /// Hash of the domain, as the token's `DOMAIN_SEPARATOR()` returns it.
    pub fn separator(&self) -> B256 {
        self.0.separator()
    }

    pub(crate) fn eip712(&self) -> &Eip712Domain {
        &self.0
    }
}

/// As people recognise it: the name and the version that wallets show, too.
impl fmt::Display for PermitDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &Option<Cow<'_, str>>| text.as_deref().and_then(printable);
        write!(f, "\"{}\"", shown(&self.0.name).unwrap_or_default())?;
        match shown(&self.0.version) {
            Some(version) => write!(f, " version \"{version}\""),
            None => write!(f, " without a version"),
        }
    }
}

/// The domains that tokens without `eip712Domain()` are known to have.
fn usual(chain_id: u64, token: Address, claims: &DomainClaims) -> impl Iterator<Item = Eip712Domain> {
    let chain = U256::from(chain_id);
    let name = claims.name.clone();
    // EIP-2612's example leaves the version to the token; "1" is what tokens without `version()` use.
    let versions = [claims.version.clone(), Some("1".to_owned())];
    let of = move |version: Option<String>, chain_id: Option<U256>, salt: Option<B256>| {
        let name = name.clone().map(Cow::Owned)?;
        Some(Eip712Domain::new(Some(name), version.map(Cow::Owned), chain_id, Some(token), salt))
    };
    let candidates = versions
        .into_iter()
        .flatten()
        .flat_map(move |version| {
            [
                (Some(version.clone()), Some(chain), None),
                // Bridged tokens on Polygon.
                (Some(version), None, Some(B256::from(chain))),
            ]
        })
        // Governance tokens of UNI's family.
        .chain([(None, Some(chain), None)]);
    candidates.filter_map(move |(version, chain_id, salt)| of(version, chain_id, salt))
}

/// Whether a signature in the domain is good for this token on this chain alone.
fn is_bound(domain: &Eip712Domain, chain_id: u64, token: Address) -> bool {
    let chain = U256::from(chain_id);
    let on_chain = match (domain.chain_id, domain.salt) {
        (Some(claimed), _) => claimed == chain,
        (None, Some(salt)) => salt == B256::from(chain),
        (None, None) => false,
    };
    on_chain && domain.verifying_contract == Some(token)
}

/// The domain in an answer to `eip712Domain()` (EIP-5267): the fields that its bitmap names. `None` for an answer that is
/// malformed, or that names extensions, which nobody has defined yet.
pub fn eip5267_domain(answer: &[u8]) -> Option<Eip712Domain> {
    const LONGEST: usize = 2_048;
    if answer.len() > LONGEST {
        return None;
    }
    let said = IERC5267::eip712DomainCall::abi_decode_returns(answer).ok()?;
    let FixedBytes([fields]) = said.fields;
    if fields & !0b1_1111 != 0 || !said.extensions.is_empty() {
        return None;
    }
    let has = |bit: u8| fields & (1 << bit) != 0;
    Some(Eip712Domain::new(
        has(0).then(|| said.name.into()),
        has(1).then(|| said.version.into()),
        has(2).then_some(said.chainId),
        has(3).then_some(said.verifyingContract),
        has(4).then_some(said.salt),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Address = Address::repeat_byte(0x70);
    const CHAIN: u64 = 137;

    fn domain(version: Option<&str>, chain: Option<u64>, token: Address, salt: Option<u64>) -> Eip712Domain {
        Eip712Domain::new(
            Some("USD Coin".into()),
            version.map(|version| version.to_owned().into()),
            chain.map(U256::from),
            Some(token),
            salt.map(|salt| B256::from(U256::from(salt))),
        )
    }

    fn claims(version: Option<&str>) -> DomainClaims {
        DomainClaims { name: Some("USD Coin".into()), version: version.map(str::to_owned), eip5267: None }
    }

    fn finds(claims: &DomainClaims, actual: &Eip712Domain) -> bool {
        let found = PermitDomain::find(CHAIN, TOKEN, claims, actual.separator());
        if let Some(found) = &found {
            assert_eq!(found.separator(), actual.separator());
        }
        found.is_some()
    }

    #[test]
    fn the_domains_that_tokens_have_are_found_by_their_separators() {
        assert!(finds(&claims(Some("2")), &domain(Some("2"), Some(CHAIN), TOKEN, None)), "USDC");
        assert!(finds(&claims(None), &domain(Some("1"), Some(CHAIN), TOKEN, None)), "no version()");
        assert!(finds(&claims(Some("9")), &domain(Some("1"), Some(CHAIN), TOKEN, None)), "another version()");
        assert!(finds(&claims(None), &domain(None, Some(CHAIN), TOKEN, None)), "UNI");
        assert!(finds(&claims(None), &domain(Some("1"), None, TOKEN, Some(CHAIN))), "bridged on Polygon");
    }

    #[test]
    fn a_domain_that_is_not_bound_to_this_token_and_chain_is_never_signed_in() {
        let foreign = [
            domain(Some("2"), Some(CHAIN), Address::repeat_byte(0x71), None),
            domain(Some("2"), Some(1), TOKEN, None),
            domain(Some("2"), None, TOKEN, None),
            domain(Some("2"), None, TOKEN, Some(1)),
            Eip712Domain::new(Some("USD Coin".into()), None, Some(U256::from(CHAIN)), None, None),
        ];
        for actual in foreign {
            let claims = DomainClaims { eip5267: Some(actual.clone()), ..claims(Some("2")) };
            assert!(!finds(&claims, &actual), "{actual:?}");
        }
    }

    #[test]
    fn what_a_token_says_by_eip_5267_counts_only_with_its_separator() {
        let actual = domain(Some("v7"), Some(CHAIN), TOKEN, Some(5));
        let said = DomainClaims { eip5267: Some(actual.clone()), ..DomainClaims::default() };
        assert!(finds(&said, &actual));
        let other = domain(Some("v8"), Some(CHAIN), TOKEN, Some(5));
        assert!(!finds(&said, &other));
    }

    #[test]
    fn eip_5267_answers_are_read_by_their_bitmap() {
        let answer = |fields: u8, extensions: Vec<U256>| {
            IERC5267::eip712DomainCall::abi_encode_returns(&IERC5267::eip712DomainReturn {
                fields: FixedBytes([fields]),
                name: "A".into(),
                version: "2".into(),
                chainId: U256::from(CHAIN),
                verifyingContract: TOKEN,
                salt: B256::repeat_byte(9),
                extensions,
            })
        };
        let read = eip5267_domain(&answer(0x0f, Vec::new())).unwrap();
        assert_eq!(read.version.as_deref(), Some("2"));
        assert_eq!((read.chain_id, read.salt), (Some(U256::from(CHAIN)), None));
        assert_eq!(eip5267_domain(&answer(0x0d, Vec::new())).unwrap().version, None);

        assert_eq!(eip5267_domain(&answer(0x2f, Vec::new())), None, "an unknown field");
        assert_eq!(eip5267_domain(&answer(0x0f, vec![U256::ONE])), None, "an extension");
        assert_eq!(eip5267_domain(&[]), None);
        assert_eq!(eip5267_domain(&[0xff; 224]), None);
        assert_eq!(eip5267_domain(&vec![0; 1 << 20]), None);
    }

    #[test]
    fn a_domain_is_shown_without_what_steers_a_terminal() {
        let shown = |name: &str, version: Option<&str>| {
            PermitDomain(Eip712Domain::new(
                Some(name.to_owned().into()),
                version.map(|version| version.to_owned().into()),
                None,
                None,
                None,
            ))
            .to_string()
        };
        assert_eq!(shown("USD Coin", Some("2")), "\"USD Coin\" version \"2\"");
        assert_eq!(shown("Uni\u{1b}[2J", None), "\"Uni[2J\" without a version");
    }
}
