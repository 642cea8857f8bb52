//! The examples of the EventBridge user guide ("Comparison operators", "Creating event patterns", "Null values and empty
//! strings", "Arrays"), then what they leave open.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fits(pattern: &Value, payload: &Value) -> bool {
    Pattern::parse(pattern).unwrap().matches(payload)
}

/// The pattern, payloads that fit, and payloads that do not.
fn check(table: impl IntoIterator<Item = (Value, Vec<Value>, Vec<Value>)>) {
    for (pattern, fitting, others) in table {
        for payload in fitting {
            assert!(fits(&pattern, &payload), "{pattern} should fit {payload}");
        }
        for payload in others {
            assert!(!fits(&pattern, &payload), "{pattern} should not fit {payload}");
        }
    }
}

#[test]
fn fields_are_all_needed_and_of_values_any_will_do() {
    let instance =
        |source: &str, state: &str| json!({"source": source, "region": "us-west-1", "detail": {"instance-id": "i-1", "state": state}});
    let pattern = json!({"source": ["aws.ec2"], "detail": {"state": ["terminated", "stopped"]}});
    check([
        (
            pattern,
            vec![instance("aws.ec2", "terminated"), instance("aws.ec2", "stopped")],
            vec![instance("aws.ec2", "running"), instance("aws.s3", "stopped"), json!({"source": "aws.ec2"}), json!({}), json!(null)],
        ),
        (
            json!({"Location": ["New York"], "Day": ["Monday"]}),
            vec![json!({"Location": "New York", "Day": "Monday"})],
            vec![json!({"Day": "Monday"})],
        ),
        (json!({"PaymentType": ["Credit", "Debit"]}), vec![json!({"PaymentType": "Debit"})], vec![json!({"PaymentType": "Cash"})]),
    ]);
}

#[test]
fn values_are_equal_in_type_too() {
    check([
        (json!({"UserID": [null]}), vec![json!({"UserID": null})], vec![json!({}), json!({"UserID": "null"}), json!({"UserID": ""})]),
        (json!({"LastName": [""]}), vec![json!({"LastName": ""})], vec![json!({}), json!({"LastName": null}), json!({"LastName": "x"})]),
        (json!({"eventVersion": [""], "responseElements": [null]}), vec![json!({"eventVersion": "", "responseElements": null})], vec![]),
        (json!({"flag": [true]}), vec![json!({"flag": true})], vec![json!({"flag": "true"}), json!({"flag": 1})]),
        (json!({"Price": [100]}), vec![json!({"Price": 100}), json!({"Price": 1e2})], vec![json!({"Price": "100"}), json!({"Price": 101})]),
        (json!({"n": [18_446_744_073_709_551_615_u64]}), vec![], vec![json!({"n": 18_446_744_073_709_551_614_u64}), json!({"n": -1})]),
        (json!({"Name": ["Alice"]}), vec![json!({"Name": "Alice"})], vec![json!({"Name": "alice"})]),
    ]);
}

#[test]
fn texts_begin_end_and_ignore_case() {
    check([
        (
            json!({"time": [{"prefix": "2017-10-02"}]}),
            vec![json!({"time": "2017-10-02T18:43:48Z"})],
            vec![json!({"time": "2017-10-03"}), json!({"time": 2017})],
        ),
        (
            json!({"service": [{"prefix": {"equals-ignore-case": "EventB"}}]}),
            vec![json!({"service": "EventBridge"}), json!({"service": "EVENTB"}), json!({"service": "eventb"})],
            vec![json!({"service": "event"})],
        ),
        (json!({"FileName": [{"suffix": ".png"}]}), vec![json!({"FileName": "a.png"})], vec![json!({"FileName": "a.PNG"})]),
        (
            json!({"FileName": [{"suffix": {"equals-ignore-case": ".png"}}]}),
            vec![json!({"FileName": "a.PNG"})],
            vec![json!({"FileName": "png"})],
        ),
        (
            json!({"detail-type": [{"equals-ignore-case": "ec2 instance State-change Notification"}]}),
            vec![json!({"detail-type": "EC2 Instance State-change Notification"})],
            vec![json!({"detail-type": "EC2"})],
        ),
        (
            json!({"FileName": [{"wildcard": "dir/*.png"}]}),
            vec![json!({"FileName": "dir/a/b.png"})],
            vec![json!({"FileName": "x/dir/a.png"})],
        ),
    ]);
}

