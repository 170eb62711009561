//! Templates are closed, bounded JSON Schemas.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use privatix_offering::{
    JsonError, MAX_TEMPLATE_SIZE, OfferingError, OfferingMessage, SignedOffering, Template, TemplateError,
    TemplateKind, Templates, proxy,
};
use serde_json::{Value, json};
use support::{agent, announced, message};

fn document(schema: &Value) -> Vec<u8> {
    let document = json!({
        "kind": "offering",
        "name": "Test",
        "product": "7f3df6a1-93be-4a51-8d02-1b1b8b1f0c11",
        "schema": schema,
    });
    serde_json::to_vec(&document).unwrap()
}

fn refused(bytes: &[u8]) -> TemplateError {
    match Template::parse(bytes) {
        Err(error) => error,
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn the_built_in_templates_are_the_proxys() {
    let templates = Templates::builtin();
    let offering = templates.get(&proxy::offering_template()).unwrap();
    let access = templates.get(&proxy::access_template()).unwrap();
    assert_eq!((offering.kind(), access.kind()), (TemplateKind::Offering, TemplateKind::Access));
    assert_eq!((offering.product(), access.product()), (proxy::PRODUCT, proxy::PRODUCT));
    assert_eq!(templates.iter().count(), 2);
}

#[test]
fn the_hashes_of_the_built_in_templates_do_not_change_by_accident() {
    // A changed template is another template: agents and clients of different versions would no
    // longer understand each other. Change these lines only together with a migration.
    assert_eq!(
        proxy::offering_template().to_string(),
        "0x154a31fc768daf8041ed4f91ddf703bf81de2b0c255a4cb5d89d104a425adaa7"
    );
    assert_eq!(
        proxy::access_template().to_string(),
        "0x37355dbec20348a03515d2b8ded7b138cc1cd03c5675ffcb46d9fbc8dc8b11bb"
    );
}

#[test]
fn the_hash_does_not_depend_on_the_spelling() {
    let compact = document(&json!({ "type": "object", "title": "x" }));
    let value: Value = serde_json::from_slice(&compact).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    let (one, other) = (Template::parse(&compact).unwrap(), Template::parse(&pretty).unwrap());
    assert_eq!(one.hash(), other.hash());
    assert_eq!(Template::parse(one.canonical()).unwrap().hash(), one.hash());
}

#[test]
fn an_added_template_serves_messages_on_both_sides() {
    let mut templates = Templates::builtin();
    let schema = json!({ "properties": { "additional": {
        "required": ["model"], "additionalProperties": false, "properties": { "model": { "type": "string" } },
    } } });
    let template = templates.add(&document(&schema)).unwrap();
    assert_eq!(templates.add(&document(&schema)), Ok(template), "adding it again changes nothing");

    let message = OfferingMessage { template, additional: json!({ "model": "m" }), ..message() };
    let offering = SignedOffering::sign(&message, &templates, &agent()).unwrap();
    assert!(SignedOffering::verify(offering.wire(), &announced(&offering), &templates).is_ok());
    let stranger = SignedOffering::verify(offering.wire(), &announced(&offering), &Templates::builtin());
    assert_eq!(stranger, Err(OfferingError::UnknownTemplate { template }));
    let wrong = OfferingMessage { additional: json!({ "model": 5 }), ..message };
    let error = SignedOffering::sign(&wrong, &templates, &agent()).unwrap_err().to_string();
    assert!(error.contains("/additional/model: 5 is not of type \"string\""), "{error}");
}

#[test]
fn a_template_can_not_loosen_what_every_offering_has() {
    let mut templates = Templates::empty();
    let template = templates.add(&document(&json!({ "additionalProperties": true }))).unwrap();
    let mut message = OfferingMessage { template, ..message() };
    message.supply = 0;
    let error = SignedOffering::sign(&message, &templates, &agent()).unwrap_err().to_string();
    assert!(error.contains("/supply: 0 is less than the minimum of 1"), "{error}");
}

#[test]
fn a_schema_that_reaches_outside_is_refused() {
    for reference in
        ["https://example.com/schema.json", "http://127.0.0.1:1/x", "file:///etc/passwd", "other.json"]
    {
        for schema in [json!({ "$ref": reference }), json!({ "properties": { "a": { "$ref": reference } } })]
        {
            let error = refused(&document(&schema));
            assert!(matches!(error, TemplateError::Schema { .. }), "{reference}: {error:?}");
        }
    }
    let unknown_dialect = document(&json!({ "$schema": "https://example.com/dialect" }));
    assert!(matches!(refused(&unknown_dialect), TemplateError::Schema { .. }));
}

#[test]
fn a_schema_that_is_none_is_refused_by_its_place() {
    let error = refused(&document(&json!({ "properties": { "a": { "type": "strnig" } } })));
    let TemplateError::Schema { pointer, .. } = &error else { panic!("{error:?}") };
    assert_eq!(pointer, "/properties/a/type");
    assert!(
        error.to_string().starts_with("the template's schema is not usable at \"/properties/a/type\""),
        "{error}"
    );
    assert!(matches!(refused(&document(&json!(true))), TemplateError::Schema { .. }));
    assert!(matches!(refused(&document(&json!({ "pattern": "(" }))), TemplateError::Schema { .. }));
}

#[test]
fn patterns_are_matched_in_linear_time() {
    // With a backtracking engine this takes longer than anybody waits; look-around needs one.
    assert!(matches!(refused(&document(&json!({ "pattern": "(?=a)b" }))), TemplateError::Schema { .. }));
    let mut templates = Templates::empty();
    let schema = json!({ "properties": { "description": { "pattern": "^(a+)+$" } } });
    let template = templates.add(&document(&schema)).unwrap();
    let message = OfferingMessage { template, description: "a".repeat(1_000) + "!", ..message() };
    assert!(matches!(SignedOffering::sign(&message, &templates, &agent()), Err(OfferingError::Fields(_))));
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    for schema in [
        json!({ "$ref": "#" }),
        json!({ "allOf": [{ "$ref": "#" }] }),
        json!({ "properties": { "additional": { "$ref": "#" } } }),
        json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }),
    ] {
        let mut templates = Templates::empty();
        if let Ok(template) = templates.add(&document(&schema)) {
            let message = OfferingMessage { template, ..message() };
            let _either = SignedOffering::sign(&message, &templates, &agent());
        }
    }
}

