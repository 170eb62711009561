//! Known code: whether the code at an address is the one that this version was made for.
//!
//! The constructor writes the terms, the token and the signing domain into the code (Solidity's immutables), each at several
//! places. Outside of these places the code must equal the committed artifact byte for byte; inside, all places of one
//! value must agree, and the values must be such as the constructor writes for a contract at this address.
//!
//! What this cannot show:
//!
//! - Whoever answers can lie: an endpoint that shows the known code for another contract is believed. Ask an endpoint that you
//!   trust, best a node of your own.
//! - Code is not storage. Somebody can place the same code with a storage of their own, such as a balance that nobody paid
//!   in, by other creation code. Only the address shows that our constructor ran: see [`KnownCode::has_known_origin`].

use std::{collections::BTreeMap, ops::Range, sync::LazyLock};

use alloy::primitives::{Address, U256};
use privatix_channel::{Amount, Domain, Period, Terms};
use serde::Deserialize;

use crate::{PSC, deploy::ServiceDeployment};

/// What the constructor fixed in the code of a service contract, which otherwise is the known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownCode {
    /// The contract, its token, and the chain that it was deployed on.
    pub domain: Domain,
    /// Its periods and its least stake.
    pub terms: Terms,
}

/// Code that is not the known one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeMismatch {
    /// The address has no code.
    #[error("there is no code")]
    NoCode,
    /// Its length differs.
    #[error("it has {found} bytes of code, the known contract has {expected}")]
    Length {
        /// How many bytes there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A byte differs that no constructor writes.
    #[error("its code differs from the known contract's at byte {at}")]
    Differs {
        /// The first such byte, counted from 0.
        at: usize,
    },
    /// The places of one value hold different values.
    #[error("its code holds two values of {name}: the one at byte {at} differs from the first")]
    Disagrees {
        /// The value's name in the contract's source.
        name: &'static str,
        /// Where the first other value begins, counted from 0.
        at: usize,
    },
    /// A value that the constructor refuses, or writes differently for this address.
    #[error("its code holds a value of {name} that the known constructor does not write")]
    Impossible {
        /// The value's name in the contract's source.
        name: &'static str,
    },
}

/// Compares the runtime code at `contract` with the known one, and reads from it what its constructor fixed.
///
/// # Errors
/// [`CodeMismatch`] names the first difference.
pub fn known_code(contract: Address, code: &[u8]) -> Result<KnownCode, CodeMismatch> {
    let known = &PSC::DEPLOYED_BYTECODE;
    if code.is_empty() {
        return Err(CodeMismatch::NoCode);
    }
    if code.len() != known.len() {
        return Err(CodeMismatch::Length { found: code.len(), expected: known.len() });
    }
    let mut begin = 0;
    for place in PLACES.in_order.iter().chain([&(code.len()..code.len())]) {
        let plain = begin..place.start;
        if let Some(offset) =
            code[plain.clone()].iter().zip(&known[plain]).position(|(found, known)| found != known)
        {
            return Err(CodeMismatch::Differs { at: begin.saturating_add(offset) });
        }
        begin = place.end;
    }
    let values = Values(code);
    let chain_id = values.number("DEPLOYED_CHAIN_ID")?;
    let domain = Domain::new(chain_id, contract, values.address("TOKEN")?);
    if values.word("DEPLOYED_SEPARATOR")? != U256::from_be_bytes(domain.separator().0) {
        return Err(CodeMismatch::Impossible { name: "DEPLOYED_SEPARATOR" });
    }
    let period = |name| values.number(name).map(Period::new);
    let terms = Terms {
        pop_up: period("POP_UP_PERIOD")?,
        remove: period("REMOVE_PERIOD")?,
        challenge: period("CHALLENGE_PERIOD")?,
        fee_delay: period("FEE_DELAY")?,
        min_stake: Amount::new(values.number("MIN_STAKE")?),
    };
    if terms.are_valid() {
        Ok(KnownCode { domain, terms })
    } else {
        Err(CodeMismatch::Impossible { name: "its terms" })
    }
}

impl KnownCode {
    /// Whether the contract is at the address that [`ServiceDeployment`] gives for its token, its terms and this fee address,
    /// so that our constructor made its storage, too. No proof against it: `fee_address` must be the one at the deployment, and
    /// a contract may have been deployed in other ways.
    pub fn has_known_origin(&self, fee_address: Address) -> bool {
        let deployment = ServiceDeployment { token: self.domain.token(), fee_address, terms: self.terms };
        deployment.address().is_ok_and(|address| address == self.domain.contract())
    }
}

