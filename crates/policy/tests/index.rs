//! With the index and without: the same rules match, in the same order, whatever the rules and the event.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use std::fmt::Write as _;
use std::sync::Arc;

use atalaya_model::{Container, Event, EventData, ExecEvent, File, Image, OpenEvent, Process};
use atalaya_policy::{Rule, RuleSet, Scratch};
use atalaya_secl::model::{EventView, Value};
use atalaya_secl::{VariableId, Variables};
use proptest::prelude::*;

/// Values that change whenever a rule matches.
#[derive(Debug, Clone, Default)]
struct Changing {
    matched: i64,
    last: String,
}

impl Variables for Changing {
    fn get(&self, id: VariableId, _: &dyn EventView) -> Value<'_> {
        // As the rules below declare them.
        match id.0 {
            0 => Value::Int(self.matched),
            _ => Value::Str(self.last.as_str().into()),
        }
    }
}

impl Changing {
    fn change(&mut self, rule: &Rule) {
        self.matched += 1;
        self.last.clone_from(&rule.id);
    }
}

fn both(rules: &RuleSet, event: &Event, scratch: &mut Scratch) -> (Vec<String>, Vec<String>) {
    let event_type = event.event_type();
    let mut variables = Changing::default();
    let mut indexed = Vec::new();
    let any = rules.evaluate(
        event_type,
        event,
        world::NOW,
        &mut variables,
        scratch,
        |variables, rule| {
            variables.change(rule);
            indexed.push(rule.id.clone());
        },
    );
    assert_eq!(any, !indexed.is_empty());
    let mut variables = Changing::default();
    let mut linear = Vec::new();
    rules.evaluate_linear(
        event_type,
        event,
        world::NOW,
        &mut variables,
        |variables, rule| {
            variables.change(rule);
            linear.push(rule.id.clone());
        },
    );
    (indexed, linear)
}

const WORDS: [&str; 12] = [
    "sh", "bash", "cat", "c", "tmp", "etc", "shadow", "x.conf", ".ssh", "id_rsa", "a-b", "é",
];

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 0..4).prop_map(|words| match words.len() {
        0 => String::new(),
        _ => format!("/{}", words.join("/")),
    })
}

/// A path, or a pattern of paths.
fn path_literal() -> impl Strategy<Value = String> {
    prop_oneof![
        path().prop_map(|path| format!("\"{path}\"")),
        (path(), 0..6).prop_map(|(path, shape)| {
            let path = if path.is_empty() {
                "/tmp".to_owned()
            } else {
                path
            };
            let (head, tail) = path.rsplit_once('/').unwrap();
            match shape {
                0 => format!("~\"{path}/*\""),
                1 => format!("~\"{path}/**\""),
                2 => format!("~\"{head}/*{tail}\""),
                3 => format!("~\"{path}*\""),
                4 => format!("~\"/*{path}\""),
                _ => format!("~\"*{path}\""),
            }
        }),
        (path(), word()).prop_map(|(path, word)| format!("~\"{path}/**/{word}\"")),
    ]
}

/// A text, or a pattern of texts.
fn text_literal() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => word().prop_map(|word| format!("\"{word}\"")),
        1 => Just("\"\"".to_owned()),
        2 => (word(), 0..6).prop_map(|(word, shape)| match shape {
            0 => format!("~\"*{word}\""),
            1 => format!("~\"{word}*\""),
            2 => format!("~\"*{word}*\""),
            3 => format!("~\"{}*{word}\"", word.chars().next().unwrap()),
            4 => format!("r\"^({word}|c)[a-t]*$\""),
            _ => format!("r\"({word}|cat) ?\""),
        }),
    ]
}

fn compare(
    field: &'static [&'static str],
    literal: BoxedStrategy<String>,
) -> BoxedStrategy<String> {
    let field = prop::sample::select(field.to_vec());
    prop_oneof![
        (field.clone(), literal.clone())
            .prop_map(|(field, literal)| format!("{field} == {literal}")),
        (field.clone(), literal.clone())
            .prop_map(|(field, literal)| format!("{field} != {literal}")),
        (
            field.clone(),
            prop::collection::vec(literal.clone(), 1..5),
            any::<bool>()
        )
            .prop_map(|(field, literals, not)| {
                let op = if not { "not in" } else { "in" };
                format!("{field} {op} [{}]", literals.join(", "))
            }),
    ]
    .boxed()
}