#[test]
fn anything_but_needs_a_value_that_is_another() {
    let state = |value: Value| json!({"state": value});
    check([
        (
            json!({"state": [{"anything-but": "initializing"}]}),
            vec![state(json!("running")), state(json!(7)), state(json!(null))],
            vec![state(json!("initializing")), json!({})],
        ),
        (
            json!({"state": [{"anything-but": 123}]}),
            vec![state(json!(456)), state(json!("123"))],
            vec![state(json!(123)), state(json!(123.0))],
        ),
        (
            json!({"state": [{"anything-but": ["stopped", "overloaded"]}]}),
            vec![state(json!("running"))],
            vec![state(json!("stopped")), state(json!("overloaded"))],
        ),
        (json!({"state": [{"anything-but": [100, 200, 300]}]}), vec![state(json!(400))], vec![state(json!(200))]),
        (
            json!({"state": [{"anything-but": {"equals-ignore-case": "initializing"}}]}),
            vec![state(json!("running"))],
            vec![state(json!("INITIALIZING"))],
        ),
        (
            json!({"state": [{"anything-but": {"equals-ignore-case": ["initializing", "stopped"]}}]}),
            vec![state(json!("running"))],
            vec![state(json!("Stopped"))],
        ),
        (json!({"state": [{"anything-but": {"prefix": "init"}}]}), vec![state(json!("running"))], vec![state(json!("initializing"))]),
        (json!({"state": [{"anything-but": {"prefix": ["init", "error"]}}]}), vec![state(json!("running"))], vec![state(json!("error-1"))]),
        (json!({"state": [{"anything-but": {"suffix": ".txt"}}]}), vec![state(json!("a.rs"))], vec![state(json!("a.txt"))]),
        (json!({"state": [{"anything-but": {"wildcard": "*/lib/*"}}]}), vec![state(json!("/usr/bin/x"))], vec![state(json!("/usr/lib/x"))]),
    ]);
}

#[test]
fn numbers_lie_in_ranges() {
    let pattern =
        json!({"c-count": [{"numeric": [">", 0, "<=", 5]}], "d-count": [{"numeric": ["<", 10]}], "x-limit": [{"numeric": ["=", 3.018e2]}]});
    let event = |c: Value, d: Value, x: Value| json!({"c-count": c, "d-count": d, "x-limit": x});
    check([(
        pattern,
        vec![event(json!(5), json!(9.9), json!(301.8)), event(json!(0.1), json!(-4), json!(301.8))],
        vec![
            event(json!(0), json!(9), json!(301.8)),
            event(json!(5.1), json!(9), json!(301.8)),
            event(json!(5), json!(10), json!(301.8)),
            event(json!(5), json!(9), json!(301.7)),
            event(json!("5"), json!(9), json!(301.8)),
        ],
    )]);
    check([(
        json!({"n": [{"numeric": [">=", 2, "<", 4]}]}),
        vec![json!({"n": 2}), json!({"n": 3})],
        vec![json!({"n": 4}), json!({"n": 1})],
    )]);
}

#[test]
fn a_field_exists_if_it_has_a_value() {
    check([
        (
            json!({"detail": {"state": [{"exists": true}]}}),
            vec![json!({"detail": {"state": "x"}}), json!({"detail": {"state": null}})],
            vec![json!({"detail": {"c-count": {"c1": 100}}}), json!({"detail": {"state": {"inner": 1}}}), json!({})],
        ),
        (
            json!({"detail": {"c-count": [{"exists": false}]}}),
            vec![json!({"detail": {"state": "x"}}), json!({"detail": {"c-count": {"c1": 100}}}), json!({})],
            vec![json!({"detail": {"c-count": 5}}), json!({"detail": {"c-count": null}})],
        ),
        (json!({"a": [{"exists": false}, "x"]}), vec![json!({}), json!({"a": "x"}), json!({"a": []})], vec![json!({"a": "y"})]),
    ]);
}

