//! What the kernel says about a process: CPU time, bytes written, memory.
//!
//! **Invariant:** read from /proc, so it counts every thread, those of the database included; where
//! there is no /proc a figure is absent, never wrong.
//! **Next:** `child.rs`, the processes that are looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// `USER_HZ`, which Linux fixes for what it shows in /proc.
const TICKS_A_SECOND: f64 = 100.0;
/// What /proc/diskstats counts in, whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;
/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;

/// Counters of a process that only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds of CPU in user mode.
    pub user: f64,
    /// Seconds of CPU in the kernel.
    pub system: f64,
    /// Bytes handed to write calls, those of sockets included.
    pub handed: u64,
    /// Bytes of pages that became dirty (`write_bytes`). Where the page cache uses large folios a
    /// small write counts as its whole folio, so this can be far more than what the disk gets.
    pub dirtied: u64,
    /// Bytes that all disks of the machine got, from whomever: true on a quiet machine. `None` where
    /// no disk is seen, as in some containers.
    pub disks: Option<u64>,
    /// Seconds of CPU of each thread, by its id and name.
    #[serde(skip)]
    pub threads: BTreeMap<(u32, String), f64>,
}

impl Usage {
    /// Of this process, as of now.
    pub fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Of a process, as of now.
    pub fn of(process: u32) -> Option<Self> {
        let folder = Path::new("/proc").join(process.to_string());
        let (_, user, system) = stat(&folder.join("stat"))?;
        let io = fs::read_to_string(folder.join("io")).unwrap_or_default();
        let tasks = fs::read_dir(folder.join("task")).into_iter().flatten();
        let threads = tasks.filter_map(|task| {
            let task = task.ok()?;
            let id = task.file_name().to_str()?.parse().ok()?;
            let (name, user, system) = stat(&task.path().join("stat"))?;
            Some(((id, name), user + system))
        });
        Some(Self {
            user,
            system,
            handed: field(&io, "wchar:").unwrap_or(0),
            dirtied: field(&io, "write_bytes:").unwrap_or(0),
            disks: disks(),
            threads: threads.collect(),
        })
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let threads = self.threads.iter().map(|(key, seconds)| {
            let earlier = before.threads.get(key).copied().unwrap_or_default();
            (key.clone(), seconds - earlier)
        });
        let disks = self.disks.zip(before.disks);
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
            handed: self.handed.saturating_sub(before.handed),
            dirtied: self.dirtied.saturating_sub(before.dirtied),
            disks: disks.map(|(now, before)| now.saturating_sub(before)),
            threads: threads.collect(),
        }
    }

    /// Seconds of CPU.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// At its highest.
    pub peak: u64,
}

impl Memory {
    /// Of this process.
    pub fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Of a process.
    pub fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let bytes = |name| Some(field(&status, name)? << 10);
        Some(Self {
            now: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
        })
    }
}

/// Open files of a process, sockets included.
pub fn open_files(process: u32) -> Option<u64> {
    let folder = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    u64::try_from(folder.count()).ok()
}

/// Bytes that a directory takes on the disk, with everything below it. What goes away meanwhile takes
/// none.
pub fn disk_usage(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let sizes = entries.map(|entry| {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_usage(&path),
            Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
            Err(_) => 0,
        }
    });
    sizes.sum()
}

/// Name, user and system seconds.
fn stat(path: &Path) -> Option<(String, f64, f64)> {
    let text = fs::read_to_string(path).ok()?;
    // The name may hold anything, parentheses and blanks too; fields are counted behind it.
    let (head, tail) = text.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split(' ').skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_A_SECOND);
    Some((name.to_owned(), seconds()?, seconds()?))
}

/// Bytes written to whole disks (those that /sys lists as such, so no partition counts twice).
fn disks() -> Option<u64> {
    let text = fs::read_to_string("/proc/diskstats").ok()?;
    let sectors = text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let name = fields.next()?;
        let whole = Path::new("/sys/block").join(name).join("device");
        let sectors = fields.nth(6)?.parse::<u64>().ok()?;
        whole.exists().then_some(sectors * SECTOR_BYTES)
    });
    sectors.reduce(|sum, bytes| sum + bytes)
}

/// The number behind a name.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_usage_counts_what_lies_below() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a").join("b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), vec![1; 100_000]).unwrap();
        assert!(disk_usage(directory.path()) >= 100_000);
        assert_eq!(disk_usage(&directory.path().join("absent")), 0);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_figures() {
        // Above the largest process id of Linux.
        assert_eq!(Usage::of(u32::MAX), None);
        assert_eq!(Memory::of(u32::MAX), None);
        assert_eq!(open_files(u32::MAX), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_own_process_is_seen() {
        let before = Usage::own().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![1; 100_000]).unwrap();
        let used = Usage::own().unwrap().since(&before);
        assert!(used.handed >= 100_000, "{used:?}");
        let memory = Memory::own().unwrap();
        assert!(
            memory.now > 1 << 20 && memory.peak >= memory.now,
            "{memory:?}"
        );
    }
}
