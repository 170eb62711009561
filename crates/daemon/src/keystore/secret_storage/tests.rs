use super::*;

/// The four vectors of go-ethereum's `accounts/keystore/testdata/v3_test_vector.json`: as the definition has them, and with
/// keys whose leading zeros early wallets cut off.
const VECTORS: [(&str, &str, &str, &str); 4] = [
    (
        "scrypt",
        r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c","kdf":"scrypt",
        "kdfparams":{"dklen":32,"n":262144,"r":1,"p":8,
        "salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#,
        "testpassword",
        "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d",
    ),
    (
        "pbkdf2",
        r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
        "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256",
        "salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#,
        "testpassword",
        "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d",
    ),
    ("31 bytes", SHORT, "foo", "00fa7b3db73dc7dfdf8c5fbdb796d741e4488628c41fc4febd9160a866ba0f35"),
    (
        "30 bytes",
        r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"3ca92af36ad7c2cd92454c59cea5ef00"},
        "ciphertext":"108b7d34f3442fc26ab1ab90ca91476ba6bfa8c00975a49ef9051dc675aa","kdf":"scrypt",
        "kdfparams":{"dklen":32,"n":2,"r":8,"p":1,
        "salt":"d0769e608fb86cda848065642a9c6fa046845c928175662b8e356c77f914cd3b"},
        "mac":"75d0e6759f7b3cefa319c3be41680ab6beea7d8328653474bd06706d4cc67420"},
        "id":"a37e1559-5955-450d-8075-7b8931b392b2","version":3}"#,
        "foo",
        "000081c29e8142bb6a81bef5a92bda7a8328a5c85bb2f9542e76f9b0f94fc018",
    ),
];

const SHORT: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"e0c41130a323adc1446fc82f724bca2f"},
    "ciphertext":"9517cd5bdbe69076f9bf5057248c6c050141e970efa36ce53692d5d59a3984","kdf":"scrypt",
    "kdfparams":{"dklen":32,"n":2,"r":8,"p":1,
    "salt":"711f816911c92d649fb4c84b047915679933555030b3552c1212609b38208c63"},
    "mac":"d5e116151c6aa71470e67a7d42c9620c75c4d23229847dcc127794f0732b0db5"},
    "id":"fecfc4ce-e956-48fd-953b-30f8b52ed66c","version":3}"#;

fn open(document: &str, password: &str) -> PrivateKeySigner {
    SecretStorage::parse(document).unwrap().open(password).unwrap()
}

#[test]
fn the_test_vectors_of_geth_open() {
    for (name, document, password, key) in VECTORS {
        assert_eq!(hex::encode(open(document, password).to_bytes()), key, "{name}");
    }
}

#[test]
fn a_wrong_password_is_told_from_a_wrong_document() {
    let storage = SecretStorage::parse(SHORT).unwrap();
    assert!(matches!(storage.open("bar"), Err(OpenError::WrongPassword)));
    assert!(matches!(storage.open(""), Err(OpenError::WrongPassword)));
}

#[test]
fn what_is_encrypted_opens_with_its_password_alone() {
    let key = PrivateKeySigner::random();
    let document = encrypt(&key, "pässword ", Cost::TEST);
    assert_eq!(open(&document, "pässword ").to_bytes(), key.to_bytes());
    assert!(matches!(
        SecretStorage::parse(&document).unwrap().open("pässword"),
        Err(OpenError::WrongPassword)
    ));
    assert!(!document.contains(&hex::encode(key.to_bytes())));
    assert_ne!(document, encrypt(&key, "pässword ", Cost::TEST), "salt and iv are fresh");
}

/// The document with one value replaced, or removed.
fn with(place: &str, value: Value) -> String {
    let mut json: Value = serde_json::from_str(SHORT).unwrap();
    let (parent, name) = place.rsplit_once('/').unwrap();
    let object = json.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        object.remove(name).unwrap_or_default();
    } else {
        object.insert(name.to_owned(), value);
    }
    json.to_string()
}

