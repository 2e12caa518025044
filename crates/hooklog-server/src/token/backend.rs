//! Signatures for the JWT library, by ring, which speaks TLS here anyway.
//!
//! **Invariant:** a key works with the algorithms of its own family alone; what is not among ours is
//! an error, and the library's own back ends are not linked. Compares of HMACs are constant-time.
//! **Next:** `request.rs`.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ED25519, Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding,
    RsaKeyPair, RsaParameters, UnparsedPublicKey,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        let way = Way::of(*algorithm, key.family() == algorithm.family())?;
        Ok(Box::new(Signing::new(*algorithm, way, key)?))
    },
    verifier_factory: |algorithm, key| {
        let way = Way::of(*algorithm, key.family() == algorithm.family())?;
        Ok(Box::new(Verifying::new(*algorithm, way, key)?))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes the library sign and verify here. Only the first call in a process does something; a
/// program that installed its own back end before keeps it.
pub(super) fn install() {
    let _already = PROVIDER.install_default();
}

/// How an algorithm is done.
#[derive(Clone, Copy)]
enum Way {
    Hmac(hmac::Algorithm),
    Rsa(&'static RsaParameters, &'static dyn RsaEncoding),
    Ed25519,
}

impl Way {
    fn of(algorithm: Algorithm, is_of_its_family: bool) -> Result<Self, Error> {
        if !is_of_its_family {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        match algorithm {
            Algorithm::HS256 => Ok(Self::Hmac(hmac::HMAC_SHA256)),
            Algorithm::HS384 => Ok(Self::Hmac(hmac::HMAC_SHA384)),
            Algorithm::HS512 => Ok(Self::Hmac(hmac::HMAC_SHA512)),
            Algorithm::RS256 => Ok(Self::Rsa(&RSA_PKCS1_2048_8192_SHA256, &RSA_PKCS1_SHA256)),
            Algorithm::RS384 => Ok(Self::Rsa(&RSA_PKCS1_2048_8192_SHA384, &RSA_PKCS1_SHA384)),
            Algorithm::RS512 => Ok(Self::Rsa(&RSA_PKCS1_2048_8192_SHA512, &RSA_PKCS1_SHA512)),
            Algorithm::EdDSA => Ok(Self::Ed25519),
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        }
    }
}

struct Signing {
    algorithm: Algorithm,
    key: SigningKey,
}

enum SigningKey {
    Hmac(hmac::Key),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ed25519(Ed25519KeyPair),
}

impl Signing {
    fn new(algorithm: Algorithm, way: Way, key: &EncodingKey) -> Result<Self, Error> {
        let bytes = key.as_bytes();
        let key = match way {
            Way::Hmac(digest) => SigningKey::Hmac(hmac::Key::new(digest, bytes)),
            Way::Rsa(_, encoding) => SigningKey::Rsa(rsa_pair(bytes)?, encoding),
            Way::Ed25519 => SigningKey::Ed25519(ed25519_pair(bytes)?),
        };
        Ok(Self { algorithm, key })
    }
}

/// The RSA key in PKCS #8 or PKCS #1.
pub(super) fn rsa_pair(der: &[u8]) -> Result<RsaKeyPair, ErrorKind> {
    RsaKeyPair::from_pkcs8(der)
        .or_else(|_| RsaKeyPair::from_der(der))
        .map_err(|error| ErrorKind::InvalidRsaKey(error.to_string()))
}

/// The Ed25519 key in PKCS #8; OpenSSL leaves the public half out of it.
pub(super) fn ed25519_pair(der: &[u8]) -> Result<Ed25519KeyPair, ErrorKind> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| ErrorKind::InvalidKeyFormat)
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        match &self.key {
            SigningKey::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            SigningKey::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            SigningKey::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| signature::Error::new())?;
                Ok(signature)
            }
        }
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct Verifying {
    algorithm: Algorithm,
    key: VerifyingKey,
}

enum VerifyingKey {
    Hmac(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
}

impl Verifying {
    fn new(algorithm: Algorithm, way: Way, key: &DecodingKey) -> Result<Self, Error> {
        let bytes = key.try_get_as_bytes()?;
        let key = match way {
            Way::Hmac(digest) => VerifyingKey::Hmac(hmac::Key::new(digest, bytes)),
            Way::Rsa(parameters, _) => {
                VerifyingKey::Public(UnparsedPublicKey::new(parameters, bytes.to_vec()))
            }
            Way::Ed25519 => VerifyingKey::Public(UnparsedPublicKey::new(&ED25519, bytes.to_vec())),
        };
        Ok(Self { algorithm, key })
    }
}

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let outcome = match &self.key {
            VerifyingKey::Hmac(key) => hmac::verify(key, message, signature),
            VerifyingKey::Public(key) => key.verify(message, signature),
        };
        outcome.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
