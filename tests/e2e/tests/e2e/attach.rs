//! Nothing is hooked that no rule wants.

use std::collections::BTreeSet;
use std::time::Duration;

use atalaya_e2e::{Helper, Probe, Setup, slow, wait_for};

fn attached(probe: &Probe) -> BTreeSet<String> {
    let status = probe.status();
    let programs = status["sensor"]["programs_attached"].as_array();
    let names = programs.into_iter().flatten();
    names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// What the process tree needs, in every tier.
fn is_life(program: &str) -> bool {
    ["fork", "exec", "exit_", "heartbeat", "cgroup_moved"].contains(&program)
        || program.starts_with("exec__")
}

const POLICY: &str =
    "version: 1\nrules:\n  - id: exec\n    expression: exec.file.path == \"/nowhere\"\n";
const RENAMED: &str = "  - id: renamed\n    expression: prctl.option == PR_SET_NAME\n";

/// What a call costs that no rule wants. Printed for a look; the machine is not quiet enough to hold it against anything.
fn tell_cost(what: &str) {
    let run = Helper::run(&["time-getpid", "200000"]);
    println!("getpid {what}: {} ns", run.result());
}

#[test]
fn programs_are_attached_only_while_a_rule_wants_their_event() {
    tell_cost("without the agent");
    // Self-protection has rules of its own on calls that are rare; in the tracepoint tier they share the hook on all calls.
    let probe = Setup::new()
        .policy("test.policy", POLICY)
        .config("  self_protection:\n    enabled: false\n")
        .start();
    let none = attached(&probe);
    assert!(none.iter().all(|name| is_life(name)), "{none:?}");
    assert!(none.contains("exec"), "{none:?}");
    tell_cost("with a rule on exec");

    probe.write_policy("test.policy", &format!("{POLICY}{RENAMED}"));
    let one = wait_for(slow(Duration::from_secs(10)), || {
        let one = attached(&probe);
        (one != none).then_some(one)
    });
    let one = one.expect("the new rule's programs are attached");
    let new: Vec<_> = one.difference(&none).collect();
    let of_prctl = |name: &&String| name.starts_with("prctl__") || **name == "sys_exit";
    assert!(new.iter().all(of_prctl), "{new:?}");
    tell_cost("with a rule on prctl");

    probe.write_policy("test.policy", POLICY);
    let gone = wait_for(slow(Duration::from_secs(10)), || {
        (attached(&probe) == none).then_some(())
    });
    assert!(gone.is_some(), "{:?}", attached(&probe));
}
