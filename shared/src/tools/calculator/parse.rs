//! Expressions: read and worked out in one pass, to a bounded depth.

use rust_decimal::{Decimal, MathematicalOps, RoundingStrategy};

/// How deep an expression may nest.
const DEEPEST: u32 = 64;
/// Powers beyond this are taken by logarithms, not by multiplying.
const HIGHEST_POWER: i64 = 1_000_000;
const TOO_LARGE: &str = "the result does not fit into 28 digits";

/// What the expression comes to.
pub(super) fn result_of(expression: &str) -> Result<Decimal, String> {
    let mut reader = Reader { text: expression.as_bytes(), at: 0, depth: 0 };
    let result = reader.sum()?;
    match reader.peek() {
        None => Ok(result),
        Some(_) => Err(reader.unexpected()),
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.takes(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&mut self) -> String {
        match self.peek() {
            Some(byte) if byte.is_ascii_graphic() => format!("unexpected `{}` at position {}", char::from(byte), self.at + 1),
            Some(_) => format!("unexpected character at position {}", self.at + 1),
            None => "the expression ends too early".into(),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth == DEEPEST {
            return Err("the expression is too deep".into());
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Result<Decimal, String> {
        let mut left = self.product()?;
        loop {
            left = if self.takes(b'+') {
                left.checked_add(self.product()?).ok_or(TOO_LARGE)?
            } else if self.takes(b'-') {
                left.checked_sub(self.product()?).ok_or(TOO_LARGE)?
            } else {
                return Ok(left);
            };
        }
    }

    fn product(&mut self) -> Result<Decimal, String> {
        let mut left = self.signed()?;
        loop {
            left = if self.takes(b'*') {
                left.checked_mul(self.signed()?).ok_or(TOO_LARGE)?
            } else if self.takes(b'/') {
                divided(left, self.signed()?, Decimal::checked_div)?
            } else if self.takes(b'%') {
                divided(left, self.signed()?, Decimal::checked_rem)?
            } else {
                return Ok(left);
            };
        }
    }

    fn signed(&mut self) -> Result<Decimal, String> {
        if self.takes(b'-') {
            return self.deeper(Self::signed).map(|number| -number);
        }
        if self.takes(b'+') {
            return self.deeper(Self::signed);
        }
        let base = self.atom()?;
        // To the right first, and before a sign on the left: -2 ^ 2 is -4.
        if self.takes(b'^') { power(base, self.deeper(Self::signed)?) } else { Ok(base) }
    }

    fn atom(&mut self) -> Result<Decimal, String> {
        match self.peek() {
            Some(b'(') => {
                self.at += 1;
                let inner = self.deeper(Self::sum)?;
                self.expect(b')')?;
                Ok(inner)
            }
            Some(b'0'..=b'9' | b'.') => self.number(),
            Some(byte) if byte.is_ascii_alphabetic() => self.named(),
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, fits: impl Fn(u8) -> bool) -> String {
        let from = self.at;
        while self.text.get(self.at).is_some_and(|&byte| fits(byte)) {
            self.at += 1;
        }
        self.text[from..self.at].iter().map(|&byte| char::from(byte)).filter(|&c| c != '_').collect()
    }

    fn number(&mut self) -> Result<Decimal, String> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
        let mut text = self.word(|byte| is_digit(byte) || byte == b'.');
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            text.push('e');
            if let Some(sign @ (b'+' | b'-')) = self.text.get(self.at) {
                text.push(char::from(*sign));
                self.at += 1;
            }
            text.push_str(&self.word(is_digit));
        }
        let number = if text.contains('e') { Decimal::from_scientific(&text) } else { text.trim_end_matches('.').parse() };
        number.map_err(|_| format!("`{text}` is not a number of at most 28 digits"))
    }

    fn named(&mut self) -> Result<Decimal, String> {
        let name = self.word(|byte| byte.is_ascii_alphanumeric() || byte == b'_').to_ascii_lowercase();
        if !self.takes(b'(') {
            return match name.as_str() {
                "pi" => Ok(Decimal::PI),
                "e" => Ok(Decimal::E),
                _ => Err(format!("nothing is named `{name}`; there are pi and e, and functions")),
            };
        }
        let mut arguments = Vec::new();
        loop {
            arguments.push(self.deeper(Self::sum)?);
            if !self.takes(b',') {
                break;
            }
        }
        self.expect(b')')?;
        function(&name, &arguments)
    }
}

fn divided(left: Decimal, right: Decimal, divide: fn(Decimal, Decimal) -> Option<Decimal>) -> Result<Decimal, String> {
    if right.is_zero() {
        return Err("nothing can be divided by zero".into());
    }
    divide(left, right).ok_or_else(|| TOO_LARGE.into())
}

fn power(base: Decimal, exponent: Decimal) -> Result<Decimal, String> {
    if base.is_zero() && exponent.is_sign_negative() && !exponent.is_zero() {
        return Err("nothing can be divided by zero".into());
    }
    let whole = exponent.is_integer().then(|| i64::try_from(exponent).ok()).flatten();
    let result = match whole {
        Some(exponent) if exponent.abs() <= HIGHEST_POWER => base.checked_powi(exponent),
        _ if base.is_sign_negative() => return Err("a power of a negative number must be whole".into()),
        _ => base.checked_powd(exponent),
    };
    result.ok_or_else(|| TOO_LARGE.into())
}

fn function(name: &str, arguments: &[Decimal]) -> Result<Decimal, String> {
    let outside = || format!("{name} has no result for that");
    match (name, arguments) {
        ("abs", [x]) => Ok(x.abs()),
        ("ceil", [x]) => Ok(x.ceil()),
        ("floor", [x]) => Ok(x.floor()),
        ("trunc", [x]) => Ok(x.trunc()),
        ("round", [x]) => Ok(x.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero)),
        ("round", [x, digits]) => {
            let digits = u32::try_from(*digits).ok().filter(|digits| *digits <= 28).ok_or("round takes from 0 to 28 digits")?;
            Ok(x.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero))
        }
        ("max", all) => all.iter().max().copied().ok_or_else(outside),
        ("min", all) => all.iter().min().copied().ok_or_else(outside),
        ("sqrt", [x]) => x.sqrt().ok_or_else(outside),
        ("exp", [x]) => x.checked_exp().ok_or_else(|| TOO_LARGE.into()),
        ("ln", [x]) => x.checked_ln().ok_or_else(outside),
        ("log10", [x]) => x.checked_log10().ok_or_else(outside),
        ("sin", [x]) => x.checked_sin().ok_or_else(outside),
        ("cos", [x]) => x.checked_cos().ok_or_else(outside),
        ("tan", [x]) => x.checked_tan().ok_or_else(outside),
        ("abs" | "ceil" | "floor" | "trunc" | "round" | "sqrt" | "exp" | "ln" | "log10" | "sin" | "cos" | "tan", _) => {
            Err(format!("{name} does not take {} arguments", arguments.len()))
        }
        _ => Err(format!("no function is named `{name}`")),
    }
}
