//! The agents, triggers and prices that this build was made with (ADR 0009).

use std::sync::LazyLock;

use super::definition::Bundle;

/// The SHA-256 of the bundle, in hexadecimal: which definitions a function runs with.
pub const BUNDLE_VERSION: &str = env!("REPRISE_BUNDLE_VERSION");

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "build.rs has read the same text with the same types; another one does not compile")]
    serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/bundle.json"))).expect("the bundle is what build.rs wrote")
});

/// All of it.
#[must_use]
pub fn bundle() -> &'static Bundle {
    &BUNDLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_has_a_version() {
        assert!(BUNDLE_VERSION.len() == 64 && BUNDLE_VERSION.chars().all(|c| c.is_ascii_hexdigit()), "{BUNDLE_VERSION}");
        assert!(!bundle().agents.is_empty());
    }
}
