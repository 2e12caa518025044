//! SECRET: what the hashes of the indexes are made with.
//!
//! ```text
//! hooklog keys secret
//! format 1
//! 00112233…               32 random bytes
//! crc32c 0badcafe         of all lines above
//! ```
//!
//! **Invariant:** it is written once, durably, and before any hash that is made with it.
//! **Next:** `event_keys/lookup.rs`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::directory::{IoError, io_error, sync_directory};
use crate::idempotency::head;
use crate::key_index::{KeyHash, KeyIndexError, damaged};

/// The first two lines; what begins otherwise is not used.
const HEAD: &str = "hooklog keys secret\nformat 1\n";

/// 32 random bytes.
pub(super) struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join("SECRET")
    }

    /// The secret of a directory; `None` if there is none that can be used.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, IoError> {
        let path = Self::path(directory);
        match fs::read(&path) {
            Ok(bytes) => {
                let secret = Self::decode(&bytes);
                if secret.is_none() {
                    tracing::warn!("{} is damaged; the keys are read again", path.display());
                }
                Ok(secret)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Says if there is one that cannot be used.
    pub(super) fn inspect(directory: &Path) -> Result<(), KeyIndexError> {
        let path = Self::path(directory);
        match fs::read(&path) {
            Ok(bytes) if Self::decode(&bytes).is_none() => {
                Err(damaged(&path, 0, "it does not match its checksum"))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("read", &path)(error).into())
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes one. The directory is there.
    pub(super) fn create(directory: &Path) -> Result<Self, IoError> {
        let path = Self::path(directory);
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| io_error("get random bytes for", &path)(io::Error::other(error)))?;
        let secret = Self(bytes);
        let draft = path.with_extension("new");
        File::create(&draft)
            .and_then(|mut file| {
                file.write_all(secret.encode().as_bytes())?;
                file.sync_all()
            })
            .map_err(io_error("write", &draft))?;
        fs::rename(&draft, &path).map_err(io_error("rename", &draft))?;
        sync_directory(directory)?;
        Ok(secret)
    }

    fn encode(&self) -> String {
        let mut text = HEAD.to_owned();
        for byte in self.0 {
            // Writing to a string never fails.
            let _written = write!(text, "{byte:02x}");
        }
        text.push('\n');
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}crc32c {crc:08x}\n")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let hex = text.strip_prefix(HEAD)?.get(..64)?;
        let mut secret = [0; 32];
        for (at, byte) in secret.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        let secret = Self(secret);
        // The sum, the length and the way of writing it are compared at once.
        (secret.encode() == text).then_some(secret)
    }

    /// The hash of a key that consists of parts.
    pub(super) fn hash(&self, parts: &[&[u8]]) -> KeyHash {
        let mut hash = Sha256::new_with_prefix(self.0);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        KeyHash::new(head(&hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_secret_is_read_back_and_a_damaged_one_is_none() {
        let directory = TempDir::new().unwrap();
        assert!(Secret::read(directory.path()).unwrap().is_none());
        let secret = Secret::create(directory.path()).unwrap();
        let again = Secret::read(directory.path()).unwrap().unwrap();
        assert_eq!(secret.0, again.0);
        assert_eq!(secret.hash(&[b"a", b"b"]), again.hash(&[b"a", b"b"]));
        assert_ne!(secret.hash(&[b"a", b"b"]), secret.hash(&[b"ab"]));
        let whole = secret.encode();
        for at in 0..whole.len() {
            assert!(Secret::decode(&whole.as_bytes()[..at]).is_none(), "{at}");
            let mut flipped = whole.clone().into_bytes();
            flipped[at] ^= 1;
            assert!(Secret::decode(&flipped).is_none(), "byte {at}");
        }
        let other = TempDir::new().unwrap();
        assert_ne!(Secret::create(other.path()).unwrap().0, secret.0);
    }
}
