//! The keys of bearer tokens, from the settings: a secret or the files of a pair, and older ones.
//!
//! **Invariant:** a key that is set is used; one that the algorithm has no use for is wrong usage, not
//! ignored. No error shows a key.
//! **Next:** `jwt_secret.rs`, the secret that is kept in the data directory.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use hooklog::server::token::Symmetry;
use hooklog::server::{TokenAlgorithm, TokenKey, TokenKeys};
use serde::Serialize;

use crate::cli::Usage;
use crate::config::Settings;
use crate::jwt_secret::JwtSecret;

/// A file with more than this is no key: one of RSA with 8,192 bits takes 7 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Part of the flags of `serve` and `token`.
#[derive(Args, Serialize)]
pub(crate) struct TokenKeyFlags {
    /// How bearer tokens are signed: HS256, HS384 or HS512 with the secret, RS256, RS384, RS512 or
    /// `EdDSA` with a pair of keys [default: HS256].
    #[arg(long = "jwt-algorithm", value_name = "NAME")]
    #[serde(rename = "jwt_algorithm", skip_serializing_if = "Option::is_none")]
    algorithm: Option<TokenAlgorithm>,
    /// Private key of the pair (PEM), which makes tokens and takes them.
    #[arg(long = "jwt-private-key", value_name = "FILE")]
    #[serde(rename = "jwt_private_key", skip_serializing_if = "Option::is_none")]
    private_key: Option<PathBuf>,
    /// Public key of the pair (PEM), to take tokens that are made elsewhere.
    #[arg(long = "jwt-public-key", value_name = "FILE")]
    #[serde(rename = "jwt_public_key", skip_serializing_if = "Option::is_none")]
    public_key: Option<PathBuf>,
    /// Older public key whose tokens are still taken; may be given several times.
    #[arg(
        long = "jwt-public-key-previous",
        value_name = "FILE",
        value_delimiter = ','
    )]
    #[serde(
        rename = "jwt_public_key_previous",
        skip_serializing_if = "Vec::is_empty"
    )]
    public_key_previous: Vec<PathBuf>,
}

/// The keys that are set or kept in the data directory; `None` if a secret must be made first.
pub(crate) fn find(settings: &Settings) -> anyhow::Result<Option<TokenKeys>> {
    let current = match settings.jwt_algorithm.symmetry() {
        Symmetry::Pair => of_pair(settings)?,
        Symmetry::Shared => {
            if settings.jwt_public_key.is_some() || settings.jwt_private_key.is_some() {
                let why = "--jwt-public-key and --jwt-private-key need --jwt-algorithm EdDSA, RS256, \
                           RS384 or RS512";
                return Err(Usage(why).into());
            }
            match JwtSecret::find(settings)? {
                Some(secret) => secret.key(settings.jwt_algorithm)?,
                None => return Ok(None),
            }
        }
    };
    with_previous(settings, current).map(Some)
}

/// The keys with a new secret, which the caller keeps.
pub(crate) fn generate(settings: &Settings) -> anyhow::Result<(TokenKeys, JwtSecret)> {
    let secret = JwtSecret::generate()?;
    let current = secret.key(settings.jwt_algorithm)?;
    Ok((with_previous(settings, current)?, secret))
}

/// The key that makes tokens.
pub(crate) fn signing(settings: &Settings) -> anyhow::Result<TokenKey> {
    let keys = find(settings)?.with_context(|| {
        format!(
            "no JWT secret in {}: start `hooklog serve` there once, name another --data-dir, or set \
             HOOKLOG_JWT_SECRET",
            settings.data_dir.display()
        )
    })?;
    Ok(keys.current().clone())
}

fn of_pair(settings: &Settings) -> anyhow::Result<TokenKey> {
    let algorithm = settings.jwt_algorithm;
    if settings.jwt_secret.is_some() {
        let why = "a JWT secret is for HS256, HS384 and HS512; to go on taking its tokens beside those \
                   of a pair, set it as jwt_secret_previous";
        return Err(Usage(why).into());
    }
    let public = settings.jwt_public_key.as_deref();
    let public = public
        .map(|path| public_key(path, &[algorithm]))
        .transpose()?;
    let Some(path) = &settings.jwt_private_key else {
        let why = "--jwt-algorithm EdDSA, RS256, RS384 and RS512 need --jwt-private-key or \
                   --jwt-public-key";
        return public.ok_or_else(|| Usage(why).into());
    };
    let pem = read(path)?;
    let mode = path
        .metadata()
        .map_or(0, |found| found.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others than the owner may read the private key");
    }
    let private = TokenKey::private(algorithm, &pem).with_context(|| path.display().to_string())?;
    if public.is_some_and(|public| !public.is_same_as(&private)) {
        let why = "--jwt-public-key is not that of --jwt-private-key; an older one is given as \
                   --jwt-public-key-previous";
        return Err(Usage(why).into());
    }
    Ok(private)
}

fn with_previous(settings: &Settings, current: TokenKey) -> anyhow::Result<TokenKeys> {
    let algorithm = settings.jwt_algorithm;
    let shared = match algorithm.symmetry() {
        Symmetry::Shared => algorithm,
        Symmetry::Pair => TokenAlgorithm::Hs256,
    };
    let mut previous = Vec::new();
    for secret in &settings.jwt_secret_previous {
        let key = TokenKey::shared(shared, secret).context("jwt_secret_previous")?;
        previous.push(key);
    }
    // The file says what it is for, but for the digest of RSA.
    let candidates = [algorithm, TokenAlgorithm::EdDsa, TokenAlgorithm::Rs256];
    for path in &settings.jwt_public_key_previous {
        previous.push(public_key(path, &candidates)?);
    }
    Ok(TokenKeys::new(current, previous)?)
}

/// The key in a file for the first of the algorithms that it fits.
fn public_key(path: &Path, candidates: &[TokenAlgorithm]) -> anyhow::Result<TokenKey> {
    let pem = read(path)?;
    let pairs = candidates
        .iter()
        .filter(|algorithm| algorithm.symmetry() == Symmetry::Pair);
    let mut failed = None;
    for algorithm in pairs {
        match TokenKey::public(*algorithm, &pem) {
            Ok(key) => return Ok(key),
            Err(error) => failed = Some(error),
        }
    }
    let failed = failed.context("no algorithm to use it with")?;
    Err(failed).with_context(|| path.display().to_string())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let what = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(what)?;
    let read = file
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(what)?;
    anyhow::ensure!(
        u64::try_from(read)? <= FILE_BYTES_MAX,
        "{} has more than {FILE_BYTES_MAX} bytes, so it is no key",
        path.display()
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests;
