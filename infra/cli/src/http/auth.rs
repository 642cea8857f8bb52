//! What allows a request: nothing, the signature of an AWS principal (SigV4), or a key in a header.

use std::fmt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use super::profile::{Profile, Scheme};
use crate::config::Env;
use crate::error::{Error, Result};

/// What API Gateway calls itself in a signature.
const SERVICE: &str = "execute-api";
/// Credentials that end sooner than this are asked for again: a request must not overtake their end.
const LEFT: Duration = Duration::from_secs(60);

/// How requests of one client are allowed.
#[derive(Clone)]
pub(crate) enum Auth {
    /// Nothing is added.
    None,
    /// A header with a key.
    Key { header: String, value: String },
    /// A signature.
    Signed(Arc<Signer>),
}

/// A key is never printed.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Key { .. } => "Key",
            Self::Signed(_) => "Signed",
        })
    }
}

impl Auth {
    /// What the profile says; asks AWS's files, variables and services for credentials where they are needed.
    pub(crate) fn of(profile: &Profile, env: &Env) -> Result<Self> {
        match profile.scheme() {
            Scheme::None => Ok(Self::None),
            Scheme::Sigv4 => Ok(Self::Signed(Arc::new(Signer::of(profile)?))),
            Scheme::ApiKey => {
                let header = profile.header.clone().unwrap_or_else(|| "x-api-key".to_owned());
                let value = format!("{}{}", profile.prefix.as_deref().unwrap_or_default(), key(profile, env)?);
                Ok(Self::Key { header, value })
            }
        }
    }

    /// The headers that allow this request.
    pub(crate) fn headers(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<(String, String)>> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Key { header, value } => Ok(vec![(header.clone(), value.clone())]),
            Self::Signed(signer) => signer.headers(method, url, headers, body),
        }
    }
}

fn key(profile: &Profile, env: &Env) -> Result<String> {
    let key = match (&profile.key_env, &profile.key_command) {
        (Some(name), None) => env
            .get(name)
            .map(str::to_owned)
            .ok_or_else(|| Error::unreachable(format!("the variable {name} with the API key is not set")))?,
        (None, Some(command)) => printed(command)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Error::unreachable("a profile with `auth = \"api-key\"` needs one of `key_env` and `key_command`"));
        }
    };
    let key = key.trim();
    if key.is_empty() { Err(Error::unreachable("the API key is empty")) } else { Ok(key.to_owned()) }
}

/// What a command prints. What it says of its own failure is shown, what it prints never.
fn printed(command: &[String]) -> Result<String> {
    let failed = || Error::unreachable(format!("`{}` gave no API key", command.join(" ")));
    let (program, arguments) = command.split_first().ok_or_else(|| Error::unreachable("`key_command` is empty"))?;
    let output = Command::new(program).args(arguments).output().map_err(|error| failed().because(error))?;
    if !output.status.success() {
        return Err(failed().because(String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|_| failed().because("it is not text"))
}

/// Signs as an AWS principal.
pub(crate) struct Signer {
    region: String,
    provider: SharedCredentialsProvider,
    known: Mutex<Option<Credentials>>,
    runtime: tokio::runtime::Runtime,
}

impl Signer {
    fn of(profile: &Profile) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::unreachable("cannot wait for credentials").because(error))?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(name) = &profile.aws_profile {
            loader = loader.profile_name(name);
        }
        // Said, so that nobody waits for the metadata service of a machine that has none.
        if let Some(region) = profile.region() {
            loader = loader.region(Region::new(region));
        }
        let config = runtime.block_on(loader.load());
        let region = config.region().map(ToString::to_string).ok_or_else(|| {
            Error::unreachable("requests cannot be signed: no region is known")
                .with_hint("write `region` into the profile, or set AWS_REGION")
        })?;
        let provider = config.credentials_provider().ok_or_else(none)?;
        Ok(Self { region, provider, known: Mutex::default(), runtime })
    }

    fn credentials(&self, now: SystemTime) -> Result<Credentials> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credentials) = known.as_ref().filter(|known| known.expiry().is_none_or(|end| end > now + LEFT)) {
            return Ok(credentials.clone());
        }
        let fresh = self.runtime.block_on(self.provider.provide_credentials()).map_err(|error| none().because(chain(&error)))?;
        Ok(known.insert(fresh).clone())
    }

    fn headers(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<(String, String)>> {
        let failed = |error: &dyn std::error::Error| Error::unreachable("the request cannot be signed").because(chain(error));
        let now = SystemTime::from(crate::clock::now());
        let identity = self.credentials(now)?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let request =
            SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body)).map_err(|error| failed(&error))?;
        let (signed, _) = sign(request, &parameters).map_err(|error| failed(&error))?.into_parts();
        Ok(signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

fn none() -> Error {
    Error::unreachable("there are no AWS credentials to sign with").with_hint(
        "run `aws configure` or `aws sso login`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID; \
         a profile may name one (`aws_profile`), or want no signature (`auth = \"none\"`)",
    )
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key_env: Option<&str>, key_command: Option<&[&str]>) -> Profile {
        let command = key_command.map(|parts| parts.iter().map(|part| (*part).to_owned()).collect());
        Profile { auth: Some(Scheme::ApiKey), key_env: key_env.map(str::to_owned), key_command: command, ..Profile::default() }
    }

    #[test]
    fn a_key_comes_from_a_variable_or_a_command_and_is_not_printed() {
        let env = Env::of(&[("KEY", "sk-1")]);
        for profile in [with(Some("KEY"), None), with(None, Some(&["echo", "sk-1"]))] {
            let auth = Auth::of(&profile, &env).unwrap();
            assert_eq!(auth.headers("GET", "https://x/", &[], b"").unwrap(), [("x-api-key".into(), "sk-1".into())]);
            assert!(!format!("{auth:?}").contains("sk-1"));
        }
    }

    #[test]
    fn a_key_that_cannot_be_had_is_explained() {
        for (profile, part) in [
            (with(Some("KEY"), None), "the variable KEY"),
            (with(None, Some(&["sh", "-c", "echo locked >&2; exit 1"])), "locked"),
            (with(None, Some(&["true"])), "empty"),
            (with(None, None), "one of `key_env` and `key_command`"),
        ] {
            let said = Auth::of(&profile, &Env::of(&[])).unwrap_err().render();
            assert!(said.contains(part), "{part} is missing in {said}");
        }
    }
}