#[test]
fn addresses_lie_in_networks() {
    let ip = |address: &str| json!({"source-ip": address});
    check([
        (
            json!({"source-ip": [{"cidr": "10.0.0.0/24"}]}),
            vec![ip("10.0.0.0"), ip("10.0.0.255")],
            vec![ip("10.0.1.0"), ip("::1"), ip("x"), json!({"source-ip": 10})],
        ),
        (json!({"source-ip": [{"cidr": "2001:db8::/32"}]}), vec![ip("2001:db8::1")], vec![ip("2001:db9::1"), ip("10.0.0.1")]),
        (json!({"source-ip": [{"cidr": "0.0.0.0/0"}]}), vec![ip("255.1.2.3")], vec![ip("::1")]),
        (json!({"source-ip": [{"cidr": "10.0.0.7/32"}]}), vec![ip("10.0.0.7")], vec![ip("10.0.0.6")]),
    ]);
}

#[test]
fn one_of_several_patterns_may_do() {
    let or = json!({"source": ["aws.cw"], "$or": [{"metricName": ["CPUUtilization"]}, {"namespace": ["AWS/EC2", "AWS/ES"]}]});
    check([
        (
            or,
            vec![json!({"source": "aws.cw", "metricName": "CPUUtilization"}), json!({"source": "aws.cw", "namespace": "AWS/ES"})],
            vec![json!({"source": "aws.cw"}), json!({"metricName": "CPUUtilization"})],
        ),
        (
            json!({"detail": {"$or": [{"c-count": [{"numeric": [">", 0]}]}, {"d-count": [{"numeric": ["<", 10]}]}]}}),
            vec![json!({"detail": {"d-count": 5}})],
            vec![json!({"detail": {"c-count": 0}}), json!({"c-count": 1})],
        ),
    ]);
}

#[test]
fn of_an_array_one_element_has_to_fit() {
    let arns = json!({"resources": [{"prefix": "arn:b"}, "arn:x"]});
    check([
        (
            arns,
            vec![json!({"resources": ["arn:a", "arn:b:1"]}), json!({"resources": [["arn:x"]]})],
            vec![json!({"resources": ["arn:a"]}), json!({"resources": []})],
        ),
        (
            json!({"tags": [{"anything-but": "a"}]}),
            vec![json!({"tags": ["a", "b"]})],
            vec![json!({"tags": ["a", "a"]}), json!({"tags": []})],
        ),
        (
            json!({"employees": {"firstName": ["Anna"], "role": ["lead"]}}),
            vec![json!({"employees": [{"firstName": "John", "role": "lead"}, {"firstName": "Anna", "role": "lead"}]})],
            // Not the name of one and the role of another.
            vec![
                json!({"employees": [{"firstName": "John", "role": "lead"}, {"firstName": "Anna", "role": "dev"}]}),
                json!({"employees": "Anna"}),
            ],
        ),
    ]);
}

