//! What a URL of a model may look like, and whether its host is allowed.
//!
//! Parsers differ in what they make of an odd URL; so there is none: what is not written as it is read is refused.

use std::net::IpAddr;

use url::{Host, Url};

use super::Refused;
use super::address::is_public;
use crate::domain::tool_definition::HostRule;

/// Bytes of the longest URL.
const LONGEST_URL: usize = 4_096;

/// A URL whose host is allowed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: Url,
    /// Whether the host may be on an address that is not public.
    pub(super) private: bool,
}

impl Target {
    /// Reads and judges it.
    pub(super) fn of(text: &str, rules: &[HostRule]) -> Result<Self, Refused> {
        let url = read(text)?;
        let host = url.host_str().ok_or(Refused::Url("it names no host"))?;
        let usual = if url.scheme() == "https" { 443 } else { 80 };
        let port = url.port().unwrap_or(usual);
        let mut allowing = rules.iter().filter(|rule| rule.allows(host, port, usual)).peekable();
        if allowing.peek().is_none() {
            return Err(Refused::NotListed(rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
        }
        let private = allowing.any(|rule| rule.allow_private && rule.is_exact());
        // An address is connected to without a look-up, so it is judged here.
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        if !private && address.is_some_and(|address| !is_public(address)) {
            return Err(Refused::NotPublic);
        }
        Ok(Self { url, private })
    }
}

fn read(text: &str) -> Result<Url, Refused> {
    if text.len() > LONGEST_URL {
        return Err(Refused::Url("it is too long"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refused::Url("it has spaces, control characters or letters beyond ASCII; percent-encode them"));
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or(Refused::Url("it does not begin with https:// or http://"))?;
    if text.contains('\\') {
        return Err(Refused::Url("it has a backslash"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Refused::Url("it has a user name or a password"));
    }
    let url = Url::parse(text).map_err(|_| Refused::Url("it is not a URL"))?;
    let written = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let is_plain = !port.is_empty() && !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
            if !is_plain {
                return Err(Refused::Url("its port is not a plain number"));
            }
            host
        }
        _ => authority,
    };
    // `2130706433`, `0x7f.1`, `127.1`, `0177.0.0.1`, `%6c`, `１２７`: what is read is not what was written.
    if url.host_str() != Some(written.to_ascii_lowercase().as_str()) {
        return Err(Refused::Url("its host is not written in its usual form"));
    }
    if written.ends_with('.') {
        return Err(Refused::Url("its host ends in a dot"));
    }
    Ok(url)
}
