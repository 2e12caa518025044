//! The machine that is measured, and why its figures may mislead.
//!
//! **Invariant:** a figure that cannot be had is absent; nothing that identifies a person is told.
//! **Next:** `report.rs`, which begins with it.

use std::path::Path;

use serde::Serialize;

/// What statfs says of a file system in memory.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// A load average above this part of the cores takes time from the benchmark.
const BUSY_SHARE: f64 = 0.25;

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Operating system and architecture.
    pub system: String,
    /// Of Linux.
    pub kernel: Option<String>,
    /// The model of the processor.
    pub processor: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Load average of a minute, before the run.
    pub load: Option<f64>,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).ok();
        let first = |text: String| text.split_whitespace().next().map(str::to_owned);
        let line = |text: String, name| {
            let line = text.lines().find_map(|line: &str| line.strip_prefix(name));
            line.map(|rest| rest.trim_matches([' ', '\t', ':']).to_owned())
        };
        let memory = read("/proc/meminfo").and_then(|text| line(text, "MemTotal:"));
        let memory = memory.and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: read("/proc/sys/kernel/osrelease").and_then(first),
            processor: read("/proc/cpuinfo").and_then(|text| line(text, "model name")),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: memory.map(|kibibytes| kibibytes << 10),
            load: read("/proc/loadavg")
                .and_then(first)
                .and_then(|text| text.parse().ok()),
        }
    }

    /// Why a run in this directory may mislead.
    pub fn warnings(&self, directory: &Path) -> Vec<String> {
        let mut warnings = Vec::new();
        if cfg!(debug_assertions) {
            warnings.push("debug build: several times slower than a release build".to_owned());
        }
        let cores = super::latency::float(self.cores as u64);
        if let Some(load) = self.load.filter(|load| *load > cores * BUSY_SHARE) {
            warnings.push(format!(
                "busy machine: load average {load:.2} on {} cores before the run; only ratios mean \
                 something, and they are noisy",
                self.cores
            ));
        }
        let system = rustix::fs::statfs(directory);
        let is_memory = system.is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(TMPFS_MAGIC));
        if is_memory {
            warnings.push(format!(
                "{} lies in memory (tmpfs), where a sync costs nothing: name another --directory",
                directory.display()
            ));
        }
        if self.kernel.is_none() {
            warnings.push("no /proc: CPU, memory and bytes written are left out".to_owned());
        }
        warnings
    }
}