#[test]
fn the_ways_in_which_wallets_write_it_differ_and_all_open() {
    let key = open(SHORT, "foo");
    let renamed = SHORT.replace("\"crypto\"", "\"Crypto\"").replace("\"kdf\"", "\"KDF\"");
    let address = key.address();
    for (what, document) in [
        ("old names", renamed),
        ("version in quotes", with("/version", "3".into())),
        ("numbers in quotes", with("/crypto/kdfparams/n", "2".into())),
        (
            "capital digits",
            with("/crypto/mac", "D5E116151C6AA71470E67A7D42C9620C75C4D23229847DCC127794F0732B0DB5".into()),
        ),
        ("0x", with("/crypto/cipherparams/iv", "0xe0c41130a323adc1446fc82f724bca2f".into())),
        ("0X", with("/crypto/cipherparams/iv", "0Xe0c41130a323adc1446fc82f724bca2f".into())),
        ("capital names of functions", with("/crypto/kdf", "Scrypt".into())),
        ("an address", with("/address", hex::encode(address).into())),
        ("an address with 0x and a checksum", with("/address", address.to_string().into())),
        ("an address in capitals", with("/address", hex::encode_upper(address).into())),
        ("an empty address", with("/address", "".into())),
        ("fields of the wallet's own", with("/x-ethers", json!({"client": "ethers.js"}))),
        ("a longer derived key", with("/crypto/kdfparams/dklen", 64.into())),
        ("no id", with("/id", Value::Null)),
    ] {
        assert_eq!(open(&document, "foo").to_bytes(), key.to_bytes(), "{what}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let other = "0x0101010101010101010101010101010101010101";
    for (place, value, says) in [
        ("/version", 1.into(), "`version` is 1: expected 3"),
        ("/version", Value::Null, "`version` is missing"),
        ("/crypto", Value::Null, "`crypto` is missing"),
        ("/crypto", "none".into(), "`crypto` is \"none\": expected an object"),
        ("/crypto/cipher", "aes-256-gcm".into(), "`crypto.cipher` is \"aes-256-gcm\": expected aes-128-ctr"),
        ("/crypto/cipherparams/iv", "00".into(), "`crypto.cipherparams.iv` is 1 bytes: expected 16 bytes"),
        ("/crypto/cipherparams/iv", Value::Null, "`crypto.cipherparams.iv` is missing"),
        ("/crypto/ciphertext", "".into(), "`crypto.ciphertext` is \"\": expected 1 to 32 bytes"),
        ("/crypto/ciphertext", "00".repeat(33).into(), "`crypto.ciphertext` is a text of 66 characters"),
        ("/crypto/ciphertext", "0".into(), "`crypto.ciphertext` is \"0\": expected an even number"),
        ("/crypto/mac", "zz".into(), "`crypto.mac` is \"zz\": expected an even number of hexadecimal digits"),
        ("/crypto/mac", 7.into(), "`crypto.mac` is 7: expected hexadecimal digits"),
        ("/crypto/kdf", "argon2".into(), "`crypto.kdf` is \"argon2\": expected scrypt or pbkdf2"),
        ("/crypto/kdf", "pbkdf2".into(), "`crypto.kdfparams.c` is missing"),
        ("/crypto/kdfparams/dklen", 8.into(), "`crypto.kdfparams.dklen` is 8: expected 32"),
        ("/crypto/kdfparams/salt", "x".into(), "`crypto.kdfparams.salt`"),
        ("/crypto/kdfparams/n", 3.into(), "`crypto.kdfparams.n` is 3: expected a power of two"),
        ("/crypto/kdfparams/n", 0.into(), "`crypto.kdfparams.n` is 0"),
        ("/crypto/kdfparams/n", (-2).into(), "`crypto.kdfparams.n` is -2: expected a whole number"),
        ("/crypto/kdfparams/r", 0.into(), "`crypto.kdfparams.r` is 0: expected a number above 0"),
        ("/crypto/kdfparams/p", Value::Null, "`crypto.kdfparams.p` is missing"),
        ("/address", "0x12".into(), "`address` is 1 bytes: expected 20 bytes"),
        ("/encseed", "00".into(), "geth wallet import"),
    ] {
        let said = SecretStorage::parse(&with(place, value)).unwrap_err().to_string();
        assert!(said.contains(says), "{place}: {said}");
    }
    let opened = SecretStorage::parse(&with("/address", other.into())).unwrap().open("foo");
    assert!(matches!(opened, Err(OpenError::Form(FormError::AnotherAddress { .. }))), "{opened:?}");
    for text in ["", "not json", "[]", "3"] {
        assert!(matches!(SecretStorage::parse(text), Err(FormError::NotJson(_))), "{text}");
    }
}

#[test]
fn hostile_costs_are_refused_before_any_of_them_is_paid() {
    let scrypt = |n: u64, r: u64, p: u64| {
        let mut json: Value = serde_json::from_str(SHORT).unwrap();
        for (name, value) in [("n", n), ("r", r), ("p", p)] {
            json["crypto"]["kdfparams"][name] = value.into();
        }
        SecretStorage::parse(&json.to_string())
    };
    // geth's standard and light ones, and what the strictest wallets use.
    for (n, r, p) in [(1 << 18, 8, 1), (1 << 12, 8, 6), (1 << 18, 1, 8), (1 << 20, 8, 1), (1 << 17, 8, 16)] {
        assert!(scrypt(n, r, p).is_ok(), "{n} {r} {p}");
    }
    for (n, r, p) in [
        (1 << 21, 8, 1),
        (1 << 63, 8, 1),
        (1 << 18, u64::from(u32::MAX), 1),
        (2, 1 << 30, 1),
        (2, 8, u64::from(u32::MAX)),
        (1 << 17, 8, 1 << 20),
        (1 << 20, 1, 128),
    ] {
        let refused = scrypt(n, r, p).unwrap_err();
        assert!(matches!(refused, FormError::TooCostly { .. }), "{n} {r} {p}: {refused}");
    }
    assert!(scrypt(2, u64::MAX, 1).is_err());

    let rounds = |c: u64| SHORT.replace("\"scrypt\"", "\"pbkdf2\"").replace("\"n\":2", &format!("\"c\":{c}"));
    assert!(SecretStorage::parse(&rounds(1_000_000)).is_ok());
    let refused = SecretStorage::parse(&rounds(u64::MAX)).unwrap_err().to_string();
    assert!(refused.contains("`crypto.kdfparams.c` asks for too much time"), "{refused}");
}
