//! A disk of a chosen size: a tmpfs of its own, which takes root to mount.
//!
//! **Invariant:** it is unmounted when dropped.
//! **Next:** `../tidy.rs`.

use std::path::Path;
use std::process::Command;

/// A mounted tmpfs.
pub(crate) struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// Whether this process may mount.
    pub(crate) fn can_mount() -> Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"], directory.path())?;
        unmount(directory.path());
        Ok(())
    }

    pub(crate) fn mount(mebibytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], directory.path()).unwrap();
        Self { directory }
    }

    pub(crate) fn resize(&self, mebibytes: u64) {
        let options = format!("remount,size={mebibytes}m");
        mount(&["-o", &options], self.path()).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.path());
    }
}

fn mount(arguments: &[&str], target: &Path) -> Result<(), String> {
    let output = Command::new("mount").args(arguments).arg(target).output();
    let output = output.map_err(|error| format!("mount: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; "))
}

/// Lazily: a server that is being killed may hold it for a moment more.
fn unmount(target: &Path) {
    let status = Command::new("umount").arg("-l").arg(target).status();
    assert!(std::thread::panicking() || status.is_ok_and(|status| status.success()));
}
