//! What the store costs: `cargo bench -p atalaya-store [-- EVENTS]`. One million events by default; the figures are of this machine and moment.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::time::{Duration, Instant};

use atalaya_store::{NewEvent, Options, Query, Range, Search, Store};
use serde_json::json;

const COMMS: [&str; 4] = ["bash", "sshd", "systemd", "containerd-shim"];
const TYPES: [&str; 5] = ["open", "exec", "connect", "dns", "unlink"];

/// As varied as on a busy node: 400 containers, 180 rules, many pids, hashes and paths; 1.7 kB.
fn event(n: u64) -> String {
    let mix = |salt: u64| (n.wrapping_add(salt)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let few = |salt: u64, many: u64| mix(salt) % many;
    let hash = format!(
        "{:016x}{:016x}{:016x}{:016x}",
        mix(1),
        mix(2),
        mix(3),
        mix(4)
    );
    let ancestor = |depth: u64| {
        json!({"pid": few(depth, 30_000), "ppid": few(depth + 1, 30_000), "comm": COMMS[few(depth, 4) as usize],
            "executable": {"path": "/usr/bin/bash", "name": "bash", "inode": few(depth, 90_000), "mode": 33261, "uid": 0, "gid": 0},
            "credentials": {"uid": 0, "user": "root", "gid": 0, "group": "root"}})
    };
    let path = format!(
        "/var/lib/app-{}/data/{:x}/segment-{}.log",
        few(5, 50),
        few(6, 4000),
        few(7, 100_000)
    );
    let date = format!(
        "2026-11-24T10:{:02}:{:02}.{:09}Z",
        n / 60_000 % 60,
        n / 1000 % 60,
        mix(8) % 1_000_000_000
    );
    json!({
        "ddsource": "runtime-security-agent", "service": format!("service-{}", few(9, 40)), "hostname": "node-17",
        "status": if n.is_multiple_of(97) { "warn" } else { "info" }, "timestamp": time(n), "ddtags": "env:prod,team:platform", "event_id": n,
        "message": {
            "date": date, "evt": {"name": TYPES[few(10, 5) as usize], "category": "File Activity", "outcome": "Success"},
            "agent": {"rule_id": format!("rule_{}", few(11, 180)), "policy_name": "default", "policy_version": "1.4", "os": "linux", "arch": "x64", "version": "0.1.0"},
            "title": "something was done", "file": {"path": path, "name": "segment.log", "inode": mix(12), "mode": 33188, "uid": few(13, 50), "mount_id": 31,
                "modification_time": date, "change_time": date, "filesystem": "overlay", "hashes": [format!("sha256:{hash}")]},
            "process": {"pid": few(14, 4_000_000), "tid": few(14, 4_000_000), "ppid": few(15, 30_000), "comm": format!("worker-{}", few(16, 300)), "tty": "",
                "args": ["--config", format!("/etc/app-{}.yaml", few(17, 50)), format!("--request={:x}", mix(18))],
                "executable": {"path": format!("/opt/app-{}/bin/worker", few(17, 50)), "name": "worker", "inode": few(19, 9000), "mode": 33261},
                "credentials": {"uid": few(13, 50), "user": format!("user{}", few(13, 50)), "gid": 0, "group": "root", "cap_effective": ["CAP_NET_BIND_SERVICE"]},
                "exec_time": date, "parent": ancestor(20), "ancestors": [ancestor(20), ancestor(21), ancestor(22)]},
            "container": {"id": format!("{:064x}", few(23, 400))},
        },
    })
    .to_string()
}

fn time(n: u64) -> i64 {
    1_763_980_000_000 + i64::try_from(n / 5).unwrap()
}

fn main() {
    let count = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .next()
        .unwrap_or(1_000_000u64);
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: 1 << 40,
        max_age: Duration::from_secs(1 << 34),
        min_free_bytes: 0,
        ..Options::default()
    };
    let store = Store::open(dir.path(), options).unwrap();
    let (mut spent, mut raw, mut first, mut cpu) = (Duration::ZERO, 0, 1, 0.0);
    while first <= count {
        let last = (first + 20_000).min(count + 1);
        let lines: Vec<String> = (first..last).map(event).collect();
        raw += lines.iter().map(String::len).sum::<usize>();
        let batch: Vec<NewEvent<'_>> = (first..last)
            .zip(&lines)
            .map(|(offset, line)| NewEvent {
                spool: "0123456789abcdef",
                offset,
                timestamp_ms: time(offset),
                json: line.as_bytes(),
                context: b"",
            })
            .collect();
        let (began, before) = (Instant::now(), cpu_us());
        for part in batch.chunks(256) {
            store.append(part).unwrap();
        }
        store.commit().unwrap();
        spent += began.elapsed();
        cpu += cpu_us() - before;
        first = last;
    }
    let stats = store.stats();
    let disk: u64 = stats.bytes;
    println!(
        "{count} events of {} bytes: {:.0} events/s, {:.0} bytes an event on disk, {:.0} µs of CPU each, {} windows, {:.0} MB resident",
        raw as u64 / count,
        count as f64 / spent.as_secs_f64(),
        disk as f64 / count as f64,
        cpu / count as f64,
        stats.windows,
        resident()
    );
    for text in [
        "",
        "type:open",
        "rule_id:rule_17 status:warn",
        "worker",
        "path:/var/lib/app-7/*",
        "rule_id:rule_1*",
        "pid:[1000 TO 2000]",
        "segment NOT type:dns",
        "process.args:--config rule_id:rule_9",
        "container:*0 user:user7",
        "\"opt app 12\" type:exec",
        "secl(\"process.uid == 7\") rule_id:rule_5",
    ] {
        let query = Query::parse(text, 0).unwrap();
        let times = |mut work: Box<dyn FnMut() + '_>| {
            let mut times: Vec<f64> = (0..20)
                .map(|_| {
                    let began = Instant::now();
                    work();
                    began.elapsed().as_secs_f64() * 1000.0
                })
                .collect();
            times.sort_by(f64::total_cmp);
            (times[10], times[19])
        };
        let mut total = (0, true);
        let search = times(Box::new(|| {
            let page = store.search(&query, &Search::default()).unwrap();
            total = (page.total, page.total_exact);
        }));
        let facets = times(Box::new(|| {
            store
                .facets(
                    &query,
                    Range::default(),
                    &[],
                    10,
                    Duration::from_millis(500),
                )
                .unwrap();
        }));
        let timeline = times(Box::new(|| {
            store
                .timeline(&query, Range::default(), 60, Duration::from_millis(500))
                .unwrap();
        }));
        println!(
            "{text:45} {:>8}{} search {:6.1} / {:6.1} ms, facets {:6.1} / {:6.1} ms, timeline {:6.1} / {:6.1} ms (median / 95th percentile of 20)",
            total.0,
            if total.1 { ' ' } else { '+' },
            search.0,
            search.1,
            facets.0,
            facets.1,
            timeline.0,
            timeline.1
        );
    }
}

fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    pages * 4096.0 / 1e6
}

/// CPU time of all threads, in microseconds.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) * 10_000.0
}
