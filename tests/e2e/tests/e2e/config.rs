//! The configuration of running programs: shown, read again, changed; what is broken changes nothing.

use std::time::Duration;

use atalaya_e2e::{Agent, Probe, Setup, slow, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn settings(probe: &Probe) -> Vec<Value> {
    let (ok, text, error) = probe.agent(&["config", "list", "--running", "--json"]);
    assert!(ok, "{error}");
    serde_json::from_str(&text).expect("JSON")
}

fn setting(probe: &Probe, key: &str) -> Value {
    let found = settings(probe).into_iter().find(|one| one["key"] == key);
    found.unwrap_or_else(|| panic!("no setting {key}"))
}

fn rewrite(probe: &Probe, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(probe.config()).unwrap();
    std::fs::write(probe.config(), change(&text)).unwrap();
}

/// Waits for a line of security-agent's log.
fn agent_says(agent: &Agent, words: &str) {
    let said = wait_for(slow(Duration::from_secs(10)), || {
        agent.log().contains(words).then_some(())
    });
    assert!(said.is_some(), "no {words:?} in:\n{}", agent.log());
}

#[test]
fn a_reload_changes_both_programs_and_a_broken_file_changes_nothing() {
    let probe = Setup::new()
        .rule("config_reload", "open.file.path == \"{work}/x\"")
        .start();
    let agent = Agent::start(&probe);
    agent_says(&agent, "connected to system-probe");
    let level = setting(&probe, "log_level");
    let file = probe.config().display().to_string();
    assert_eq!(
        (&level["value"], &level["origin"]),
        (&"info".into(), &format!("{file}:1").into())
    );
    // The harness names the directory by a flag.
    assert_eq!(
        setting(&probe, "runtime_security_config.policies.dir")["origin"],
        "flag"
    );

    rewrite(&probe, |text| {
        text.replace("log_level: info", "log_level: debug") + "tags: [team:a]\nrun_path: /nowhere\n"
    });
    let (ok, text, error) = probe.agent(&["config", "reload"]);
    assert!(ok, "{error}");
    assert!(text.contains("log_level: debug (was info)"), "{text}");
    assert!(
        text.contains("run_path: /nowhere after a restart of system-probe"),
        "{text}"
    );
    assert!(
        text.contains("policies: 1 rules loaded, 0 rejected"),
        "{text}"
    );
    assert!(
        text.contains("security-agent: was told to do the same"),
        "{text}"
    );
    agent_says(&agent, "log_level: debug (was info)");
    assert_eq!(setting(&probe, "run_path")["pending"], "/nowhere");

    // What the agent now puts on events.
    std::fs::write(probe.path("x"), "").unwrap();
    let tagged = wait_for(slow(Duration::from_secs(10)), || {
        let text = std::fs::read_to_string(probe.dir().join("log/agent.jsonl")).unwrap_or_default();
        let of_rule = text
            .lines()
            .find(|line| line.contains("rule_id:config_reload"))?
            .to_owned();
        Some(of_rule)
    });
    let event: Value = serde_json::from_str(&tagged.expect("the event is stored")).unwrap();
    assert!(
        event["ddtags"]
            .as_str()
            .unwrap_or_default()
            .contains("team:a"),
        "{event}"
    );

    rewrite(&probe, |text| {
        text.replace("log_level: debug", "log_level: [off")
    });
    // The file that says where the socket is cannot be read any more, so the environment says it.
    let ask = |arguments: &[&str]| {
        let mut command = probe.agent_command(arguments);
        command.env("DD_RUNTIME_SECURITY_CONFIG_SOCKET", probe.socket());
        let output = command.output().expect("security-agent runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (out, error) = (text(output.stdout), text(output.stderr));
        (output.status.success(), out, error)
    };
    let (ok, _, error) = ask(&["config", "reload"]);
    assert!(!ok);
    let refusal = error.lines().find(|line| line.starts_with("Error: "));
    assert!(
        refusal.is_some_and(
            |line| line.contains(&file) && line.contains("the former configuration stays")
        ),
        "{error}"
    );
    let (_, still, error) = ask(&["config", "list", "--running", "--json"]);
    let still: Vec<Value> = serde_json::from_str(&still).expect(&error);
    let level = still.iter().find(|one| one["key"] == "log_level");
    assert_eq!(level.map(|one| &one["value"]), Some(&Value::from("debug")));
    let (ok, checked, _) = probe.agent(&["config", "check", &file]);
    assert!(!ok && checked.contains("error: "), "{checked}");
}

#[test]
fn a_setting_is_changed_until_it_is_unset_and_only_where_it_can_be() {
    let probe = Setup::new()
        .rule(
            "config_set",
            "open.file.path == \"{work}/x\" && open.flags & O_CREAT > 0",
        )
        .start();
    let agent = Agent::start(&probe);
    agent_says(&agent, "connected to system-probe");
    for (key, value, why) in [
        (
            "runtime_security_config.spool.max_size_mb",
            "1",
            "cannot be set at run time",
        ),
        ("no.such.setting", "1", "there is no setting"),
        ("log_level", "loud", "wants off, error, warn"),
    ] {
        let (ok, _, error) = probe.agent(&["config", "set", key, value]);
        assert!(!ok && error.contains(why), "{key}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let (ok, text, error) = probe.agent(&[
        "config",
        "set",
        "runtime_security_config.event_server.burst",
        "3",
    ]);
    assert!(ok, "{error}");
    assert!(
        text.contains("runtime_security_config.event_server.burst: 3 (was 40)"),
        "{text}"
    );
    let burst = setting(&probe, "runtime_security_config.event_server.burst");
    assert_eq!(
        (&burst["value"], &burst["origin"]),
        (&"3".into(), &"set at run time".into())
    );
    // The limit is that of the running engine: of many events at once few are sent.
    let matched = |what: &str| {
        let status = probe.status();
        let rules = status["policies_status"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let rules = rules
            .iter()
            .flat_map(|policy| policy["status"].as_array().cloned().unwrap_or_default());
        let rule = rules
            .into_iter()
            .find(|rule| rule["id"] == "config_set")
            .expect("the rule");
        rule[what].as_u64().unwrap_or(0)
    };
    let limited = wait_for(slow(Duration::from_secs(10)), || {
        for _ in 0..30 {
            std::fs::write(probe.path("x"), "").unwrap();
        }
        let (matches, limited) = (matched("matches"), matched("rate_limited"));
        (matches >= 30 && limited > matches / 2).then_some(())
    });
    assert!(
        limited.is_some(),
        "matched {}, held back {}",
        matched("matches"),
        matched("rate_limited")
    );

    assert!(probe.agent(&["config", "set", "log_level", "debug"]).0);
    agent_says(&agent, "log_level: debug (was info)");
    assert!(probe.agent(&["config", "unset", "log_level"]).0);
    agent_says(&agent, "log_level: info (was debug)");
    assert_eq!(setting(&probe, "log_level")["value"], "info");
}

#[test]
fn sighup_reads_the_configuration_of_each_program_and_ends_neither() {
    let mut probe = Setup::new().start();
    let mut agent = Agent::start(&probe);
    agent_says(&agent, "connected to system-probe");
    rewrite(&probe, |text| {
        text.replace("log_level: info", "log_level: debug")
    });
    kill(Pid::from_raw(agent.pid().cast_signed()), Signal::SIGHUP).unwrap();
    agent_says(&agent, "log_level: debug (was info)");
    assert_eq!(
        setting(&probe, "log_level")["value"],
        "info",
        "nobody told system-probe"
    );
    probe.signal(Signal::SIGHUP);
    let followed = wait_for(slow(Duration::from_secs(10)), || {
        (setting(&probe, "log_level")["value"] == "debug").then_some(())
    });
    assert!(followed.is_some(), "{}", probe.log());
    assert!(agent.stop());
    assert!(probe.stop().is_some_and(|status| status.success()));
}
