//! The secret that signs bearer tokens: given by the user, or kept in the data directory.
//!
//! **Invariant:** a generated secret is on disk, whole and readable by its owner alone, before the
//! first token signed with it is shown; it never appears in a log or an error.
//! **Next:** `serve.rs`, which makes it; `token.rs`, which reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hooklog::server::{TokenAlgorithm, TokenKey};

use crate::config::Settings;

/// Its file in the data directory.
const FILE: &str = "jwt-secret";
/// Random bytes of a generated one: the length of an HMAC-SHA512, the longest (RFC 7518 §3.2).
const BYTES: usize = 64;
/// A file with more than this is something else.
const FILE_BYTES_MAX: u64 = 4096;

/// The secret as text; its bytes are the key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JwtSecret(String);

impl JwtSecret {
    /// The one that the user set, or else the one in the data directory, if there is one.
    pub(crate) fn find(settings: &Settings) -> anyhow::Result<Option<Self>> {
        match &settings.jwt_secret {
            Some(text) => Ok(Some(Self(text.clone()))),
            None => Self::read(&settings.data_dir),
        }
    }

    /// A new one, not kept yet.
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(|error| {
            anyhow::anyhow!("no random bytes from the operating system: {error}")
        })?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What signs and verifies tokens.
    pub(crate) fn key(&self, algorithm: TokenAlgorithm) -> anyhow::Result<TokenKey> {
        Ok(TokenKey::shared(algorithm, &self.0)?)
    }

    fn read(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join(FILE);
        let what = || format!("cannot read {}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(what),
        };
        let mode = file.metadata().with_context(what)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others than the owner may read the JWT secret");
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .with_context(what)?;
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        anyhow::ensure!(
            bytes <= FILE_BYTES_MAX,
            "{} has more than {FILE_BYTES_MAX} bytes, so it is no JWT secret",
            path.display()
        );
        // An editor may have put a line feed at the end.
        let text = text.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(!text.is_empty(), "{} is empty", path.display());
        Ok(Some(Self(text.to_owned())))
    }

    /// Keeps it in the data directory: synced under another name first, so that the file is there
    /// whole or not at all.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join(FILE);
        let draft = directory.join(format!("{FILE}.new"));
        self.write_synced(&draft)
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| File::open(directory)?.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_synced(&self, path: &Path) -> io::Result<()> {
        // A draft that a crash left may have other permissions.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(self.0.as_bytes())?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        assert!(JwtSecret::read(directory.path()).unwrap().is_none());
        let secret = JwtSecret::generate().unwrap();
        fs::write(directory.path().join("jwt-secret.new"), "left by a crash").unwrap();
        secret.write(directory.path()).unwrap();
        assert!(JwtSecret::read(directory.path()).unwrap() == Some(secret));
        let mode = directory
            .path()
            .join(FILE)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_that_are_no_secret_are_refused_without_showing_them() {
        let long = "x".repeat(5000);
        let cases = [
            ("", "is empty"),
            ("\n", "is empty"),
            (&long, "more than 4096 bytes"),
        ];
        for (text, reason) in cases {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(FILE), text).unwrap();
            let error = JwtSecret::read(directory.path()).map(|_| ()).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        }
        let error = JwtSecret("topsecret".into())
            .key(TokenAlgorithm::Hs256)
            .unwrap_err();
        assert!(!format!("{error:#}").contains("topsecret"));
    }
}
