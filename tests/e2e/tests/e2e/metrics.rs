//! What security-agent answers by HTTP: metrics that a strict reader takes, health that follows what happens, and no trouble by whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use atalaya_e2e::{Agent, Probe, Setup, slow, wait_for};

/// A port that nobody uses now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn setup(port: u16) -> Setup {
    Setup::new().agent_config(&format!("  expvar_port: {port}\n"))
}

/// The status code and the body; `None` where nobody answers.
fn get(port: u16, path: &str, host: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let _ = stream.set_read_timeout(Some(slow(Duration::from_secs(10))));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

fn wait_for_code(port: u16, path: &str, wanted: u16) -> String {
    let mut last = None;
    let found = wait_for(slow(Duration::from_secs(20)), || {
        last = get(port, path, "localhost");
        last.clone().filter(|(code, _)| *code == wanted)
    });
    let (_, body) = found.unwrap_or_else(|| panic!("{path} is not {wanted}: {last:?}"));
    body
}

/// Reads OpenMetrics as its specification wants it: families in one piece, each with its type before its samples, no series twice, names
/// of counters that end so, and an end.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    let (mut series, mut families) = (BTreeMap::new(), BTreeSet::new());
    let mut family = (String::new(), String::new());
    for line in body.lines() {
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            let value = words.next().unwrap_or_default();
            if kind == "HELP" || (kind == "TYPE" && family.0 != name) {
                assert!(families.insert(name.to_owned()), "twice: {line}");
                family = (name.to_owned(), String::new());
            }
            assert_eq!(family.0, name, "{line}");
            match kind {
                "TYPE" => family.1 = value.to_owned(),
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                "HELP" => assert!(!value.is_empty(), "{line}"),
                other => panic!("{other}: {line}"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        let value: f64 = value.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
        let bare = name.split('{').next().unwrap();
        let expected = match family.1.as_str() {
            "counter" => format!("{}_total", family.0),
            "gauge" => family.0.clone(),
            other => panic!("type {other}: {line}"),
        };
        assert_eq!(bare, expected, "{line}");
        let twice = series.insert(name.to_owned(), value);
        assert!(twice.is_none(), "twice: {line}");
    }
    series
}

#[test]
fn metrics_are_of_both_programs_and_grow() {
    let port = free_port();
    let probe = setup(port)
        .rule("metrics_rule", "open.file.path == \"{work}/metrics\"")
        .start();
    let _agent = Agent::start(&probe);
    let path = probe.path("metrics");
    std::fs::write(&path, "").unwrap();
    let mut last = String::new();
    let found = wait_for(slow(Duration::from_secs(20)), || {
        std::fs::File::open(&path).unwrap();
        last = get(port, "/metrics", "localhost")?.1;
        let series = parse(&last);
        let at = |name: &str| series.get(name).copied().unwrap_or(0.0);
        let all = [
            "atalaya_probe_up",
            "atalaya_agent_connected",
            "atalaya_agent_events_stored_total",
            "atalaya_events_received_total{event_type=\"open\"}",
            "atalaya_rule_matches_total{rule_id=\"metrics_rule\"}",
            "atalaya_ring_size_bytes{ring=\"bulk\"}",
            "atalaya_probe_resident_memory_bytes",
            "atalaya_agent_resident_memory_bytes",
            "atalaya_memory_budget_bytes{component=\"variables\"}",
            "atalaya_programs_attached",
            "atalaya_spool_limit_bytes",
            "atalaya_rules{state=\"loaded\"}",
        ];
        all.iter().all(|name| at(name) > 0.0).then_some(())
    });
    assert!(found.is_some(), "{last}");
    // Both programs on one page, and in one document.
    let status = probe.status();
    assert_eq!(status["agent"]["healthy"], true, "{}", status["agent"]);
    assert_eq!(status["agent"]["connected"], true, "{}", status["agent"]);
    let (_, page, _) = probe.agent(&["status"]);
    assert!(page.contains("Stream of events: connected"), "{page}");
}

/// The page and the program must name the same.
#[test]
fn the_page_names_every_metric_and_no_other() {
    let page = include_str!("../../../../docs/status.md");
    let told: BTreeSet<&str> = page
        .split('`')
        .filter(|word| word.starts_with("atalaya_") && !word.contains(' '))
        .collect();
    let port = free_port();
    let probe = setup(port)
        // Without packets the rule is off: a reduced mode.
        .rule("metrics_off", "dns.question.name == \"e2e.example\"")
        .config("  bpf_stats:\n    enabled: true\n  network:\n    enabled: false\n")
        .self_test()
        .start();
    let _agent = Agent::start(&probe);
    let mut last = BTreeSet::new();
    let same = wait_for(slow(Duration::from_secs(20)), || {
        let text = get(port, "/metrics", "localhost")?.1;
        let _ = parse(&text);
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        last = families
            .map(|line| match line.split_once(' ') {
                Some((name, "counter")) => format!("{name}_total"),
                Some((name, _)) => name.to_owned(),
                None => line.to_owned(),
            })
            .collect();
        let known: BTreeSet<&str> = last.iter().map(String::as_str).collect();
        (known == told).then_some(())
    });
    let known: BTreeSet<&str> = last.iter().map(String::as_str).collect();
    let (missing, extra): (Vec<_>, Vec<_>) = (
        known.difference(&told).collect(),
        told.difference(&known).collect(),
    );
    assert!(
        same.is_some(),
        "not on the page: {missing:?}; not in the program: {extra:?}"
    );
}

#[test]
fn health_follows_system_probe_and_liveness_does_not() {
    let port = free_port();
    let mut probe = setup(port).start();
    let _agent = Agent::start(&probe);
    let body = wait_for_code(port, "/healthz", 200);
    assert_eq!(body.trim(), r#"{"healthy":true,"reasons":[]}"#);
    probe.stop();
    let body = wait_for_code(port, "/healthz", 503);
    assert!(body.contains("system-probe is not running"), "{body}");
    wait_for_code(port, "/livez", 200);
    let series = parse(&wait_for_code(port, "/metrics", 200));
    assert_eq!(series["atalaya_probe_up"], 0.0);
    probe.start();
    wait_for_code(port, "/healthz", 200);
}

/// A probe that is stopped (SIGSTOP), which the kernel still connects to.
#[test]
fn a_probe_that_hangs_does_not_make_security_agent_hang() {
    let port = free_port();
    let probe = setup(port).start();
    let _agent = Agent::start(&probe);
    wait_for_code(port, "/healthz", 200);
    probe.signal(nix::sys::signal::Signal::SIGSTOP);
    let body = wait_for_code(port, "/healthz", 503);
    assert!(body.contains("does not answer within"), "{body}");
    wait_for_code(port, "/livez", 200);
    probe.signal(nix::sys::signal::Signal::SIGCONT);
    wait_for_code(port, "/healthz", 200);
}

#[test]
fn who_connects_and_says_nothing_costs_no_events() {
    let port = free_port();
    let probe = setup(port)
        .rule("quiet_peers", "open.file.path == \"{work}/quiet\"")
        .start();
    let agent = Agent::start(&probe);
    wait_for_code(port, "/livez", 200);
    let quiet: Vec<TcpStream> = (0..100)
        .filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok())
        .collect();
    assert!(quiet.len() >= 33);
    let files = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))
        .unwrap()
        .count();
    assert!(files < 80, "{files} open files");
    std::fs::write(probe.path("quiet"), "").unwrap();
    let stored = wait_for(slow(Duration::from_secs(10)), || {
        let text = std::fs::read_to_string(probe.dir().join("log/agent.jsonl")).ok()?;
        text.contains("rule_id:quiet_peers").then_some(())
    });
    assert!(stored.is_some(), "{}", agent.log());
    drop(quiet);
    wait_for_code(port, "/livez", 200);
}

#[test]
fn a_page_in_a_browser_does_not_read_metrics_by_another_name() {
    let port = free_port();
    let probe = setup(port).start();
    let _agent = Agent::start(&probe);
    wait_for_code(port, "/livez", 200);
    for host in ["evil.example", "127.0.0.1.evil.example:80"] {
        let (code, body) = get(port, "/metrics", host).unwrap();
        assert_eq!((code, body.contains("atalaya_")), (403, false), "{host}");
    }
    let (code, _) = get(port, "/metrics", &format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(code, 200);
    let (code, _) = get(port, "/nothing", "localhost").unwrap();
    assert_eq!(code, 404);
}

/// A Datadog Agent beside this one has the same port.
#[test]
fn a_port_that_is_taken_does_not_keep_events_from_being_stored() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let probe: Probe = setup(port).start();
    let agent = Agent::start(&probe);
    let connected = wait_for(slow(Duration::from_secs(10)), || {
        agent
            .log()
            .contains("connected to system-probe")
            .then_some(())
    });
    assert!(connected.is_some(), "{}", agent.log());
    assert!(agent.log().contains("no metrics on"), "{}", agent.log());
}
