//! What a side stores of a channel can be read by every later version.
//!
//! The files hold each field with another value than its default. A field that is renamed, or that gets another form, breaks these
//! tests: states that were stored before could not be read any more.
#![allow(clippy::unwrap_used, reason = "tests")]

use privatix_market::{AgentOwn, ClientOwn, Wei};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const AGENT: &str = include_str!("stored/agent_own.json");
const CLIENT: &str = include_str!("stored/client_own.json");

/// Reads a stored state, and asserts that nothing of it was left out, and that each field can be missing.
fn read<T: Serialize + DeserializeOwned + Default + PartialEq + std::fmt::Debug>(text: &str) {
    let stored: Value = serde_json::from_str(text).unwrap();
    let own: T = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&own).unwrap(), stored, "all of it, and nothing else");

    let default = serde_json::to_value(T::default()).unwrap();
    for (field, value) in stored.as_object().unwrap() {
        assert_ne!(default.get(field), Some(value), "{field} has its default, which proves nothing");
        let mut without = stored.clone();
        without.as_object_mut().unwrap().remove(field);
        let without: T = serde_json::from_str(&without.to_string()).unwrap();
        assert_eq!(serde_json::to_value(without).unwrap().get(field), default.get(field), "{field}");
    }
    assert_eq!(serde_json::from_str::<T>("{}").unwrap(), T::default());

    let mut with = stored;
    with.as_object_mut().unwrap().insert("of_a_later_version".to_owned(), json!({ "any": "value" }));
    assert_eq!(serde_json::from_str::<T>(&with.to_string()).unwrap(), own);
}

#[test]
fn what_an_agent_stored_can_be_read() {
    read::<AgentOwn>(AGENT);
}

#[test]
fn what_a_client_stored_can_be_read() {
    read::<ClientOwn>(CLIENT);
}

#[test]
fn the_transactions_of_one_side_are_none_of_the_other() {
    let refusal = serde_json::from_str::<AgentOwn>(CLIENT).unwrap_err().to_string();
    assert!(refusal.contains("unknown variant"), "{refusal}");
    let refusal = serde_json::from_str::<ClientOwn>(AGENT).unwrap_err().to_string();
    assert!(refusal.contains("unknown variant"), "{refusal}");
}

#[test]
fn a_stake_of_more_than_64_bits_can_be_read() {
    let (fits, most) = ("12000000000000000000", u128::MAX.to_string());
    assert!(AGENT.contains(fits));
    let own: AgentOwn = serde_json::from_str(&AGENT.replace(fits, &most)).unwrap();
    assert_eq!(own.flights[0].bid.stake, Some(Wei::new(u128::MAX)));
    let stored = serde_json::to_string(&own).unwrap();
    assert_eq!(serde_json::from_str::<AgentOwn>(&stored).unwrap(), own);
}
