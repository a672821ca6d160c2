//! Warnings about the certificate that exports are encrypted to.

use std::time::SystemTime;

use serde_json::Value;

/// Days before a certificate expires from which on there is a warning.
pub(crate) const WARN_DAYS: i64 = 30;

/// Returns a warning if a certificate has expired or soon will.
pub(crate) fn expiry_warning(certificate: &Value, now: SystemTime) -> Option<String> {
    let not_after: jiff::Timestamp = certificate.get("not_after")?.as_str()?.parse().ok()?;
    let left = not_after.duration_since(jiff::Timestamp::try_from(now).ok()?);
    let days = left.as_hours().div_euclid(24);
    (days < WARN_DAYS).then(|| match left.is_negative() {
        true => "the certificate has expired: give the store a new one with cddsfs init STORE --cert CERT.pem".into(),
        false => format!(
            "the certificate expires in {days} days: give the store a new one with cddsfs init STORE --cert CERT.pem"
        ),
    })
}
