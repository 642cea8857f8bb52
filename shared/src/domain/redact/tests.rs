//! Whole values.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn secrets_are_taken_out_wherever_they_stand_and_told_by_their_place() {
    let value = json!({
        "user": {"name": "Ana", "e-mail": "ana@example.com", "password": "hunter2", "pin": 1234, "active": true},
        "headers": [{"Authorization": "Bearer abc"}, {"accept": "*/*"}],
        "card": {"number": 4_111_111_111_111_111_u64, "type": "visa"},
        "a/b~c": {"token": ""},
        "text": "{\"api_key\": \"abc\", \"n\": 1}",
        "usage": {"input_tokens": 12},
        "ref": 4_111_111_111_111_111_u64,
        "note": null
    });
    let redacted = Redactor::default().redact(value);
    assert_eq!(
        redacted.value,
        json!({
            "user": {"name": "Ana", "e-mail": REDACTED, "password": REDACTED, "pin": REDACTED, "active": true},
            "headers": [{"Authorization": REDACTED}, {"accept": "*/*"}],
            "card": {"number": REDACTED, "type": REDACTED},
            "a/b~c": {"token": ""},
            "text": "{\"api_key\":\"[redacted]\",\"n\":1}",
            "usage": {"input_tokens": 12},
            "ref": REDACTED,
            "note": null
        })
    );
    let mut paths = redacted.paths;
    paths.sort_unstable();
    let told = ["/card/number", "/card/type", "/headers/0/Authorization", "/ref", "/text", "/user/e-mail", "/user/password", "/user/pin"];
    assert_eq!(paths, told);
}

#[test]
fn a_name_that_an_operator_adds_is_a_secret_too() {
    let value = json!({"customerNumber": 7, "customer-number": "C-7", "customer": "C-7"});
    let redacted = Redactor::with_names("customer_number, other").unwrap().redact(value);
    assert_eq!(redacted.value, json!({"customerNumber": REDACTED, "customer-number": REDACTED, "customer": "C-7"}));
}

#[test]
fn a_path_is_a_json_pointer_to_what_was_taken_out() {
    let redacted = Redactor::default().redact(json!({"a/b": [{"~token": "x"}]}));
    assert_eq!(redacted.paths, ["/a~1b/0/~0token"]);
    assert_eq!(redacted.value.pointer(&redacted.paths[0]), Some(&json!(REDACTED)));
}

#[test]
fn json_in_json_in_json_is_looked_into() {
    let inner = json!({"password": "hunter2"}).to_string();
    let outer = json!({"body": json!([inner]).to_string()});
    assert!(!Redactor::default().redact(outer).value.to_string().contains("hunter2"));
}

fn any_value() -> impl Strategy<Value = Value> {
    let name = prop_oneof!["[a-z/~]{0,6}", Just("password".to_owned()), Just("X-Api-Key".to_owned()), ".{0,8}"];
    let text =
        prop_oneof![".{0,30}", "[0-9 -]{0,24}", Just("bearer abcdefghijklmnop1234".to_owned()), "\\PC{0,20}@[a-z]{1,8}\\.[a-z]{2,3}"];
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), text.prop_map(Value::from)];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Fields, lengths and kinds, but that a number or a text may have become a text.
fn has_shape_of(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| has_shape_of(one, other)))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| has_shape_of(one, other))
        }
        (Value::String(_), Value::String(_)) => true,
        (Value::String(text), Value::Number(_)) => text == REDACTED,
        (one, other) => one == other,
    }
}

proptest! {
    #[test]
    fn whatever_comes_the_shape_stays_and_what_differs_is_told(value in any_value()) {
        let redacted = Redactor::default().redact(value.clone());
        prop_assert!(has_shape_of(&redacted.value, &value));
        let mut restored = redacted.value.clone();
        for path in &redacted.paths {
            let original = value.pointer(path).cloned();
            prop_assert!(original.is_some() && restored.pointer(path) != original.as_ref(), "{path}");
            *restored.pointer_mut(path).unwrap() = original.unwrap();
        }
        prop_assert_eq!(restored, value);
    }

    #[test]
    fn what_is_redacted_once_is_redacted(value in any_value()) {
        let once = Redactor::default().redact(value).value;
        prop_assert_eq!(Redactor::default().redact(once.clone()).value, once);
    }

    #[test]
    fn a_password_never_comes_through(value in any_value(), word in "[A-Z]{12}") {
        let value = json!({"deep": [value, {"userPassword": word, "login": format!("password={word}")}]});
        prop_assert!(!Redactor::default().redact(value).value.to_string().contains(&word));
    }
}
