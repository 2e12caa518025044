//! Sign and verify webhooks by Standard Webhooks 1.0.0, scheme `v1` (HMAC-SHA256).
//!
//! No async and no I/O: a receiver of webhooks can depend on this crate alone.
//!
//! ```
//! use hooklog_signature::{Headers, Secret, TOLERANCE, sign, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
//! let (id, now, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
//!
//! let signature = sign([&secret], id, now, body);
//! assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
//!
//! let headers = Headers { id, timestamp: "1614265330", signature: &signature };
//! verify(&[secret], &headers, body, now, TOLERANCE)?;
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** whatever is missing, malformed or unknown fails closed; a comparison of
//! signatures takes the same time whether and wherever they differ.
//! **Next:** `secret.rs`.

#![deny(missing_docs)]

mod secret;
mod sign;
mod verify;

pub use secret::{GenerateError, Secret, SecretError};
pub use sign::{Signer, sign, sign_by};
pub use verify::{Headers, SIGNATURES_MAX, TOLERANCE, VerifyError, verify};