/// One comparison that any event can be asked.
fn common() -> BoxedStrategy<String> {
    let number = prop::sample::select(vec!["0", "1", "2", "3", "1000"]);
    prop_oneof![
        4 => compare(
            &["process.file.path", "process.parent.file.path", "process.ancestors.file.path"],
            path_literal().boxed(),
        ),
        4 => compare(
            &["process.file.name", "process.comm", "process.parent.file.name", "process.ancestors.file.name",
              "process.args", "process.argv", "process.args_flags", "process.envs", "process.container.id",
              "process.file.extension"],
            text_literal().boxed(),
        ),
        2 => (prop::sample::select(vec!["process.uid", "process.pid", "process.ancestors.pid", "process.file.mode"]),
              prop::sample::select(vec!["==", "!=", ">", ">=", "<"]), number.clone())
            .prop_map(|(field, op, number)| format!("{field} {op} {number}")),
        1 => (prop::sample::select(vec!["process.uid", "process.file.mode"]), 1..8,
              prop::sample::select(vec!["> 0", "!= 0", "== 2", "== 0"]))
            .prop_map(|(field, mask, compared)| format!("{field} & {mask} {compared}")),
        1 => number.clone().prop_map(|number| format!("process.pid in [{number}, 2, 77]")),
        1 => Just("process.is_thread".to_owned()),
        1 => Just("process.is_thread == false".to_owned()),
        1 => Just("process.file.name == process.comm".to_owned()),
        1 => number.clone().prop_map(|number| format!("process.file.path.length > {number}")),
        1 => number.prop_map(|number| format!("${{count}} < {number}")),
        1 => (0..9).prop_map(|rule| format!("${{last}} == \"r{rule}\"")),
        1 => (0..4).prop_map(|count| format!("${{count}} == {count}")),
        1 => Just("${last} in [\"\", ~\"r*\"]".to_owned()),
        1 => word().prop_map(|word| format!("process.created_at < 10m && process.comm != \"{word}\"")),
    ]
    .boxed()
}

fn condition(own: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![common(), own]
        .prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4)
                    .prop_map(|terms| format!("({})", terms.join(" && "))),
                prop::collection::vec(inner.clone(), 2..4)
                    .prop_map(|terms| format!("({})", terms.join(" || "))),
                inner.prop_map(|inner| format!("!({inner})")),
            ]
        })
        .boxed()
}

/// A rule about exec or open events.
fn rule() -> BoxedStrategy<String> {
    let exec = prop_oneof![
        compare(&["exec.file.path"], path_literal().boxed()),
        compare(
            &[
                "exec.file.name",
                "exec.syscall.path",
                "exec.args",
                "exec.argv",
                "exec.args_options"
            ],
            text_literal().boxed()
        ),
    ]
    .boxed();
    let flags = prop::sample::select(vec![
        "open.flags & 3 > 0",
        "open.flags & 66 == 64",
        "open.flags == 2",
        "open.flags in [1, 2]",
        "open.flags != 0",
    ]);
    let open = prop_oneof![
        2 => compare(&["open.file.path"], path_literal().boxed()),
        1 => compare(&["open.file.name"], text_literal().boxed()),
        1 => flags.prop_map(str::to_owned),
        1 => Just("open.file.path == process.file.path".to_owned()),
    ]
    .boxed();
    let register = (text_literal(), 0..3u32).prop_map(|(literal, uid)| {
        format!("process.ancestors[A].file.name == {literal} && process.ancestors[A].uid == {uid} && exec.comm != \"x\"")
    });
    prop_oneof![
        4 => (exec.clone(), condition(exec)).prop_map(|(one, more)| format!("{one} && {more}")),
        4 => (open.clone(), condition(open)).prop_map(|(one, more)| format!("{more} || {one}")),
        1 => register,
    ]
    .boxed()
}

fn policy(rules: &[String]) -> String {
    let mut text = "rules:\n".to_owned();
    for (at, rule) in rules.iter().enumerate() {
        let _ = write!(text, "  - id: r{at}\n    expression: '{rule}'\n");
    }
    // Declares the variables, in the order of their ids.
    text.push_str(
        "  - id: declares\n    expression: open.flags == 12345 && exec_not_read == 0\n    disabled: true\n\
         \x20 - id: variables\n    expression: open.flags == 12345\n    actions:\n\
         \x20     - set: {name: count, value: 0}\n      - set: {name: last, value: \"\"}\n",
    );
    text
}