#[test]
fn a_template_document_has_exactly_its_parts() {
    let error = refused(b"[]").to_string();
    assert!(error.starts_with("the template must be an object of kind, name, product and schema"), "{error}");
    let cases = [
        ("kind", json!("receipt"), "unknown variant `receipt`"),
        ("product", json!("proxy"), "UUID"),
        ("color", json!("red"), "unknown field `color`"),
    ];
    for (field, value, expected) in cases {
        let mut changed: Value = serde_json::from_slice(&document(&json!({}))).unwrap();
        changed[field] = value;
        let error = refused(&serde_json::to_vec(&changed).unwrap()).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut nameless: Value = serde_json::from_slice(&document(&json!({}))).unwrap();
    nameless["name"] = json!(" ");
    let error = refused(&serde_json::to_vec(&nameless).unwrap());
    assert_eq!(error, TemplateError::Name);
    assert_eq!(error.to_string(), "the template's name must have 1 to 64 characters");
}

#[test]
fn size_and_depth_are_bounded() {
    let size = MAX_TEMPLATE_SIZE + 1;
    let error = TemplateError::Json(JsonError::TooLarge { size, limit: MAX_TEMPLATE_SIZE });
    assert_eq!(refused(&vec![b' '; size]), error);
    let mut schema = json!({});
    for _ in 0..20 {
        schema = json!({ "properties": { "a": schema } });
    }
    assert_eq!(refused(&document(&schema)), TemplateError::Json(JsonError::TooDeep));
    assert!(matches!(refused(b"{"), TemplateError::Json(JsonError::Syntax { .. })));
}
