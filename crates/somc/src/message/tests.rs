use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "0x[0-9a-f]{64}".prop_map(Value::from),
    ];
    let name = "(id|method|params|ok|error|bye|hello|notice|view|code|details|hash|channel|.{0,4})";
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_client_hello(&bytes);
        for version in [1, 2] {
            let _ = decode_request(&bytes, version);
        }
        let _ = decode_server_frame(&bytes);
    }

    #[test]
    fn any_json_is_a_message_or_a_printable_error(value in json_value()) {
        let bytes = value.to_string().into_bytes();
        let refusals = [decode_client_hello(&bytes).err(), decode_request(&bytes, 2).map_or_else(Some, |it| it.1.err())];
        for refusal in refusals.into_iter().flatten() {
            prop_assert!(!refusal.to_string().chars().any(char::is_control));
            let mut out = BytesMut::new();
            put_refusal(&mut out, u64::MAX, &refusal).unwrap();
            put_bye(&mut out, &refusal).unwrap();
        }
        if let Ok(ServerFrame::Answer { answer: Ok(result), .. }) = decode_server_frame(&bytes) {
            for method in Method::ALL {
                let _ = decode_answer(method, &result);
            }
        }
    }

    #[test]
    fn the_depth_is_what_a_parser_would_find(value in json_value(), wrap in 0_usize..24) {
        fn depth(value: &Value) -> usize {
            match value {
                Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
                Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
                _ => 0,
            }
        }
        let value = (0..wrap).fold(value, |inner, _| json!([inner]));
        prop_assert_eq!(too_deep(value.to_string().as_bytes()), depth(&value) > MAX_DEPTH);
    }
}

#[test]
fn whatever_a_refusal_says_fits_its_frame() {
    let worst = "\u{fffd}".repeat(10_000);
    for refusal in crate::refusal::tests::every_refusal().into_iter().chain([
        Refusal::malformed(worst.clone()),
        Refusal::UnknownMethod { method: worst.clone() },
        Refusal::Other { code: worst.clone(), message: "\"\\".repeat(5_000) },
    ]) {
        let mut out = BytesMut::new();
        put_refusal(&mut out, u64::MAX, &refusal).unwrap();
        put_bye(&mut out, &refusal).unwrap();
    }
}
