//! Who calls.

use super::id::TenantId;

/// The caller as the authorizer states it; never taken from the request's own headers or body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose data and budget.
    pub tenant: TenantId,
    /// The caller's name for the audit trail, e.g. an ARN.
    pub name: String,
}
