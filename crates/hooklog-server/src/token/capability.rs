//! What a customer's token may do, where it was made to do less than everything.
//!
//! **Invariant:** the route decides, by its pattern and method: what is not said to be harmless here
//! takes the widest capability, so a new route is open to no narrowed token by mistake.
//! **Next:** `grant.rs`, which holds them.

use http::Method;
use serde::{Deserialize, Serialize};

/// One thing that a token may be good for, by its name in this API family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capability {
    /// To see everything but secrets.
    ViewBase,
    /// To see the secrets of endpoints.
    ViewEndpointSecret,
    /// To see and to rotate them.
    ManageEndpointSecret,
    /// To change transformations, of which this server has none.
    ManageTransformations,
    /// To have messages delivered again, and to move the cursors of those who ask.
    CreateAttempts,
    /// To make, change and delete endpoints, secrets included.
    ManageEndpoint,
}

impl Capability {
    /// All there are.
    pub(crate) const COUNT: usize = 6;

    /// What a route asks of a customer's token.
    pub(crate) fn needed(pattern: &str, method: &Method) -> Self {
        let last = pattern.rsplit('/').next().unwrap_or_default();
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match last {
            "secret" if reads => Self::ViewEndpointSecret,
            "rotate" => Self::ManageEndpointSecret,
            "resend" | "retry-now" | "skip" | "recover" | "replay-missing" | "bulk-replay" => {
                Self::CreateAttempts
            }
            // Asking moves the cursor, too.
            _ if pattern.contains("/consumer/") => Self::CreateAttempts,
            // They change nothing of the application's.
            "logout" | "test" => Self::ViewBase,
            _ if reads => Self::ViewBase,
            _ => Self::ManageEndpoint,
        }
    }

    /// Whether who has this has `needed`, too.
    pub(crate) fn includes(self, needed: Self) -> bool {
        let secrets = matches!(
            needed,
            Self::ViewEndpointSecret | Self::ManageEndpointSecret
        );
        let keeps_secrets = matches!(self, Self::ManageEndpoint | Self::ManageEndpointSecret);
        self == needed || (secrets && keeps_secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::Capability as C;

    #[test]
    fn routes_ask_for_no_less_than_they_do() {
        let cases = [
            ("GET", "/app/{app}/endpoint/{endpoint}", C::ViewBase),
            ("HEAD", "/app/{app}/msg", C::ViewBase),
            ("POST", "/auth/logout", C::ViewBase),
            ("POST", "/app/{app}/filter/test", C::ViewBase),
            (
                "GET",
                "/app/{app}/endpoint/{endpoint}/secret",
                C::ViewEndpointSecret,
            ),
            (
                "POST",
                "/app/{app}/endpoint/{endpoint}/secret/rotate",
                C::ManageEndpointSecret,
            ),
            (
                "POST",
                "/app/{app}/msg/{msg}/endpoint/{endpoint}/resend",
                C::CreateAttempts,
            ),
            (
                "POST",
                "/app/{app}/endpoint/{endpoint}/bulk-replay",
                C::CreateAttempts,
            ),
            ("GET", "/app/{app}/poller/{sink}", C::ViewBase),
            (
                "GET",
                "/app/{app}/poller/{sink}/consumer/{consumer}",
                C::CreateAttempts,
            ),
            (
                "DELETE",
                "/app/{app}/poller/{sink}/consumer/{consumer}",
                C::CreateAttempts,
            ),
            ("PATCH", "/app/{app}/endpoint/{endpoint}", C::ManageEndpoint),
            (
                "PUT",
                "/app/{app}/endpoint/{endpoint}/headers",
                C::ManageEndpoint,
            ),
            ("POST", "/something/new", C::ManageEndpoint),
        ];
        for (method, pattern, expected) in cases {
            let method = method.parse().expect("a method");
            assert_eq!(C::needed(pattern, &method), expected, "{method} {pattern}");
        }
    }

    #[test]
    fn who_manages_endpoints_has_their_secrets() {
        assert!(C::ManageEndpoint.includes(C::ViewEndpointSecret));
        assert!(C::ManageEndpoint.includes(C::ManageEndpointSecret));
        assert!(C::ManageEndpointSecret.includes(C::ViewEndpointSecret));
        for (has, needed) in [
            (C::ViewEndpointSecret, C::ManageEndpointSecret),
            (C::ManageEndpointSecret, C::ManageEndpoint),
            (C::ManageEndpoint, C::CreateAttempts),
            (C::ManageEndpoint, C::ViewBase),
            (C::ViewBase, C::ViewEndpointSecret),
            (C::CreateAttempts, C::ManageEndpoint),
        ] {
            assert!(!has.includes(needed), "{has:?} {needed:?}");
        }
    }
}
