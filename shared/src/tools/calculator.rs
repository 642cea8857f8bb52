//! The tool `calculator`: arithmetic with decimals of 28 digits, so that 0.1 + 0.2 is 0.3.

mod parse;

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Tool, ToolContext, ToolTraits};
use crate::engine::ports::ToolSpec;

/// Bytes of the longest expression.
const LONGEST: usize = 1_000;

/// Works out expressions.
pub(super) struct Calculator;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    expression: String,
}

#[async_trait]
impl Tool for Calculator {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "calculator".into(),
            description:
                "Works out an arithmetic expression exactly, with decimals. Knows + - * / % ^ and parentheses; abs, ceil, cos, exp, \
                          floor, ln, log10, max, min, round(x, digits), sin, sqrt, tan, trunc; pi and e. % is the remainder."
                    .into(),
            parameters: json!({
                "type": "object",
                "properties": {"expression": {"type": "string", "minLength": 1, "maxLength": LONGEST, "description": "e.g. (12.5 + 3) * 4 ^ 2"}},
                "required": ["expression"],
                "additionalProperties": false,
            }),
        }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits::harmless(Duration::from_secs(1))
    }

    async fn call(&self, arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        let Arguments { expression } = Arguments::deserialize(arguments).map_err(|error| format!("arguments: {error}"))?;
        if expression.len() > LONGEST {
            return Err(format!("the expression has {} bytes; at most {LONGEST} are worked out", expression.len()));
        }
        parse::result_of(&expression).map(|number| number.normalize().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::testing::in_a_run;

    async fn ask(expression: &str) -> Result<String, String> {
        Calculator.call(&json!({"expression": expression}), &in_a_run()).await
    }

    #[tokio::test]
    async fn sums_are_exact() {
        for (expression, result) in [
            ("0.1 + 0.2", "0.3"),
            ("1 + 2 * 3", "7"),
            ("(1 + 2) * 3", "9"),
            ("2 ^ 3 ^ 2", "512"),
            ("-2 ^ 2", "-4"),
            ("2 ^ -1", "0.5"),
            ("--3", "3"),
            ("+3 - -3", "6"),
            ("10 % 4", "2"),
            ("7 / 2", "3.5"),
            ("1e3 + 2.5E-1", "1000.25"),
            (".5 + 5.", "5.5"),
            ("1_000 * 3", "3000"),
            ("sqrt(2) ^ 2", "2"),
            ("round(2.5)", "3"),
            ("round(1 / 3, 4)", "0.3333"),
            ("max(1, 2, 3) - min(4, 5)", "-1"),
            ("abs(-1.5) + floor(1.9) + ceil(1.1) + trunc(-1.9)", "3.5"),
            ("round(sin(pi / 2), 6)", "1"),
            ("round(ln(e), 6)", "1"),
            ("log10(1000)", "3"),
            ("99999999999999 * 99999999999999", "9999999999999800000000000001"),
        ] {
            assert_eq!(ask(expression).await.as_deref(), Ok(result), "{expression}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_worked_out_is_told_to_the_model() {
        for (expression, part) in [
            ("1 / 0", "divide"),
            ("5 % 0", "divide"),
            ("sqrt(-1)", "sqrt"),
            ("ln(0)", "ln"),
            ("10 ^ 40", "28 digits"),
            ("9999999999999999 * 9999999999999999", "28 digits"),
            ("exp(1000)", "28 digits"),
            ("2 +", "ends"),
            ("(1 + 2", "ends"),
            ("1 2", "position 3"),
            ("1 + x", "`x`"),
            ("system(1)", "`system`"),
            ("max()", "ends"),
            ("sqrt(1, 2)", "sqrt"),
            ("round(1, 99)", "round"),
            ("1 = 1", "position 3"),
            ("", "ends"),
            ("${7*7}", "position 1"),
        ] {
            let problem = ask(expression).await.unwrap_err();
            assert!(problem.contains(part) || (expression == "max()" && problem.contains("position")), "{expression}: {problem}");
        }
    }

    #[tokio::test]
    async fn neither_depth_nor_length_nor_powers_take_it_down() {
        assert!(ask(&"(".repeat(999)).await.unwrap_err().contains("deep"));
        assert!(ask(&"-".repeat(999)).await.unwrap_err().contains("deep"));
        assert!(ask(&"2^".repeat(499)).await.is_err());
        assert!(ask(&"1+".repeat(499)).await.is_err());
        assert!(ask(&"9".repeat(1_001)).await.unwrap_err().contains("1001"));
        assert!(ask("9^9^9^9^9").await.is_err());
        assert!(ask("1.0000001 ^ 999999999999").await.is_err());
        assert!(ask("0.5 ^ 123456789.123").await.ok().is_none_or(|result| result == "0"));
    }
}
