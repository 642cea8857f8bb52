//! How a pattern is read, and refused with the place of what is wrong.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{Comparison, Field, Pattern, Test, compare};
use crate::domain::wildcard::Wildcard;

/// How deep a pattern may nest.
const DEEPEST: usize = 16;

/// A part of a pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// Where, e.g. `.ticket.priority[0].numeric`; empty for the pattern itself.
    pub path: String,
    /// What is wrong, and what to write.
    pub problem: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

type Read<T> = Result<T, PatternError>;

pub(super) fn pattern(value: &Value) -> Read<Pattern> {
    object(value, "", DEEPEST)
}

fn refuse<T>(path: &str, problem: impl Into<String>) -> Read<T> {
    Err(PatternError { path: path.to_owned(), problem: problem.into() })
}

fn object(value: &Value, path: &str, depth: usize) -> Read<Pattern> {
    let Value::Object(map) = value else { return refuse(path, "must be a map of field names, e.g. `priority: [high]`") };
    if map.is_empty() {
        return refuse(path, "must not be empty; leave it out to take every payload");
    }
    if depth == 0 {
        return refuse(path, format!("nests deeper than {DEEPEST} levels"));
    }
    let mut pattern = Pattern { fields: Vec::new(), any_of: Vec::new() };
    // By name, so that the same pattern is the same bytes in the bundle, however `serde_json` was built.
    let mut fields: Vec<_> = map.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match value {
            Value::Array(items) if name == "$or" => {
                if items.len() < 2 {
                    return refuse(&path, "needs two patterns at least");
                }
                for (i, item) in items.iter().enumerate() {
                    pattern.any_of.push(object(item, &format!("{path}[{i}]"), depth - 1)?);
                }
            }
            _ if name == "$or" => return refuse(&path, "must be a list of patterns"),
            Value::Array(items) => pattern.fields.push((name.clone(), Field::Values(tests(items, &path)?))),
            Value::Object(_) => pattern.fields.push((name.clone(), Field::Object(object(value, &path, depth - 1)?))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return refuse(&path, format!("must be a list of the values that fit, e.g. [{value}]"));
            }
        }
    }
    Ok(pattern)
}

fn tests(items: &[Value], path: &str) -> Read<Vec<Test>> {
    if items.is_empty() {
        return refuse(path, "must not be an empty list: nothing would fit");
    }
    items
        .iter()
        .enumerate()
        .map(|(i, item)| {
            let path = format!("{path}[{i}]");
            match item {
                Value::Object(map) => operator(map, &path),
                Value::Array(_) => refuse(&path, "must be a value or an operator, not a list"),
                leaf => Ok(Test::Equals(leaf.clone())),
            }
        })
        .collect()
}

fn operator(map: &Map<String, Value>, path: &str) -> Read<Test> {
    let mut entries = map.iter();
    let (Some((name, operand)), None) = (entries.next(), entries.next()) else {
        return refuse(path, "must hold one operator, e.g. {\"prefix\": \"eu-\"}");
    };
    let path = &format!("{path}.{name}");
    match name.as_str() {
        "prefix" => affix(operand, path, Test::Prefix, Test::PrefixIgnoreCase),
        "suffix" => affix(operand, path, Test::Suffix, Test::SuffixIgnoreCase),
        "equals-ignore-case" => Ok(Test::EqualsIgnoreCase(text(operand, path)?.to_lowercase())),
        "wildcard" => wildcard(operand, path),
        "exists" => match operand {
            Value::Bool(expected) => Ok(Test::Exists(*expected)),
            _ => refuse(path, "must be true or false"),
        },
        "numeric" => numeric(operand, path),
        "cidr" => cidr(operand, path),
        "anything-but" => anything_but(operand, path),
        _ => refuse(
            path,
            "is no operator; there are: prefix, suffix, equals-ignore-case, wildcard, exists, numeric, cidr, anything-but (a list of values for a nested field goes one level up)",
        ),
    }
}

fn text<'v>(operand: &'v Value, path: &str) -> Read<&'v str> {
    match operand.as_str() {
        Some(text) => Ok(text),
        None => refuse(path, "must be a text"),
    }
}