/// The values in code whose length was checked.
struct Values<'a>(&'a [u8]);

impl Values<'_> {
    fn word(&self, name: &'static str) -> Result<U256, CodeMismatch> {
        let mut value = None;
        for place in PLACES.by_name.get(name).into_iter().flatten() {
            let found = U256::from_be_slice(&self.0[place.clone()]);
            if *value.get_or_insert(found) != found {
                return Err(CodeMismatch::Disagrees { name, at: place.start });
            }
        }
        value.ok_or(CodeMismatch::Impossible { name })
    }

    fn number<T: TryFrom<U256>>(&self, name: &'static str) -> Result<T, CodeMismatch> {
        T::try_from(self.word(name)?).map_err(|_| CodeMismatch::Impossible { name })
    }

    fn address(&self, name: &'static str) -> Result<Address, CodeMismatch> {
        let word = self.word(name)?;
        let address = Address::from_word(word.into());
        // Its upper bits are zero, and so is no token's address.
        if U256::from_be_slice(address.as_slice()) == word && !address.is_zero() {
            Ok(address)
        } else {
            Err(CodeMismatch::Impossible { name })
        }
    }
}

/// Where the constructor writes into the code.
struct Places {
    by_name: BTreeMap<String, Vec<Range<usize>>>,
    /// All of them, by their beginning; they do not overlap.
    in_order: Vec<Range<usize>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    deployed_bytecode: DeployedBytecode,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeployedBytecode {
    immutable_references: BTreeMap<String, Vec<Place>>,
}

#[derive(Deserialize)]
struct Place {
    start: usize,
    length: usize,
}

#[expect(clippy::expect_used, reason = "the artifact is compiled in, and every test of this module reads it")]
static PLACES: LazyLock<Places> = LazyLock::new(|| {
    let artifact: Artifact = serde_json::from_str(include_str!("../artifacts/PSC.json"))
        .expect("the committed artifact is well-formed");
    let range = |place: Place| place.start..place.start.saturating_add(place.length);
    let by_name: BTreeMap<String, Vec<Range<usize>>> = artifact
        .deployed_bytecode
        .immutable_references
        .into_iter()
        .map(|(name, places)| (name, places.into_iter().map(range).collect()))
        .collect();
    let mut in_order: Vec<Range<usize>> = by_name.values().flatten().cloned().collect();
    in_order.sort_by_key(|place| place.start);
    Places { by_name, in_order }
});

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use proptest::prelude::*;

    use super::*;

    const CONTRACT: Address = Address::repeat_byte(0x5c);
    const TOKEN: Address = Address::repeat_byte(0x70);
    const CHAIN: u64 = 31_337;