/// A process below up to four others.
fn process() -> impl Strategy<Value = Arc<Process>> {
    let one = (
        (
            path(),
            path(),
            word(),
            prop::collection::vec(
                prop_oneof![
                    word(),
                    word().prop_map(|w| format!("-{w}")),
                    word().prop_map(|w| format!("--{w}=c"))
                ],
                0..4,
            ),
        ),
        (
            prop::collection::vec(word().prop_map(|word| format!("{word}=x")), 0..3),
            0..3u32,
            0..8u16,
            any::<bool>(),
            any::<bool>(),
        ),
    );
    prop::collection::vec(one, 1..5).prop_map(|nodes| {
        let mut last: Option<Arc<Process>> = None;
        for (pid, ((path, filename, comm, argv), (envp, uid, mode, is_thread, contained))) in
            (1..).zip(nodes)
        {
            let mut process = Process {
                pid,
                comm: comm.as_str().into(),
                is_thread,
                fork_time: world::NOW - u64::from(uid) * 360_000_000_000,
                image: Arc::new(Image {
                    file: File {
                        path,
                        mode,
                        known: true,
                        ..File::default()
                    },
                    filename,
                    cwd: "/tmp".to_owned(),
                    argv,
                    envp,
                    ..Image::default()
                }),
                container: contained.then(|| {
                    Arc::new(Container {
                        id: "c".to_owned(),
                        ..Container::default()
                    })
                }),
                ..Process::default()
            };
            process.creds.uid = uid;
            process.set_parent(last.take());
            last = Some(Arc::new(process));
        }
        last.unwrap()
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (process(), path()).prop_map(|(process, syscall_path)| {
            world::event(
                process,
                EventData::Exec(ExecEvent {
                    syscall_path,
                    ..ExecEvent::default()
                }),
            )
        }),
        (
            process(),
            path(),
            prop::sample::select(vec![0u32, 1, 2, 64, 66, 577])
        )
            .prop_map(|(process, path, flags)| {
                let file = File {
                    path,
                    known: true,
                    ..File::default()
                };
                world::event(
                    process,
                    EventData::Open(OpenEvent {
                        file,
                        flags,
                        ..OpenEvent::default()
                    }),
                )
            }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn random_rules_and_events(
        rules in prop::collection::vec(rule(), 1..30),
        events in prop::collection::vec(event(), 1..20),
    ) {
        let (set, report) = world::load_text(&policy(&rules));
        // What the rules are made of must be right, or nothing is tested.
        prop_assert!(set.rules().len() > rules.len(), "{report}");
        let mut scratch = Scratch::default();
        for event in &events {
            let (indexed, linear) = both(&set, event, &mut scratch);
            prop_assert_eq!(&indexed, &linear);
            // What matches must have been let through by the kernel, where it knew the path.
            if let EventData::Open(open) = &event.data
                && !open.file.path.is_empty()
                && !linear.is_empty()
            {
                let approvers = set.approvers("open");
                prop_assert!(approvers.accepts(&[&open.file.path], open.flags), "{linear:?}");
            }
            for rule in set.rules_for(event.event_type()) {
                if let Some(key) = set.explain(&rule.id).unwrap().index {
                    prop_assert!(!key.is_empty() || !linear.contains(&rule.id));
                }
            }
        }
    }
}

/// Events that come near to what the rules are about: paths, names and arguments taken from the rules themselves.
#[test]
fn real_policies_on_events_made_of_their_own_words() {
    let mut policies = vec![world::shipped_policy()];
    policies.extend(world::reference_policy());
    let mut scratch = Scratch::default();
    for policy in policies {
        let text = std::fs::read_to_string(&policy).unwrap();
        let (rules, _) = world::load_text(&text);
        let mut words: Vec<&str> = text
            .split(['"', '\n'])
            .filter(|word| !word.is_empty() && word.len() < 60 && !word.starts_with(' '))
            .collect();
        words.sort_unstable();
        words.dedup();
        let words: Vec<String> = words
            .iter()
            .map(|word| word.replace("**", "a/b").replace('*', "x"))
            .collect();
        let mut matches = 0;
        for (at, word) in words.iter().enumerate() {
            let other = &words[(at * 7919 + 13) % words.len()];
            let path = if word.starts_with('/') {
                word.clone()
            } else {
                format!("/usr/bin/{word}")
            };
            let events = [
                world::exec(&path, &[word, other, "-c", &format!("--{other}=1")]),
                world::exec(
                    "/usr/bin/bash",
                    &["bash", "-c", &format!(" {word} {other} ")],
                ),
                world::open(&path, 0o101),
                world::open(&format!("/tmp/{other}"), 0),
            ];
            for event in events {
                let (indexed, linear) = both(&rules, &event, &mut scratch);
                assert_eq!(indexed, linear, "{word} {other}");
                matches += linear.len();
            }
        }
        println!(
            "{}: {} words, {matches} matches",
            policy.display(),
            words.len()
        );
        assert!(matches > 50);
    }
}
