//! What a user's files, variables and flags become, and what the user is told.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atalaya_config::{Config, Effect, HookTier, KEYS, Loaded, Origin, Program, Severity, Sources};

fn file(name: &str, text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn load(name: &str, text: &str) -> Loaded {
    let (_dir, path) = file(name, text.as_bytes());
    let sources = Sources {
        files: vec![(path, true)],
        ..Sources::default()
    };
    sources.load().unwrap()
}

fn env(pairs: &[(&str, &str)]) -> Loaded {
    let sources = Sources {
        env: pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        ..Sources::default()
    };
    sources.load().unwrap()
}

/// The problems without the file's directory.
fn told(loaded: &Loaded) -> Vec<String> {
    let short = |text: String| {
        text.rsplit_once('/')
            .map_or(text.clone(), |(_, t)| t.to_owned())
    };
    let problems = loaded.problems.iter().cloned();
    problems
        .map(|mut p| {
            p.origin = short(p.origin);
            p.to_string()
        })
        .collect()
}

#[test]
fn a_file_sets_values_of_every_type() {
    let loaded = load(
        "system-probe.yaml",
        "runtime_security_config:\n  enabled: false\n  socket: /tmp/x.sock\n  event_server: {burst: 7}\n  self_test: {timeout: 1m}\n\
         event_monitoring_config:\n  hook_tier: tracepoint\n  envs_with_value: [A, B]\nhostname: 42\n",
    );
    assert_eq!(told(&loaded), Vec::<String>::new());
    let config = loaded.config;
    assert!(!config.enabled);
    assert_eq!(config.socket, Path::new("/tmp/x.sock"));
    assert_eq!(
        (config.event_server_burst, config.self_test_timeout.get()),
        (7, Duration::from_secs(60))
    );
    assert_eq!(config.hook_tier, HookTier::Tracepoint);
    assert_eq!(config.envs_with_value, ["A", "B"]);
    assert_eq!(config.hostname, "42");
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_the_nearest() {
    let loaded = load(
        "system-probe.yaml",
        "runtime_security_config:\n  enabled: true\n  selftest:\n    enabled: false\n  polices:\n    dir: /x\nwhatever: 1\n",
    );
    assert_eq!(
        told(&loaded),
        [
            "system-probe.yaml:4:5: warning: unknown key `runtime_security_config.selftest.enabled`; did you mean `runtime_security_config.self_test.enabled`?",
            "system-probe.yaml:6:5: warning: unknown key `runtime_security_config.polices.dir`; did you mean `runtime_security_config.policies.dir`?",
            "system-probe.yaml:7:1: warning: unknown key `whatever`",
        ]
    );
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn a_wrong_type_is_told_with_its_place_and_the_default_stays() {
    let loaded = load(
        "system-probe.yaml",
        "runtime_security_config:\n  enabled: maybe\n  socket: [1]\n  event_server:\n    burst: -3\n    retention: soon\n  policies: /x\n\
         event_monitoring_config:\n  hook_tier: magic\nrun_path: relative/path\n",
    );
    assert_eq!(
        told(&loaded),
        [
            "system-probe.yaml:7:13: error: `runtime_security_config.policies` wants a map of settings, not \"/x\"",
            "system-probe.yaml:2:12: error: `runtime_security_config.enabled` wants true or false, not \"maybe\"; it stays `true`",
            "system-probe.yaml:3:11: error: `runtime_security_config.socket` wants an absolute path, not a list; it stays `/run/atalaya/runtime-security.sock`",
            "system-probe.yaml:5:12: error: `runtime_security_config.event_server.burst` wants a whole number, 0 or more, not -3; it stays `40`",
            "system-probe.yaml:6:16: error: `runtime_security_config.event_server.retention` wants a duration such as 500ms, 6s, 15m or 1h (a bare number is seconds), not \"soon\"; it stays `6s`",
            "system-probe.yaml:9:14: error: `event_monitoring_config.hook_tier` wants auto, lsm, kprobe or tracepoint, not \"magic\"; it stays `auto`",
            "system-probe.yaml:10:11: error: `run_path` wants an absolute path, not \"relative/path\"; it stays `/run/atalaya`",
        ]
    );
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn a_file_that_is_no_yaml_or_no_map_or_no_text_is_told_and_has_no_effect() {
    for text in [
        "a: [1,\n",
        "run_path: /x\n\tb: 1\n",
        "- a\n- b\n",
        "just text",
        "a: *nobody\n",
    ] {
        let loaded = load("system-probe.yaml", text);
        assert_eq!(loaded.problems.len(), 1, "{text:?}: {:?}", told(&loaded));
        assert_eq!(loaded.problems[0].severity, Severity::Error);
        assert!(loaded.problems[0].place.is_some());
        assert!(!loaded.problems[0].to_string().contains('\n'));
        assert_eq!(loaded.config, Config::default());
    }
    let (_dir, path) = file("x.yaml", b"a: 1\nb: \xff\n");
    let sources = Sources {
        files: vec![(path, true)],
        ..Sources::default()
    };
    assert_eq!(sources.load().unwrap().problems[0].place, Some((2, 1)));
}

#[test]
fn a_key_in_the_other_programs_file_counts_and_is_noted() {
    let loaded = load(
        "security-agent.yaml",
        "runtime_security_config:\n  spool:\n    max_size_mb: 5\n",
    );
    assert_eq!(loaded.config.spool_max_size_mb, 5);
    assert_eq!(
        told(&loaded),
        [
            "security-agent.yaml:3:5: note: `runtime_security_config.spool.max_size_mb` belongs in system-probe.yaml (it counts here as well)"
        ]
    );
}

#[test]
fn a_datadog_key_without_effect_is_only_noted() {
    let loaded = load(
        "system-probe.yaml",
        "runtime_security_config:\n  network_monitoring:\n    enabled: false\n  activity_dump: {enabled: true}\nsystem_probe_config:\n  bpf_debug: true\n",
    );
    assert_eq!(loaded.problems.len(), 3);
    assert!(loaded.problems.iter().all(|p| p.severity == Severity::Note));
    assert!(
        told(&loaded)[0].ends_with(
            "`runtime_security_config.network_monitoring.enabled` has no effect: event_monitoring_config.network.flow_monitor.* counts flows"
        ),
        "{:?}",
        told(&loaded)
    );
    for value in ["false", "x"] {
        let told = told(&env(&[(
            "DD_RUNTIME_SECURITY_CONFIG_ACTIVITY_DUMP_ENABLED",
            value,
        )]));
        assert_eq!(
            told,
            [
                "DD_RUNTIME_SECURITY_CONFIG_ACTIVITY_DUMP_ENABLED: note: has no effect: there are no activity dumps"
            ]
        );
    }
}

#[test]
fn event_monitoring_keys_are_accepted_under_both_names_and_the_proper_one_wins() {
    let alias = "runtime_security_config:\n  hook_tier: lsm\n";
    assert_eq!(load("x.yaml", alias).config.hook_tier, HookTier::Lsm);
    let both = "event_monitoring_config:\n  hook_tier: tracepoint\nruntime_security_config:\n  hook_tier: lsm\n";
    assert_eq!(load("x.yaml", both).config.hook_tier, HookTier::Tracepoint);
    let loaded = env(&[
        ("DD_EVENT_MONITORING_CONFIG_HOOK_TIER", "tracepoint"),
        ("DD_RUNTIME_SECURITY_CONFIG_HOOK_TIER", "lsm"),
    ]);
    assert_eq!(loaded.config.hook_tier, HookTier::Tracepoint);
}

#[test]
fn two_names_of_one_setting_that_disagree_are_told() {
    let both = "runtime_security_config:\n  hook_tier: lsm\nevent_monitoring_config:\n  hook_tier: tracepoint\n";
    let loaded = load("x.yaml", both);
    assert_eq!(
        told(&loaded),
        ["x.yaml:2:3: warning: event_monitoring_config.hook_tier in line 4 sets the same and wins"]
    );
    for agree in [
        both.replace("tracepoint", "lsm"),
        both.replace("tracepoint", ""),
    ] {
        assert_eq!(
            told(&load("x.yaml", &agree)),
            Vec::<String>::new(),
            "{agree}"
        );
    }
}

#[test]
fn a_self_test_that_waits_no_time_is_refused() {
    let loaded = load(
        "system-probe.yaml",
        "runtime_security_config:\n  self_test:\n    timeout: 0\n    period: 0s\n",
    );
    assert_eq!(loaded.problems.len(), 2, "{:?}", told(&loaded));
    assert!(
        told(&loaded)[0].contains("self_test.timeout` wants a duration above 0"),
        "{:?}",
        told(&loaded)
    );
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn a_directory_without_a_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let load = || Sources {
        env: Vec::new(),
        ..Sources::standard(Program::SecurityAgent, Some(dir.path()))
    };
    let error = load().load().unwrap_err().to_string();
    assert!(
        error.contains("security-agent.yaml: No such file"),
        "{error}"
    );
    fs::write(dir.path().join("system-probe.yaml"), "hostname: one\n").unwrap();
    assert_eq!(load().load().unwrap().config.hostname, "one");
}

#[test]
fn flags_win_over_environment_over_files_over_defaults() {
    let (_dir, path) = file(
        "x.yaml",
        b"log_level: error\nhostname: file\nsecurity_agent: {user: file}\n",
    );
    let sources = Sources {
        files: vec![(path, true)],
        env: vec![
            ("DD_LOG_LEVEL".into(), "warn".into()),
            ("DD_HOSTNAME".into(), "env".into()),
        ],
        flags: vec![("log_level", "debug".into())],
        ..Sources::default()
    };
    let config = sources.load().unwrap().config;
    assert_eq!(
        (
            config.log_level.as_str(),
            config.hostname.as_str(),
            config.agent_user.as_str()
        ),
        ("debug", "env", "file")
    );
    assert_eq!(config.run_path, Path::new("/run/atalaya"));
}

#[test]
fn the_environment_is_checked_too() {
    let loaded = env(&[
        ("DD_RUNTIME_SECURITY_CONFIG_ENABLED", "nope"),
        ("DD_RUNTIME_SECURITY_CONFIG_SOKET", "/x"),
        ("DD_RUNTIME_SECURITY_CONFIG_SOCKET", ""),
        ("DD_TRACE_ENABLED", "whatever"),
        ("PATH", "/bin"),
        ("DD_TAGS", "a:b c:d"),
    ]);
    assert_eq!(
        told(&loaded),
        [
            "DD_RUNTIME_SECURITY_CONFIG_ENABLED: error: `runtime_security_config.enabled` wants true or false, not \"nope\"; it stays `true`",
            "DD_RUNTIME_SECURITY_CONFIG_SOKET: warning: unknown variable `DD_RUNTIME_SECURITY_CONFIG_SOKET`; did you mean `DD_RUNTIME_SECURITY_CONFIG_SOCKET`?",
        ]
    );
    assert_eq!(loaded.config.tags, ["a:b", "c:d"]);
}

#[test]
fn both_files_of_a_directory_are_read_and_the_own_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("system-probe.yaml"),
        "log_level: debug\nhostname: probe\n",
    )
    .unwrap();
    fs::write(dir.path().join("security-agent.yaml"), "log_level: error\n").unwrap();
    for named in [
        dir.path().to_owned(),
        dir.path().join("security-agent.yaml"),
    ] {
        let mut sources = Sources::standard(Program::SecurityAgent, Some(&named));
        sources.env.clear();
        let loaded = sources.load().unwrap();
        assert_eq!(
            (
                loaded.config.log_level.as_str(),
                loaded.config.hostname.as_str()
            ),
            ("error", "probe")
        );
        assert_eq!(loaded.files.len(), 2);
    }
}

#[test]
fn only_a_named_file_must_be_there() {
    Sources::standard(Program::SystemProbe, None)
        .load()
        .unwrap();
    let error = Sources::standard(Program::SystemProbe, Some(Path::new("/nowhere/x.yaml")))
        .load()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration /nowhere/x.yaml: No such file or directory (os error 2)"
    );
}

#[test]
fn a_key_that_is_there_twice_or_empty() {
    let loaded = load(
        "x.yaml",
        "run_path: /a\nrun_path: /b\nhostname:\nruntime_security_config:\n",
    );
    assert_eq!(
        told(&loaded),
        ["x.yaml:2:1: warning: `run_path` is here twice; the last one counts"]
    );
    assert_eq!(loaded.config.run_path, Path::new("/b"));
}

#[test]
fn every_default_can_be_written_and_read_back() {
    for key in KEYS {
        let default = key.default();
        let (first, rest) = key
            .name
            .rsplit_once('.')
            .map_or((key.name, None), |(p, l)| (l, Some(p)));
        let mut text = format!("{first}: {default}\n");
        for part in rest.into_iter().flat_map(|r| r.rsplit('.')) {
            text = format!(
                "{part}:\n{}",
                text.lines().map(|l| format!("  {l}\n")).collect::<String>()
            );
        }
        let loaded = load("x.yaml", &text);
        let noted = usize::from(key.effect == Effect::Never);
        assert_eq!(told(&loaded).len(), noted, "{text}");
        assert_eq!(loaded.config, Config::default(), "{text}");
        let place = text.lines().count() as u64;
        let from_file = |origin: &Origin| matches!(origin, Origin::File(_, line) if *line == place);
        assert!(from_file(loaded.origin(key)), "{:?}", loaded.origin(key));
    }
}

#[test]
fn versions_and_hashes() {
    let loaded = load(
        "system-probe.yaml",
        "runtime_security_config:\n  policies:\n    agent_version: 7.80\n  hash_resolver:\n    hash_algorithms: [sha1, crc32]\n    replace: {}\n",
    );
    assert_eq!(
        told(&loaded)[1..],
        [
            "system-probe.yaml:3:20: error: `runtime_security_config.policies.agent_version` wants a version such as \"7.83.0\" (in quotes), not 7.8; it stays `7.83.0`",
            "system-probe.yaml:5:22: error: `runtime_security_config.hash_resolver.hash_algorithms` wants a list of md5, sha1, sha256, ssdeep, not a list; it stays `[sha1, sha256]`",
        ]
    );
    assert_eq!(loaded.config, Config::default());
    let loaded = load(
        "system-probe.yaml",
        "runtime_security_config:\n  policies:\n    agent_version: \"7.64\"\n  hash_resolver:\n    hash_algorithms: [ssdeep, sha256]\n",
    );
    assert_eq!(told(&loaded), [""; 0]);
    assert_eq!(
        loaded.config.policies_agent_version.get().to_string(),
        "7.64.0"
    );
    assert_eq!(loaded.config.hash_algorithms.names(), ["ssdeep", "sha256"]);
}

#[test]
fn a_value_knows_where_it_came_from_and_what_it_has_overridden() {
    let (_dir, path) = file(
        "system-probe.yaml",
        b"runtime_security_config:\n  event_server:\n    burst: 7\nlog_level: debug\napi_key: 0123456789abcdef\n",
    );
    let sources = Sources {
        files: vec![(path.clone(), true)],
        env: vec![("DD_LOG_LEVEL".into(), "warn".into())],
        flags: vec![("log_level", "error".into())],
        ..Sources::default()
    };
    let loaded = sources.load().unwrap();
    let origin = |name: &str| loaded.origin(atalaya_config::key(name).unwrap()).clone();
    assert_eq!(origin("hostname"), Origin::Default);
    assert_eq!(
        origin("runtime_security_config.event_server.burst"),
        Origin::File(path, 3)
    );
    assert_eq!(origin("log_level"), Origin::Flag);
    let levels: Vec<_> = loaded
        .set
        .iter()
        .filter(|s| s.key == "log_level")
        .map(|s| &*s.value)
        .collect();
    assert_eq!(levels, ["debug", "warn", "error"]);
    // A secret is shown nowhere.
    assert!(!format!("{loaded:?}").contains("0123456789abcdef"));
    assert_eq!(loaded.config.api_key.reveal(), "0123456789abcdef");
}

#[test]
fn reading_again_takes_over_what_can_change_and_tells_what_waits_for_a_restart() {
    let mut loaded = load("system-probe.yaml", "log_level: info\n");
    let newer = load(
        "system-probe.yaml",
        "log_level: debug\nruntime_security_config:\n  event_server: {burst: 7}\n  spool: {max_size_mb: 1}\n",
    );
    let changes = loaded.take_over(newer);
    let told: Vec<_> = changes
        .iter()
        .map(|c| (c.key, &*c.before, &*c.after, c.in_force))
        .collect();
    assert_eq!(
        told,
        [
            (
                "runtime_security_config.event_server.burst",
                "40",
                "7",
                true
            ),
            (
                "runtime_security_config.spool.max_size_mb",
                "256",
                "1",
                false
            ),
            ("log_level", "info", "debug", true),
        ]
    );
    assert_eq!(loaded.config.event_server_burst, 7);
    assert_eq!(loaded.config.spool_max_size_mb, 256);
    let spool = atalaya_config::key("runtime_security_config.spool.max_size_mb").unwrap();
    assert_eq!(loaded.pending(spool).as_deref(), Some("1"));
    // Back again: nothing waits any more.
    let back = load("system-probe.yaml", "log_level: debug\n");
    assert_eq!(loaded.take_over(back).len(), 1);
    assert_eq!(loaded.pending(spool), None);
}