#[test]
fn a_part_that_is_no_pattern_is_refused_with_its_place() {
    for (pattern, path, says) in [
        (json!("high"), "", "map"),
        (json!([]), "", "map"),
        (json!({}), "", "leave it out"),
        (json!({"a": {}}), ".a", "leave it out"),
        (json!({"a": "high"}), ".a", r#"["high"]"#),
        (json!({"a": null}), ".a", "[null]"),
        (json!({"a": []}), ".a", "nothing would fit"),
        (json!({"a": ["x", ["y"]]}), ".a[1]", "not a list"),
        (json!({"a": {"b": [{"begins": "x"}]}}), ".a.b[0].begins", "no operator; there are: prefix"),
        (json!({"a": [{}]}), ".a[0]", "one operator"),
        (json!({"a": [{"prefix": "x", "suffix": "y"}]}), ".a[0]", "one operator"),
        (json!({"a": [{"prefix": 7}]}), ".a[0].prefix", "text"),
        (json!({"a": [{"prefix": ""}]}), ".a[0].prefix", "every text"),
        (json!({"a": [{"suffix": {"ignore": "x"}}]}), ".a[0].suffix", "equals-ignore-case"),
        (json!({"a": [{"equals-ignore-case": ["x"]}]}), ".a[0].equals-ignore-case", "text"),
        (json!({"a": [{"wildcard": "a**"}]}), ".a[0].wildcard", "once"),
        (json!({"a": [{"exists": "yes"}]}), ".a[0].exists", "true or false"),
        (json!({"a": [{"numeric": 5}]}), ".a[0].numeric", "must be a list"),
        (json!({"a": [{"numeric": []}]}), ".a[0].numeric", "must be a list"),
        (json!({"a": [{"numeric": [">"]}]}), ".a[0].numeric", "must be a list"),
        (json!({"a": [{"numeric": [">", "5"]}]}), ".a[0].numeric", "must be a list"),
        (json!({"a": [{"numeric": ["!=", 5]}]}), ".a[0].numeric", "no comparison"),
        (json!({"a": [{"numeric": ["<", 5, ">", 0]}]}), ".a[0].numeric", "must be a list"),
        (json!({"a": [{"numeric": [">", 5, "<", 5]}]}), ".a[0].numeric", "empty range"),
        (json!({"a": [{"cidr": "10.0.0.0"}]}), ".a[0].cidr", "10.0.0.0/24"),
        (json!({"a": [{"cidr": "10.0.0.0/33"}]}), ".a[0].cidr", "10.0.0.0/24"),
        (json!({"a": [{"cidr": "::/129"}]}), ".a[0].cidr", "10.0.0.0/24"),
        (json!({"a": [{"anything-but": null}]}), ".a[0].anything-but", "must be a text"),
        (json!({"a": [{"anything-but": []}]}), ".a[0].anything-but", "must be a text"),
        (json!({"a": [{"anything-but": ["x", 1]}]}), ".a[0].anything-but", "must be a text"),
        (json!({"a": [{"anything-but": {"numeric": [">", 1]}}]}), ".a[0].anything-but", "must be a text"),
        (json!({"a": [{"anything-but": {"prefix": []}}]}), ".a[0].anything-but", "must be a text"),
        (json!({"a": [{"anything-but": {"prefix": 1}}]}), ".a[0].anything-but.prefix", "must be a text"),
        (json!({"$or": {"a": [1]}}), ".$or", "list of patterns"),
        (json!({"$or": [{"a": [1]}]}), ".$or", "two"),
        (json!({"$or": [{"a": [1]}, {}]}), ".$or[1]", "leave it out"),
        ((0..20).fold(json!([1]), |inner, _| json!({"a": inner})), ".a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a", "deeper"),
    ] {
        let error = Pattern::parse(&pattern).unwrap_err();
        assert_eq!(error.path, path, "{pattern}: {error}");
        assert!(error.problem.contains(says), "{pattern}: {error}");
    }
}

#[test]
fn the_order_of_fields_makes_no_other_pattern() {
    let read = |text: &str| Pattern::parse(&serde_json::from_str(text).unwrap()).unwrap();
    assert_eq!(read(r#"{"a": [1], "b": {"c": [2], "d": [3]}}"#), read(r#"{"b": {"d": [3], "c": [2]}, "a": [1]}"#));
}

/// JSON with few names and values, so that patterns and payloads meet.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("a".to_owned()),
        Just("A".to_owned()),
        Just("10.0.0.1".to_owned()),
        Just("10.0.0.0/8".to_owned()),
        Just("*a".to_owned()),
        Just(">".to_owned()),
        any::<String>()
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    let name = prop_oneof![
        Just("a"),
        Just("b"),
        Just("$or"),
        Just("prefix"),
        Just("suffix"),
        Just("numeric"),
        Just("exists"),
        Just("wildcard"),
        Just("cidr"),
        Just("anything-but"),
        Just("equals-ignore-case")
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_read_or_refused_and_any_payload_fits_or_not(pattern in any_json(), payload in any_json()) {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            let fits = pattern.matches(&payload);
            let read_back: Pattern = serde_json::from_str(&serde_json::to_string(&pattern).unwrap()).unwrap();
            prop_assert_eq!(read_back.matches(&payload), fits);
        }
    }

    #[test]
    fn a_list_of_values_fits_what_is_in_the_list(
        values in prop::collection::vec("[ab]{0,2}", 1..4),
        fields in prop::collection::btree_map("[xyz]", "[ab]{0,2}", 0..3),
    ) {
        let naive = fields.get("x").is_some_and(|value| values.contains(value));
        prop_assert_eq!(fits(&json!({"x": values}), &json!(fields)), naive);
        let without = fields.get("x").is_some_and(|value| !values.contains(value));
        prop_assert_eq!(fits(&json!({"x": [{"anything-but": values}]}), &json!(fields)), without);
    }

    #[test]
    fn a_range_fits_the_numbers_in_it(low in -50_i64..50, width in 1_i64..50, n in -120_i64..120) {
        let high = low + width;
        prop_assert_eq!(fits(&json!({"n": [{"numeric": [">", low, "<=", high]}]}), &json!({"n": n})), low < n && n <= high);
    }
}
