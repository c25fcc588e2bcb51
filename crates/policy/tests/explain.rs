//! What is said of a rule is what is done with it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use atalaya_policy::Scratch;
use atalaya_secl::{EvalContext, NoVariables};

const RULES: &str = r#"
rules:
  - id: miner
    expression: exec.args =~ "*stratum*" && exec.file.name in ["xmrig", ~"*miner"] && process.uid != 0 && ${seen} == false
    actions:
      - set: {name: seen, value: true}
  - id: everything
    expression: open.retval >= 0 && process.file.name not in ["cat"]
  - id: shadow
    expression: open.file.path in ["/etc/shadow", ~"/etc/ssh/*_key"] && open.flags & O_RDWR > 0
  - id: half
    expression: open.file.path == "/etc/shadow" || (open.file.path == "/etc/passwd" || process.comm == "cat")
  - id: never
    expression: exec.uid == 0 && 1 == 2
  - id: lineage
    expression: process.ancestors[A].file.name == "sshd" && process.ancestors[A].uid == 0 && exec.comm != "x"
"#;

#[test]
fn each_stage_is_told() {
    let (rules, report) = world::load_text(RULES);
    assert_eq!(report.counts().rejected, 0, "{report}");

    let miner = rules.explain("miner").unwrap();
    assert_eq!(miner.kernel, None);
    assert_eq!(
        miner.accept_all_because.as_deref(),
        Some("the kernel does not filter exec events")
    );
    let key = &miner.index.unwrap()[0];
    assert_eq!(key.field, "exec.file.name");
    assert_eq!(key.values, [r#"== "xmrig""#, r#"ends with "miner""#]);
    let texts: Vec<_> = miner.terms.iter().map(|term| term.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "process.uid != 0",
            "${seen} == false",
            r#"exec.args =~ "*stratum*""#,
            r#"exec.file.name in ["xmrig", ~"*miner"]"#,
        ]
    );
    assert!(miner.terms.is_sorted_by_key(|term| term.weight));
    assert_eq!(miner.variables_read, ["seen"]);
    assert_eq!(miner.variables_set, ["seen"]);

    let everything = rules.explain("everything").unwrap();
    assert_eq!((everything.kernel, everything.index), (None, None));
    let shadow = rules.explain("shadow").unwrap();
    assert_eq!(
        shadow.kernel.unwrap(),
        [
            "path /etc/shadow, flags & 0x2 != 0",
            "path in /etc/ssh, flags & 0x2 != 0"
        ]
    );
    assert_eq!(shadow.accept_all_because, None);
    assert_eq!(
        rules.explain("half").unwrap().accept_all_because.as_deref(),
        Some(r#"process.comm == "cat""#)
    );
    let never = rules.explain("never").unwrap();
    assert_eq!((never.kernel, never.index), (Some(vec![]), Some(vec![])));
    let lineage = rules.explain("lineage").unwrap();
    assert_eq!(
        lineage.index.unwrap()[0].field,
        "process.ancestors.file.name"
    );
    assert!(
        lineage
            .terms
            .iter()
            .any(|term| term.each && term.text == r#"process.ancestors[A].file.name == "sshd""#)
    );
    assert!(rules.explain("unknown").is_none());
    let json = serde_json::to_value(rules.explain("half")).unwrap();
    assert_eq!(json["terms"][0]["each"], false);
}

#[test]
fn what_failed_is_what_was_false() {
    let (rules, _) = world::load_text(RULES);
    let context = EvalContext {
        now_ns: world::NOW,
        variables: &NoVariables,
    };
    let event = world::exec("/usr/bin/xmrig", &["xmrig", "-o", "pool"]);
    let failed = rules.rule("miner").unwrap().why_not(&event, &context);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].text, r#"exec.args =~ "*stratum*""#);
    assert_eq!(
        failed[0].values,
        [("exec.args".to_owned(), vec![r#""-o pool""#.to_owned()])]
    );
    let failed = rules.rule("lineage").unwrap().why_not(&event, &context);
    assert!(failed[0].text.starts_with("for one of "), "{failed:?}");

    // Where nothing failed the rule matches, and the other way round.
    let (rules, _) = world::load(&world::shipped_policy());
    for event in [
        world::quiet_exec(),
        world::exec("/usr/bin/nmap", &["nmap", "-sS"]),
        world::quiet_open(),
        world::open("/etc/shadow", 2),
    ] {
        let mut matched = Vec::new();
        rules.evaluate(
            event.event_type(),
            &event,
            world::NOW,
            &mut NoVariables,
            &mut Scratch::default(),
            |_, rule| matched.push(rule.id.clone()),
        );
        for rule in rules.rules_for(event.event_type()) {
            let none = rule.why_not(&event, &context).is_empty();
            assert_eq!(none, matched.contains(&rule.id), "{}", rule.id);
        }
    }
}

/// Nothing is said without words, and an expression shown has no more than one line.
#[test]
fn every_shipped_rule_is_explained() {
    for policy in [Some(world::shipped_policy()), world::reference_policy()]
        .into_iter()
        .flatten()
    {
        let (rules, _) = world::load(&policy);
        for rule in rules.rules() {
            let explained = rules.explain(&rule.id).unwrap();
            assert!(
                !explained.terms.is_empty() || explained.index == Some(vec![]),
                "{}",
                rule.id
            );
            assert_eq!(
                explained.kernel.is_none(),
                explained.accept_all_because.is_some()
            );
            assert!(explained.terms.iter().all(|term| !term.text.is_empty()));
        }
    }
}
