//! What the kernel says about this process: CPU time, bytes written, memory.
//!
//! **Invariant:** read from /proc, so it counts every thread, those of the database included.
//! **Next:** `sustained.rs`, which prints it.

use std::collections::BTreeMap;
use std::fs;

/// `USER_HZ`, which Linux fixes for what it shows in /proc.
const TICKS_A_SECOND: f64 = 100.0;
/// What /proc/diskstats counts in, whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;

/// Counters that only grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds of CPU in user mode.
    pub(crate) user: f64,
    /// Seconds of CPU in the kernel.
    pub(crate) system: f64,
    /// Bytes handed to write calls.
    pub(crate) handed: u64,
    /// Bytes of pages that became dirty (`write_bytes`). Where the page cache uses large folios a
    /// small write counts as its whole folio, so this can be far more than what the disk gets.
    pub(crate) dirtied: u64,
    /// Bytes that all disks of the machine got, from whomever: true on a quiet machine.
    pub(crate) disks: u64,
    /// Seconds of CPU of each thread, by its id and name.
    pub(crate) threads: BTreeMap<(u32, String), f64>,
}

impl Usage {
    /// As of now.
    pub(crate) fn now() -> Self {
        let (_, user, system) = stat("/proc/self/stat").unwrap_or_default();
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
        let threads = tasks.filter_map(|task| {
            let task = task.ok()?;
            let id = task.file_name().to_str()?.parse().ok()?;
            let (name, user, system) = stat(task.path().join("stat").to_str()?)?;
            Some(((id, name), user + system))
        });
        Self {
            user,
            system,
            handed: field(&io, "wchar:"),
            dirtied: field(&io, "write_bytes:"),
            disks: disks(),
            threads: threads.collect(),
        }
    }

    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let threads = self.threads.iter().map(|(key, seconds)| {
            let earlier = before.threads.get(key).copied().unwrap_or_default();
            (key.clone(), seconds - earlier)
        });
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
            handed: self.handed.saturating_sub(before.handed),
            dirtied: self.dirtied.saturating_sub(before.dirtied),
            disks: self.disks.saturating_sub(before.disks),
            threads: threads.collect(),
        }
    }
}

/// Resident memory now and at its highest, in bytes.
pub(crate) fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name| field(&status, name) << 10;
    (bytes("VmRSS:"), bytes("VmHWM:"))
}

/// Name, user and system seconds.
fn stat(path: &str) -> Option<(String, f64, f64)> {
    let text = fs::read_to_string(path).ok()?;
    // The name may hold anything, parentheses and blanks too; fields are counted behind it.
    let (head, tail) = text.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split(' ').skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_A_SECOND);
    Some((name.to_owned(), seconds()?, seconds()?))
}

/// Bytes written to whole disks (those that /sys lists as such, so no partition counts twice).
fn disks() -> u64 {
    let text = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let sectors = text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let name = fields.next()?;
        let whole = std::path::Path::new("/sys/block").join(name).join("device");
        let sectors = fields.nth(6)?.parse::<u64>().ok()?;
        whole.exists().then_some(sectors * SECTOR_BYTES)
    });
    sectors.sum()
}

/// The number behind a name.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