fn affix(operand: &Value, path: &str, exact: fn(String) -> Test, ignoring_case: fn(String) -> Test) -> Read<Test> {
    let (make, text) = match operand {
        Value::Object(map) => match map.get("equals-ignore-case").filter(|_| map.len() == 1) {
            Some(operand) => (ignoring_case, text(operand, path)?.to_lowercase()),
            None => return refuse(path, "must be a text or {\"equals-ignore-case\": text}"),
        },
        _ => (exact, text(operand, path)?.to_owned()),
    };
    if text.is_empty() { refuse(path, "must not be empty: every text would fit") } else { Ok(make(text)) }
}

fn wildcard(operand: &Value, path: &str) -> Read<Test> {
    match Wildcard::parse(text(operand, path)?) {
        Ok(wildcard) => Ok(Test::Wildcard(wildcard)),
        Err(problem) => refuse(path, problem),
    }
}

fn numeric(operand: &Value, path: &str) -> Read<Test> {
    const FORM: &str = "must be a list such as [\">\", 0] or [\">\", 0, \"<=\", 5]";
    let Value::Array(items) = operand else { return refuse(path, FORM) };
    let mut bounds = Vec::new();
    for pair in items.chunks(2) {
        match pair {
            [Value::String(name), Value::Number(bound)] => bounds.push((comparison(name, path)?, bound.clone())),
            _ => return refuse(path, FORM),
        }
    }
    match bounds.as_slice() {
        [_] => {}
        [(Comparison::Greater | Comparison::GreaterOrEqual, low), (Comparison::Less | Comparison::LessOrEqual, high)] => {
            if compare(low, high) != Some(Ordering::Less) {
                return refuse(path, "is an empty range: the first number must be below the second");
            }
        }
        _ => return refuse(path, FORM),
    }
    Ok(Test::Numeric(bounds))
}

fn comparison(name: &str, path: &str) -> Read<Comparison> {
    match name {
        "<" => Ok(Comparison::Less),
        "<=" => Ok(Comparison::LessOrEqual),
        "=" => Ok(Comparison::Equal),
        ">" => Ok(Comparison::Greater),
        ">=" => Ok(Comparison::GreaterOrEqual),
        _ => refuse(path, format!("`{name}` is no comparison; there are: <, <=, =, >=, >")),
    }
}

fn cidr(operand: &Value, path: &str) -> Read<Test> {
    let network = text(operand, path)?.split_once('/').and_then(|(address, bits)| {
        let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
    });
    match network {
        Some((address, bits)) => Ok(Test::Cidr(address, bits)),
        None => refuse(path, "must be a network such as 10.0.0.0/24 or 2001:db8::/32"),
    }
}

fn anything_but(operand: &Value, path: &str) -> Read<Test> {
    const FORM: &str = "must be a text, a number, a list of texts or of numbers, or one of prefix, suffix, equals-ignore-case, wildcard";
    let equals = |values: &[&Value]| Test::AnythingBut(values.iter().map(|&value| Test::Equals(value.clone())).collect());
    match operand {
        Value::String(_) | Value::Number(_) => Ok(equals(&[operand])),
        Value::Array(items) => {
            let is_uniform = items.iter().all(Value::is_string) || items.iter().all(Value::is_number);
            if items.is_empty() || !is_uniform { refuse(path, FORM) } else { Ok(equals(&items.iter().collect::<Vec<_>>())) }
        }
        Value::Object(map) => {
            let mut entries = map.iter();
            let (Some((name, operand)), None) = (entries.next(), entries.next()) else { return refuse(path, FORM) };
            if !matches!(name.as_str(), "prefix" | "suffix" | "equals-ignore-case" | "wildcard") {
                return refuse(path, FORM);
            }
            let operands = match operand {
                Value::Array(items) if items.is_empty() => return refuse(path, FORM),
                Value::Array(items) => items.iter().collect(),
                one => vec![one],
            };
            let one = |operand: &Value| operator(&Map::from_iter([(name.clone(), operand.clone())]), path);
            Ok(Test::AnythingBut(operands.into_iter().map(one).collect::<Read<_>>()?))
        }
        Value::Null | Value::Bool(_) => refuse(path, FORM),
    }
}
