//! Where the memory is, by component and against its budget.

use std::collections::BTreeMap;
use std::fs;

use atalaya_api::proto;
use atalaya_policy::VARIABLES_LIMIT;

use crate::engine::Shared;

/// What this process uses.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    pub(crate) cpu_ms: u64,
}

impl Usage {
    pub(crate) fn read() -> Self {
        let page = rustix::param::page_size() as u64;
        let rss = fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            rss_bytes: rss * page,
            cpu_ms: u64::try_from(crate::meter::process_time().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The memory of each component.
pub(crate) fn components(shared: &Shared) -> Vec<proto::MemoryStatus> {
    let mut list = Vec::new();
    let mut add = |component: &str, bytes: u64, budget_bytes: u64, kernel: bool| {
        list.push(proto::MemoryStatus {
            component: component.to_owned(),
            bytes,
            budget_bytes,
            kernel,
        });
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = |name| field_kib(&status, name);
    add(
        "resident",
        rss("VmRSS:"),
        memory_limit().unwrap_or(0),
        false,
    );
    add("private", rss("RssAnon:"), 0, false);
    add("mapped files", rss("RssFile:"), 0, false);
    let tree = shared.tree().stats();
    let limits = shared.options.tree;
    add(
        "process tree",
        tree.image_bytes as u64,
        limits.max_image_bytes as u64,
        false,
    );
    let variables = shared.variables().stats();
    add(
        "variables",
        variables.bytes as u64,
        VARIABLES_LIMIT as u64,
        false,
    );
    let (bytes, limit) = shared.queues.bytes();
    add("queues", bytes as u64, limit as u64, false);
    for (component, bytes) in maps() {
        add(&component, bytes, 0, true);
    }
    list
}

/// The limit of the cgroup that this process is in, where it has one.
fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let limit = fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok()?;
    limit.trim().parse().ok()
}

/// A field of `/proc/PID/status`, in bytes.
fn field_kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// `BPF_MAP_TYPE_RINGBUF` and `BPF_MAP_TYPE_PERF_EVENT_ARRAY`.
const RINGS: [&str; 2] = [RING_BUFFER, "4"];
const RING_BUFFER: &str = "27";

/// The eBPF maps that this process holds, each once: rings, and all others. The kernel tells of each what memory it takes.
fn maps() -> Vec<(String, u64)> {
    let mut by_id = BTreeMap::new();
    let files = fs::read_dir("/proc/self/fdinfo").into_iter().flatten();
    for file in files.flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        if let Some((id, is_ring, bytes)) = map_of(&text) {
            by_id.insert(id, (is_ring, bytes));
        }
    }
    let sum = |rings: bool| -> u64 {
        let of = by_id.values().filter(|(is_ring, _)| *is_ring == rings);
        of.map(|(_, bytes)| bytes).sum()
    };
    vec![
        ("ring buffers".to_owned(), sum(true)),
        ("other eBPF maps".to_owned(), sum(false)),
    ]
}

/// Number, kind and bytes of the map that this is the description of.
fn map_of(fdinfo: &str) -> Option<(u64, bool, u64)> {
    let field = |name: &str| {
        let line = fdinfo.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim())
    };
    let number = |name: &str| field(name)?.parse::<u64>().ok();
    let kind = field("map_type:")?;
    let is_ring = RINGS.contains(&kind);
    let mut bytes = number("memlock:")?;
    // Before 6.4 the kernel counts entries by the sizes of key and value, of which a ring buffer has none: its entries are bytes.
    if kind == RING_BUFFER {
        bytes = bytes.max(number("max_entries:").unwrap_or(0));
    }
    // Kernels before 4.19 do not number them; there are none that this runs on.
    let id = number("map_id:")?;
    Some((id, is_ring, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_this_process() {
        let usage = Usage::read();
        assert!(usage.rss_bytes > 100_000, "{usage:?}");
    }

    #[test]
    fn a_map_is_read_from_its_description() {
        let text = "pos:\t0\nflags:\t02000002\nmap_type:\t27\nkey_size:\t0\nmemlock:\t4198728\nmap_id:\t17\n";
        assert_eq!(map_of(text), Some((17, true, 4_198_728)));
        let older = "map_type:\t27\nkey_size:\t0\nvalue_size:\t0\nmax_entries:\t4194304\nmemlock:\t0\nmap_id:\t17\n";
        assert_eq!(map_of(older), Some((17, true, 4_194_304)));
        assert_eq!(map_of("pos:\t0\nprog_type:\t5\nmemlock:\t4096\n"), None);
        assert_eq!(map_of(""), None);
    }

    #[test]
    fn a_field_of_the_status_file() {
        let text = "Name:\tx\nVmRSS:\t   1204 kB\n";
        assert_eq!(field_kib(text, "VmRSS:"), 1204 << 10);
        assert_eq!(field_kib(text, "RssAnon:"), 0);
    }
}
