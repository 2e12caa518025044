//! The keys of bearer tokens: a shared secret, or the two halves of a pair.
//!
//! **Invariant:** a key is for one algorithm, which it was made for; a token that names another does
//! not reach it. `Debug` shows no key.
//! **Next:** `der.rs`, what is inside a public key; `backend.rs`, the signatures.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::signature::KeyPair as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::backend;
use super::der::{self, PublicKey};

/// Fewest bytes of a secret: half of what RFC 7518 §3.2 asks for, so that existing secrets of other
/// servers go on working, yet none that can be guessed by trying.
const SECRET_BYTES_MIN: usize = 16;
/// Bits of an RSA modulus: at least what RFC 7518 §3.3 asks for, at most what ring takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Most older keys: every one of them is tried before a token is refused.
const PREVIOUS_MAX: usize = 8;

/// How tokens are signed (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256 and a shared secret.
    #[default]
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA (PKCS #1 1.5) with SHA-256.
    Rs256,
    /// RSA with SHA-384.
    Rs384,
    /// RSA with SHA-512.
    Rs512,
    /// Ed25519.
    EdDsa,
}

/// A text names no algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of HS256, HS384, HS512, RS256, RS384, RS512, EdDSA")]
pub struct TokenAlgorithmError {
    /// What was found.
    pub text: String,
}

/// Whether both sides have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetry {
    /// A shared secret signs and verifies.
    Shared,
    /// A private key signs, its public key verifies.
    Pair,
}

impl TokenAlgorithm {
    const ALL: [Self; 7] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::EdDsa,
    ];

    /// What its keys are.
    pub fn symmetry(self) -> Symmetry {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => Symmetry::Shared,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::EdDsa => Symmetry::Pair,
        }
    }

    /// Its name in the header of a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn jwt(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Hs384 => Algorithm::HS384,
            Self::Hs512 => Algorithm::HS512,
            Self::Rs256 => Algorithm::RS256,
            Self::Rs384 => Algorithm::RS384,
            Self::Rs512 => Algorithm::RS512,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

impl FromStr for TokenAlgorithm {
    type Err = TokenAlgorithmError;

    fn from_str(text: &str) -> Result<Self, TokenAlgorithmError> {
        let found = Self::ALL.into_iter();
        let mut found = found.filter(|algorithm| algorithm.name().eq_ignore_ascii_case(text));
        found.next().ok_or_else(|| TokenAlgorithmError {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for TokenAlgorithm {
    type Error = TokenAlgorithmError;

    fn try_from(text: String) -> Result<Self, TokenAlgorithmError> {
        text.parse()
    }
}

impl From<TokenAlgorithm> for String {
    fn from(algorithm: TokenAlgorithm) -> Self {
        algorithm.name().to_owned()
    }
}

impl fmt::Display for TokenAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenKeyError {
    /// A secret that could be guessed.
    #[error("the JWT secret has {found} bytes, fewer than the minimum of {SECRET_BYTES_MIN}")]
    Short {
        /// Bytes found.
        found: usize,
    },
    /// A secret for a pair's algorithm, or the other way round.
    #[error("{algorithm} takes {}", match algorithm.symmetry() {
        Symmetry::Shared => "a secret, not a PEM file",
        Symmetry::Pair => "a key in a PEM file, not a secret",
    })]
    Kind {
        /// What the key was to be for.
        algorithm: TokenAlgorithm,
    },
    /// No such key in PEM form, or one of another kind.
    #[error("no {what} key for {algorithm} in PEM form (`-----BEGIN {label}-----`)")]
    Pem {
        /// What the key was to be for.
        algorithm: TokenAlgorithm,
        /// Public or private.
        what: &'static str,
        /// What such keys begin with.
        label: &'static str,
    },
    /// An RSA key of a size that is not used.
    #[error("the RSA key has {bits} bits, not {} to {}", RSA_BITS.start(), RSA_BITS.end())]
    Size {
        /// Bits of its modulus.
        bits: usize,
    },
    /// More older keys than are tried.
    #[error("{found} older keys, more than the limit of {PREVIOUS_MAX}")]
    Many {
        /// Keys found.
        found: usize,
    },
}

/// One key.
#[derive(Clone)]
pub struct TokenKey(Arc<Material>);

struct Material {
    algorithm: TokenAlgorithm,
    verifying: DecodingKey,
    /// `None` if only the public half is known.
    signing: Option<EncodingKey>,
    /// The secret, or the public key in the form that the algorithm takes.
    bytes: Vec<u8>,
}

impl TokenKey {
    /// The HS256 key that the secret string is, byte for byte (no base64).
    pub fn new(secret: &str) -> Result<Self, TokenKeyError> {
        Self::shared(TokenAlgorithm::Hs256, secret)
    }

