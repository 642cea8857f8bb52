//! HTTP with JSON in and out: one agent, bounded waits, no retries (the server records first, the user decides).
//!
//! Read next: `profile.rs` for where requests go, `auth.rs` for what allows them.

mod auth;
mod profile;

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
pub(crate) use ureq::http::Method;
use ureq::http::Request;
use ureq::tls::{RootCerts, TlsConfig};

use auth::Auth;

use crate::args::Target;
use crate::config::Env;
use crate::error::{Error, Result, UNREACHABLE};
use crate::problem::explain;

/// Longest answer that is read: a step page can carry long model answers, a runaway body must not fill the memory.
const MAX_BODY_BYTES: u64 = 32 * 1024 * 1024;
/// Characters that RFC 3986 never escapes.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; `Null` when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// A client for one base address.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    agent: ureq::Agent,
    base: String,
    auth: Auth,
}

impl Http {
    /// A client for the deployment that the command line names.
    pub(crate) fn to(target: &Target, env: &Env, timeout: Duration) -> Result<Self> {
        let profile = profile::resolve(target, env)?;
        let auth = Auth::of(&profile, env)?;
        let shown = match auth {
            Auth::None => None,
            Auth::Key { .. } => Some("the API key"),
            // A session token is a header of a signed request.
            Auth::Signed(_) => Some("the credentials' session token"),
        };
        if let Some(secret) = shown.filter(|_| profile.url.starts_with("http://") && !is_loopback(&profile.url)) {
            return Err(Error::unreachable(format!("{secret} would go to {} in clear text", profile.url)).with_hint("use https"));
        }
        Ok(Self { auth, ..Self::new(&profile.url, timeout)? })
    }

    /// A client that adds nothing to its requests. `timeout` bounds a whole call, from name look-up to the last byte.
    pub(crate) fn new(base: &str, timeout: Duration) -> Result<Self> {
        let base = base.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(unusable(&base).with_hint("an address begins with http:// or https://, as http://localhost:8000"));
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        // A redirect would carry a key elsewhere, and spoil a signature; this API has none.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .tls_config(tls)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("reprise/", env!("CARGO_PKG_VERSION")));
        // A proxy of the environment never serves this machine's own ports.
        let config = if is_loopback(&base) { config.proxy(None) } else { config };
        Ok(Self { agent: config.build().into(), base, auth: Auth::None })
    }

    /// The address without a path.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get(&self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        self.send(Method::POST, path, headers, body)
    }

    /// A request, whatever its answer. GET and DELETE have no body.
    pub(crate) fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        let url = format!("{}{path}", self.base);
        let is_bare = method == Method::GET || method == Method::DELETE;
        let allowed = self.auth.headers(method.as_str(), &url, headers, if is_bare { b"" } else { body })?;
        let headers = headers.iter().copied().chain(allowed.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let request = headers.fold(Request::builder().method(method).uri(url), |request, (name, value)| request.header(name, value));
        let unusable = |error| unusable(&self.base).because(error);
        self.answer(match is_bare {
            true => self.agent.run(request.body(()).map_err(unusable)?),
            false => self.agent.run(request.body(body).map_err(unusable)?),
        })
    }

    /// What is there, as JSON; an answer that is no success is an error with its explanation.
    pub(crate) fn fetch(&self, path: &str) -> Result<Value> {
        success(&self.get(path)?)
    }

    /// Sends JSON and takes JSON; an answer that is no success is an error with its explanation.
    pub(crate) fn order(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        success(&self.send(method, path, &[("content-type", "application/json")], body.to_string().as_bytes())?)
    }

    /// Starts something once: a key goes with it, so that where the answer was lost it is asked for again, and not made twice.
    pub(crate) fn begin(&self, path: &str, body: &Value) -> Result<Value> {
        let (key, body) = (format!("cli-{:032x}", fastrand::u128(..)), body.to_string());
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let ask = || self.send(Method::POST, path, &headers, body.as_bytes());
        success(&ask().or_else(|error| if error.code() == UNREACHABLE { ask() } else { Err(error) })?)
    }

    fn answer(&self, outcome: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Reply> {
        let failed = |error: ureq::Error| {
            Error::unreachable(format!("no answer from {}", self.base)).passing(true).because(error).with_hint(if is_loopback(&self.base) {
                "is it running? `reprise stack status`"
            } else {
                "check the address (`--url`, `--profile`) and the network"
            })
        };
        let mut response = outcome.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_BODY_BYTES).lossy_utf8(true).read_to_string().map_err(failed)?;
        Ok(Reply { status, body })
    }
}

fn unusable(base: &str) -> Error {
    Error::unreachable(format!("cannot use the address `{base}`"))
}

/// A page of somebody else with status 200 is no answer of ours.
fn success(reply: &Reply) -> Result<Value> {
    if !reply.is_success() {
        return Err(explain(reply));
    }
    serde_json::from_str(&reply.body).map_err(|error| {
        Error::unreachable("the answer is not JSON").because(error).with_hint("is this the address of a Reprise, with its stage?")
    })
}

/// One path segment, escaped: an id typed by a user may hold anything.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn is_loopback(base: &str) -> bool {
    let host = base.trim_start_matches("https://").trim_start_matches("http://").split('/').next().unwrap_or_default();
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host == *name || host.starts_with(&format!("{name}:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_odd_characters_stays_one_segment() {
        assert_eq!(segment("run_01/..?x y"), "run_01%2F..%3Fx%20y");
    }

    #[test]
    fn only_this_machine_counts_as_loopback() {
        assert!(is_loopback("http://localhost:8000"));
        assert!(is_loopback("http://[::1]:8000/x"));
        assert!(!is_loopback("http://localhost.example.org"));
    }

    #[test]
    fn an_address_we_cannot_speak_to_is_named() {
        let error = Http::new("ftp://x.example", Duration::from_secs(1)).unwrap_err();
        assert!(error.render().contains("ftp://x.example"));
    }
}
