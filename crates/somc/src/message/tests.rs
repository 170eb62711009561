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

/// The fenced block of this name in the page of the protocol.
fn block(name: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/somc-protocol.md");
    let page = std::fs::read_to_string(page).expect("the page of the protocol");
    let (_, rest) = page.split_once(&format!("```{name}\n")).expect("the block's begin");
    rest.split_once("```").expect("the block's end").0.to_owned()
}

#[test]
fn the_frames_about_a_channel_that_is_proved_are_these() {
    use alloy::primitives::{Address, B256};
    use privatix_channel::{ChannelDescriptor, Domain, ServiceState, sign_voucher};
    use privatix_offering::SessionId;

    let key = |byte| alloy::signers::local::PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).unwrap();
    let values: Value = serde_json::from_str(&block("json values")).unwrap();
    let of = |name: &str| values.get(name).and_then(Value::as_str).unwrap().to_owned();
    let domain = Domain::new(31_337, of("contract").parse().unwrap(), of("token").parse().unwrap());
    let client = key(0x11);
    let descriptor = ChannelDescriptor {
        client: client.address(),
        agent: of("agent").parse().unwrap(),
        offering: of("offeringHash").parse().unwrap(),
        nonce: 7,
        signer: Address::ZERO,
    };
    let channel = descriptor.id(&domain);
    assert_eq!(channel.to_string(), of("channel"));
    let handshake = block("text handshake");
    let hash = handshake.lines().find_map(|line| line.strip_prefix("hash ")).unwrap();
    let session = SessionId::new(format!("0x{hash}").parse().unwrap());
    let proof = ChannelProof::sign(&descriptor, &domain, session, &client).unwrap();
    let voucher = |cumulative| {
        let voucher = Voucher { channel, cumulative: Amount::new(cumulative) };
        sign_voucher(&client, &domain, voucher).unwrap()
    };
    let running = AgentView {
        number: 1,
        used: Usage::new(70_000),
        service: ServiceState::Running,
        reason: None,
        resumes_at: None,
        access: 1,
    };
    let suspended = AgentView {
        number: 3,
        used: Usage::new(90_000),
        service: ServiceState::Suspended,
        reason: "unpaid".parse().ok(),
        resumes_at: Some(Amount::new(1750)),
        ..running
    };
    let best = voucher(1000);
    let attached = Standing {
        cumulative: best.cumulative(),
        view: running,
        voucher: Some((best.cumulative(), best.signature)),
    };
    let pay = voucher(1500);
    let paid = Standing {
        cumulative: pay.cumulative(),
        view: AgentView { number: 2, used: Usage::new(80_000), ..running },
        voucher: None,
    };

    let mut frames = Vec::new();
    let mut put = |who, put: &dyn Fn(&mut BytesMut) -> Result<(), Oversized>| {
        let mut frame = BytesMut::new();
        put(&mut frame).unwrap();
        let body = frame.split_off(4);
        frames.push((who, hex::encode(&frame), body));
    };
    let requests =
        [Request::Attach(proof), Request::Pay(Payment { voucher: pay, used: Some(Usage::new(79_000)) })];
    let answers = [Answer::Attached(Box::new(attached)), Answer::PaidAttached(Box::new(paid))];
    for (id, (request, answer)) in (0..).zip(requests.iter().zip(&answers)) {
        put("C", &|out| put_request(out, id, request));
        put("S", &|out| put_answer(out, id, answer));
    }
    let notice = Notice { channel, view: suspended };
    put("S", &|out| put_notice(out, &notice));
    let lines =
        frames.iter().map(|(who, length, body)| format!("{who} {length} {}", String::from_utf8_lossy(body)));
    let said: Vec<String> = lines.collect();
    let written = block("text attached");
    assert_eq!(written.lines().collect::<Vec<_>>(), said);

    // And each is understood.
    let bodies: Vec<&BytesMut> = frames.iter().map(|(_, _, body)| body).collect();
    let [attach, attach_answer, payment, paid_answer, noticed] = bodies[..] else { panic!("five frames") };
    for (id, (body, request)) in (0..).zip([attach, payment].into_iter().zip(requests)) {
        assert_eq!(decode_request(body, 2), Ok((id, Ok(request))));
    }
    let in_clear = decode_request(attach, 1).unwrap().1.unwrap_err();
    assert_eq!(in_clear, Refusal::UnknownMethod { method: "attach".into() });
    let Request::Pay(in_clear) = decode_request(payment, 1).unwrap().1.unwrap() else { panic!("no payment") };
    assert_eq!(in_clear.used, None, "version 1 has no such field, and ignores it");
    let methods = [Method::Attach, Method::Pay];
    for ((body, method), answer) in [attach_answer, paid_answer].into_iter().zip(methods).zip(answers) {
        let Ok(ServerFrame::Answer { answer: Ok(result), .. }) = decode_server_frame(body) else {
            panic!("no answer")
        };
        assert_eq!(decode_answer(method, &result), Ok(answer));
    }
    let Ok(ServerFrame::Notice(understood)) = decode_server_frame(noticed) else { panic!("no notice") };
    assert_eq!(understood, notice);
}