    /// The key that the secret string is, byte for byte, for an HMAC algorithm.
    pub fn shared(algorithm: TokenAlgorithm, secret: &str) -> Result<Self, TokenKeyError> {
        if algorithm.symmetry() != Symmetry::Shared {
            return Err(TokenKeyError::Kind { algorithm });
        }
        if secret.len() < SECRET_BYTES_MIN {
            let found = secret.len();
            return Err(TokenKeyError::Short { found });
        }
        let bytes = secret.as_bytes().to_vec();
        Ok(Self(Arc::new(Material {
            algorithm,
            verifying: DecodingKey::from_secret(&bytes),
            signing: Some(EncodingKey::from_secret(&bytes)),
            bytes,
        })))
    }

    /// The public key in a PEM text, which verifies and cannot sign.
    pub fn public(algorithm: TokenAlgorithm, pem: &[u8]) -> Result<Self, TokenKeyError> {
        let wrong = TokenKeyError::Pem {
            algorithm,
            what: "public",
            label: "PUBLIC KEY",
        };
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| wrong.clone())?;
        let key = PublicKey::parse(&info).ok_or_else(|| wrong.clone())?;
        let bytes = match (algorithm, key) {
            (TokenAlgorithm::EdDsa, PublicKey::Ed25519(bytes))
            | (
                TokenAlgorithm::Rs256 | TokenAlgorithm::Rs384 | TokenAlgorithm::Rs512,
                PublicKey::Rsa(bytes),
            ) => bytes,
            (
                TokenAlgorithm::EdDsa
                | TokenAlgorithm::Rs256
                | TokenAlgorithm::Rs384
                | TokenAlgorithm::Rs512,
                PublicKey::Ed25519(_) | PublicKey::Rsa(_),
            ) => return Err(wrong),
            (TokenAlgorithm::Hs256 | TokenAlgorithm::Hs384 | TokenAlgorithm::Hs512, _) => {
                return Err(TokenKeyError::Kind { algorithm });
            }
        };
        Self::of_pair(algorithm, bytes.to_vec(), None)
    }

    /// The private key in a PEM text (PKCS #8, for RSA also PKCS #1), which signs and verifies.
    pub fn private(algorithm: TokenAlgorithm, pem: &[u8]) -> Result<Self, TokenKeyError> {
        let wrong = || TokenKeyError::Pem {
            algorithm,
            what: "private",
            label: "PRIVATE KEY",
        };
        if algorithm.symmetry() == Symmetry::Shared {
            return Err(TokenKeyError::Kind { algorithm });
        }
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| wrong())?;
        let der = key.secret_der();
        let (public, signing) = if algorithm == TokenAlgorithm::EdDsa {
            let pair = backend::ed25519_pair(der).map_err(|_| wrong())?;
            let public = pair.public_key().as_ref().to_vec();
            (public, EncodingKey::from_ed_der(der))
        } else {
            let pair = backend::rsa_pair(der).map_err(|_| wrong())?;
            (
                pair.public().as_ref().to_vec(),
                EncodingKey::from_rsa_der(der),
            )
        };
        Self::of_pair(algorithm, public, Some(signing))
    }

    fn of_pair(
        algorithm: TokenAlgorithm,
        public: Vec<u8>,
        signing: Option<EncodingKey>,
    ) -> Result<Self, TokenKeyError> {
        let verifying = if algorithm == TokenAlgorithm::EdDsa {
            DecodingKey::from_ed_der(&public)
        } else {
            let bits = der::modulus_bits(&public).unwrap_or_default();
            if !RSA_BITS.contains(&bits) {
                return Err(TokenKeyError::Size { bits });
            }
            DecodingKey::from_rsa_der(&public)
        };
        Ok(Self(Arc::new(Material {
            algorithm,
            verifying,
            signing,
            bytes: public,
        })))
    }

    /// What it signs and verifies with.
    pub fn algorithm(&self) -> TokenAlgorithm {
        self.0.algorithm
    }

    /// Whether it is the same secret, or (half of) the same pair.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.algorithm() == other.algorithm() && bool::from(self.0.bytes.ct_eq(&other.0.bytes))
    }

    pub(super) fn verifying(&self) -> &DecodingKey {
        &self.0.verifying
    }

    pub(super) fn signing(&self) -> Option<&EncodingKey> {
        self.0.signing.as_ref()
    }

    /// Whether a text is the secret itself.
    pub(super) fn is_secret(&self, text: &str) -> bool {
        self.algorithm().symmetry() == Symmetry::Shared
            && bool::from(text.as_bytes().ct_eq(&self.0.bytes))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({}, …)", self.algorithm())
    }
}

/// The keys of a server: the current one, which signs, and older ones whose tokens are still taken.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    current: TokenKey,
    previous: Vec<TokenKey>,
}

impl TokenKeys {
    /// The current key and the older ones.
    pub fn new(current: TokenKey, previous: Vec<TokenKey>) -> Result<Self, TokenKeyError> {
        if previous.len() > PREVIOUS_MAX {
            let found = previous.len();
            return Err(TokenKeyError::Many { found });
        }
        Ok(Self { current, previous })
    }

    /// The one that signs.
    pub fn current(&self) -> &TokenKey {
        &self.current
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &TokenKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl From<TokenKey> for TokenKeys {
    fn from(current: TokenKey) -> Self {
        Self {
            current,
            previous: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
