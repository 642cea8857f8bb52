//! Fields whose value is a secret by their name, however it is written: `api_key`, `apiKey`, `X-API-Key` and `APIKEY` are one name.

/// Words, or words in a row, that make a field a secret.
const SECRET: [&str; 40] = [
    "accesskey",
    "apikey",
    "auth",
    "authcode",
    "authentication",
    "authorization",
    "bearer",
    "card",
    "cardno",
    "cardnumber",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "creditcard",
    "cvc",
    "cvv",
    "iban",
    "jwt",
    "magiclink",
    "otp",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "pin",
    "privatekey",
    "pwd",
    "secret",
    "secrets",
    "session",
    "sessionid",
    "signature",
    "signingkey",
    "sshkey",
    "ssn",
    "token",
    "totp",
    "webhookurl",
];
/// The same where only a text is a secret: numbers under these names are counts.
const SECRET_TEXT: [&str; 1] = ["tokens"];
/// So unmistakable that they count in the middle of a word too: `userpassword`.
const ANYWHERE: [&str; 6] = ["apikey", "authorization", "passphrase", "passwd", "password", "privatekey"];
/// They count at the end of a word: `accesstoken`.
const AT_THE_END: [&str; 2] = ["secret", "token"];
/// No name has more words that matter.
const LONGEST: usize = 16;

/// How much of what stands under a name is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Secrecy {
    /// What looks like a secret.
    Open,
    /// All texts.
    Texts,
    /// All texts and numbers.
    All,
}

/// The names that an operator has added.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    added: Vec<String>,
}

/// A name that could not be that of a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a field: a letter or a digit must be in each of the names, which are parted by commas")]
pub struct InvalidName(String);

impl Names {
    pub(super) fn with(names: &str) -> Result<Self, InvalidName> {
        if names.trim().is_empty() {
            return Ok(Self::default());
        }
        let read = |name: &str| Some(words(name).concat()).filter(|name| !name.is_empty()).ok_or_else(|| InvalidName(name.to_owned()));
        Ok(Self { added: names.split(',').map(read).collect::<Result<_, _>>()? })
    }

    pub(super) fn secrecy(&self, name: &str) -> Secrecy {
        let words = words(name);
        let whole = words.concat();
        let is_secret = ANYWHERE.iter().any(|part| whole.contains(part))
            || words.iter().any(|word| AT_THE_END.iter().any(|end| word.ends_with(end)))
            || rows(&words).any(|row| SECRET.contains(&row.as_str()) || self.added.contains(&row));
        if is_secret {
            Secrecy::All
        } else if rows(&words).any(|row| SECRET_TEXT.contains(&row.as_str())) {
            Secrecy::Texts
        } else {
            Secrecy::Open
        }
    }
}

/// The words of a name in small letters: parted by what is no letter or digit, and where a capital begins one.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let signs: Vec<char> = name.chars().collect();
    for (i, sign) in signs.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| signs.get(i));
        let after = signs.get(i + 1);
        let begins = sign.is_uppercase()
            && (before.is_some_and(|before| before.is_lowercase() || before.is_numeric())
                || (before.is_some_and(|before| before.is_uppercase()) && after.is_some_and(|after| after.is_lowercase())));
        if begins || !sign.is_alphanumeric() {
            words.push(String::new());
        }
        if sign.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(sign.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// All rows of up to three words, written as one, and the whole name.
fn rows(words: &[String]) -> impl Iterator<Item = String> {
    let words = &words[..words.len().min(LONGEST)];
    (1..=3).flat_map(|length| words.windows(length).map(|row| row.concat())).chain([words.concat()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_name_however_it_is_written() {
        let names = Names::with("Tax-ID, maiden name").unwrap();
        for name in [
            "password",
            "Password",
            "userPassword",
            "userpassword",
            "new_password",
            "PASSWD",
            "api_key",
            "apiKey",
            "X-API-Key",
            "APIKEY",
            "openaiApiKey",
            "token",
            "accessToken",
            "access_token",
            "accesstoken",
            "idToken",
            "X-Auth-Token",
            "Authorization",
            "proxy-authorization",
            "secret",
            "clientSecret",
            "client_secret",
            "AWS_SECRET_ACCESS_KEY",
            "Cookie",
            "set-cookie",
            "card",
            "cardNumber",
            "credit_card",
            "private-key",
            "cvv",
            "session_id",
            "tax_id",
            "customerTaxId",
            "maiden.name",
        ] {
            assert_eq!(names.secrecy(name), Secrecy::All, "{name}");
        }
        for name in ["tokens", "refresh_tokens", "input_tokens", "maxTokens"] {
            assert_eq!(names.secrecy(name), Secrecy::Texts, "{name}");
        }
        for name in [
            "",
            "name",
            "key",
            "author",
            "discard",
            "cardinality",
            "secretary",
            "tokenizer",
            "pinned",
            "spin",
            "message",
            "authored",
            "obsession",
        ] {
            assert_eq!(names.secrecy(name), Secrecy::Open, "{name}");
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for none in [",", "a,", "a,,b", " , ", "--"] {
            assert!(Names::with(none).is_err(), "{none}");
        }
        assert!(Names::with("").is_ok() && Names::with("  ").is_ok());
    }
}