    /// The code that the constructor makes, with the values that `change` leaves.
    fn code_with(change: impl FnOnce(&mut BTreeMap<&'static str, U256>)) -> Vec<u8> {
        let terms = Terms::standard(Amount::new(100));
        let seconds = |period: Period| U256::from(period.seconds());
        let mut values = BTreeMap::from([
            ("POP_UP_PERIOD", seconds(terms.pop_up)),
            ("REMOVE_PERIOD", seconds(terms.remove)),
            ("CHALLENGE_PERIOD", seconds(terms.challenge)),
            ("FEE_DELAY", seconds(terms.fee_delay)),
            ("MIN_STAKE", U256::from(terms.min_stake.get())),
            ("TOKEN", U256::from_be_slice(TOKEN.as_slice())),
            ("DEPLOYED_CHAIN_ID", U256::from(CHAIN)),
            ("DEPLOYED_SEPARATOR", Domain::new(CHAIN, CONTRACT, TOKEN).separator().into()),
        ]);
        change(&mut values);
        let mut code = PSC::DEPLOYED_BYTECODE.to_vec();
        for (name, places) in &PLACES.by_name {
            for place in places {
                code[place.clone()].copy_from_slice(&values[name.as_str()].to_be_bytes::<32>());
            }
        }
        code
    }

    fn code() -> Vec<u8> {
        code_with(|_| {})
    }

    #[test]
    fn the_known_code_is_recognized_and_its_terms_and_domain_are_read() {
        let known = known_code(CONTRACT, &code()).unwrap();
        assert_eq!(known.terms, Terms::standard(Amount::new(100)));
        assert_eq!(known.domain, Domain::new(CHAIN, CONTRACT, TOKEN));
        // It may be in use with any token: whoever compares looks at the one that it reads.
        let other =
            known_code(CONTRACT, &code_with(|values| *values.get_mut("TOKEN").unwrap() = U256::from(1)));
        assert_eq!(other.unwrap().domain.token(), Address::with_last_byte(1));
    }

    #[test]
    fn the_places_are_words_of_the_code_that_do_not_overlap_and_are_zero_in_the_artifact() {
        let mut end = 0;
        for place in &PLACES.in_order {
            assert!(end <= place.start && place.len() == 32, "{place:?}");
            end = place.end;
            assert!(PSC::DEPLOYED_BYTECODE[place.clone()].iter().all(|byte| *byte == 0), "{place:?}");
        }
        assert!(end <= PSC::DEPLOYED_BYTECODE.len());
        assert_eq!(PLACES.by_name.len(), 8, "a new immutable needs a rule in known_code");
    }

    #[test]
    fn every_kind_of_other_code_is_refused_with_what_differs() {
        let (code, len) = (code(), PSC::DEPLOYED_BYTECODE.len());
        let longer = [&code[..], &[0]].concat();
        let mut other_first = code.clone();
        other_first[0] ^= 1;
        let mut other_last = code.clone();
        other_last[len - 1] ^= 1;
        let mut disagreeing = code.clone();
        let second = PLACES.by_name["TOKEN"][1].clone();
        disagreeing[second.end - 1] ^= 1;
        let with =
            |name: &'static str, value: U256| code_with(|values| *values.get_mut(name).unwrap() = value);
        let elsewhere: B256 = Domain::new(CHAIN, Address::repeat_byte(1), TOKEN).separator();
        let impossible = |name| CodeMismatch::Impossible { name };
        let terms = || impossible("its terms");
        let table = [
            (Vec::new(), CodeMismatch::NoCode),
            (code[1..].to_vec(), CodeMismatch::Length { found: len - 1, expected: len }),
            (longer, CodeMismatch::Length { found: len + 1, expected: len }),
            (other_first, CodeMismatch::Differs { at: 0 }),
            (other_last, CodeMismatch::Differs { at: len - 1 }),
            (disagreeing, CodeMismatch::Disagrees { name: "TOKEN", at: second.start }),
            (with("TOKEN", U256::ZERO), impossible("TOKEN")),
            (with("TOKEN", U256::MAX), impossible("TOKEN")),
            (with("DEPLOYED_CHAIN_ID", U256::MAX), impossible("DEPLOYED_CHAIN_ID")),
            (with("DEPLOYED_CHAIN_ID", U256::from(1)), impossible("DEPLOYED_SEPARATOR")),
            (with("DEPLOYED_SEPARATOR", elsewhere.into()), impossible("DEPLOYED_SEPARATOR")),
            (with("MIN_STAKE", U256::ZERO), terms()),
            (with("MIN_STAKE", U256::from(1_u128 << 96)), terms()),
            (with("MIN_STAKE", U256::MAX), impossible("MIN_STAKE")),
            (with("CHALLENGE_PERIOD", U256::from(899)), terms()),
            (with("POP_UP_PERIOD", U256::ZERO), terms()),
            (with("REMOVE_PERIOD", U256::MAX), impossible("REMOVE_PERIOD")),
            (with("FEE_DELAY", U256::from(1_800)), terms()),
        ];
        for (code, expected) in table {
            assert_eq!(known_code(CONTRACT, &code), Err(expected));
        }
        // Copied to another address, it would sign for this one.
        assert_eq!(known_code(TOKEN, &code), Err(impossible("DEPLOYED_SEPARATOR")));
    }

    proptest! {
        #[test]
        fn every_changed_byte_outside_of_the_constructors_values_is_found(
            at in 0..PSC::DEPLOYED_BYTECODE.len(),
            flip in 1_u8..,
        ) {
            let mut code = code();
            code[at] ^= flip;
            let found = known_code(CONTRACT, &code);
            if PLACES.in_order.iter().any(|place| place.contains(&at)) {
                // Every value stands at two places at least, so a change at one disagrees.
                let disagrees = matches!(found, Err(CodeMismatch::Disagrees { .. }));
                prop_assert!(disagrees, "{:?}", found);
            } else {
                prop_assert_eq!(found, Err(CodeMismatch::Differs { at }));
            }
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(code in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(known_code(CONTRACT, &code).is_err());
        }
    }
}
