//! HTTP for everything that a model can steer (ADR 0016): requests reach hosts that the definition lists, at addresses of the public
//! internet, and no others.
//!
//! The name is resolved here, all its addresses are judged, and those that were judged are the ones that are connected to: a name that
//! changes its mind in between (DNS rebinding) finds no in-between. Each redirect is judged like the first request. Only a host that
//! the operator lists with `allow_private` may be on another address.

mod address;
mod body;
mod lookup;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Method, StatusCode};

pub(crate) use body::Body;
use lookup::{CheckedLookup, Lookup, NotPublicAddress, SystemLookup};
use target::Target;

use crate::domain::tool_definition::HostRule;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How many redirects are followed.
const MOST_REDIRECTS: usize = 5;
/// Bytes of all headers of an answer.
const MOST_HEADER_BYTES: usize = 32 * 1024;
/// Sent with each request, so that a host can see who asks.
const USER_AGENT: &str = concat!("reprise/", env!("CARGO_PKG_VERSION"));

/// Why a request was not sent. The model is told this: it says nothing of what a name resolves to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The URL itself.
    #[error("the URL is refused: {0}")]
    Url(&'static str),
    /// No rule allows the host and port.
    #[error("the host is not allowed; allowed are: {0}")]
    NotListed(String),
    /// An address of the host is not public.
    #[error("the host is refused: it is not on the public internet")]
    NotPublic,
    /// A redirect from https to http.
    #[error("a redirect is refused: it leads away from https")]
    Downgrade,
    /// One more than are followed.
    #[error("the host redirects more than {MOST_REDIRECTS} times")]
    Redirects,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Nothing was sent where it was not allowed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host could not be reached.
    #[error("the host could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The answer broke off, or is not HTTP.
    #[error("the host's answer cannot be read")]
    Broken(#[source] reqwest::Error),
    /// Its headers are too large.
    #[error("the host's answer has too many headers")]
    Headers,
    /// Its body is larger than is read.
    #[error("the host's answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl FetchError {
    /// Whether the request was sent and may have had its effect, though nobody can say so.
    pub(crate) const fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Broken(_))
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// How.
    pub(crate) method: Method,
    /// Where, as it was written.
    pub(crate) url: String,
    /// What every host may see.
    pub(crate) headers: HeaderMap,
    /// What only the host of `url` may see.
    pub(crate) credentials: HeaderMap,
    /// What is sent.
    pub(crate) body: Option<Vec<u8>>,
}

impl Request {
    /// Without headers and body.
    pub(crate) fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: HeaderMap::new(), credentials: HeaderMap::new(), body: None }
    }

    /// With a body of JSON.
    pub(crate) fn json(mut self, body: &serde_json::Value) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = Some(body.to_string().into_bytes());
        self
    }
}

/// An answer whose body is not read yet.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Where it came from, after redirects.
    pub(crate) url: String,
    /// Its body.
    pub(crate) body: Body,
}

/// Sends requests to the hosts that its rules allow.
pub(crate) struct Guard {
    rules: Vec<HostRule>,
    /// For hosts that must be public; if there are rules for such.
    public: Option<reqwest::Client>,
    /// For hosts that the operator lets be elsewhere; if there are rules for such.
    private: Option<reqwest::Client>,
}

impl Guard {
    /// Of these rules.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub(crate) fn new(rules: Vec<HostRule>) -> Result<Self, reqwest::Error> {
        Self::with(rules, Arc::new(SystemLookup), address::is_public)
    }

    fn with(rules: Vec<HostRule>, lookup: Arc<dyn Lookup>, is_public: fn(std::net::IpAddr) -> bool) -> Result<Self, reqwest::Error> {
        let build =
            |is_needed: bool, is_allowed| is_needed.then(|| client(CheckedLookup { lookup: lookup.clone(), is_allowed })).transpose();
        let is_private = |rule: &HostRule| rule.allow_private && rule.is_exact();
        let public = build(!rules.iter().all(is_private), is_public)?;
        let private = build(rules.iter().any(is_private), |_| true)?;
        Ok(Self { rules, public, private })
    }

    /// Sends it, follows redirects, and gives the answer as soon as its headers are there. The caller sets the time-out by dropping
    /// the call.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, FetchError> {
        let Request { mut method, url, mut headers, mut credentials, mut body } = request;
        let mut target = Target::of(&url, &self.rules)?;
        for _ in 0..=MOST_REDIRECTS {
            let http = if target.private { &self.private } else { &self.public };
            let http = http.as_ref().ok_or(Refused::NotPublic)?;
            let mut sent = http.request(method.clone(), target.url.clone()).headers(headers.clone()).headers(credentials.clone());
            if let Some(body) = &body {
                sent = sent.body(body.clone());
            }
            let answer = sent.send().await.map_err(classified)?;
            let size: usize = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            if size > MOST_HEADER_BYTES {
                return Err(FetchError::Headers);
            }
            let status = answer.status();
            let Some(location) = answer.headers().get(LOCATION).filter(|_| is_redirect(status)) else {
                let headers = answer.headers().clone();
                return Ok(Answer { status, headers, url: target.url.to_string(), body: Body::of(answer) });
            };
            let next = redirected(&target, location, &self.rules)?;
            if next.url.origin() != target.url.origin() {
                credentials.clear();
                headers.remove(AUTHORIZATION);
                headers.remove(COOKIE);
            }
            if becomes_get(status, &method) {
                method = Method::GET;
                body = None;
                headers.remove(CONTENT_TYPE);
                headers.remove(CONTENT_LENGTH);
            }
            target = next;
        }
        Err(Refused::Redirects.into())
    }
}

/// Where a redirect leads, judged like the first URL.
fn redirected(from: &Target, location: &HeaderValue, rules: &[HostRule]) -> Result<Target, FetchError> {
    let text = location.to_str().map_err(|_| Refused::Url("a redirect is not a URL"))?;
    // An absolute one is judged as it is written, and not only as it is read.
    let next = if text.contains("://") && !text.starts_with('/') {
        Target::of(text, rules)?
    } else {
        let joined = from.url.join(text).map_err(|_| Refused::Url("a redirect is not a URL"))?;
        Target::of(joined.as_str(), rules)?
    };
    if from.url.scheme() == "https" && next.url.scheme() != "https" {
        return Err(Refused::Downgrade.into());
    }
    Ok(next)
}

const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// As browsers do it.
fn becomes_get(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        303 => *method != Method::HEAD,
        301 | 302 => *method == Method::POST,
        _ => false,
    }
}

fn client(lookup: CheckedLookup) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(lookup))
        // A proxy of the environment would resolve names itself.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        // What is read is what was sent: no small answer that unpacks to a large one.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        // Tools are called rarely, and a frozen function's connections are dead when it wakes.
        .pool_max_idle_per_host(0)
        .referer(false)
        .user_agent(USER_AGENT)
        .build()
}

/// The error of a client, in our terms.
fn classified(error: reqwest::Error) -> FetchError {
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if inner.is::<NotPublicAddress>() {
            return Refused::NotPublic.into();
        }
        cause = inner.source();
    }
    if error.is_connect() || error.is_builder() { FetchError::Unreachable(error) } else { FetchError::Broken(error) }
}

/// The names of the headers of an answer that a model may see: what they say is of use to it, and they hold no session.
pub(crate) fn is_told(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-type" | "content-language" | "last-modified" | "etag" | "retry-after" | "link" | "allow" | "location")
}
