//! What a run tells the matrix of events, kernels and tiers (`cargo xtask vmtest`): lines that go past libtest's capture.
//!
//! * `SEEN: TEST: TYPE`: an event of this type came as the test expected it, as far as the harness can tell;
//! * `UNSEEN: TEST: TYPE`: the test waited for one in vain;
//! * `EVENT: TYPE: available` and `EVENT: TYPE: unavailable: REASON`: what the running probe says of this kernel and tier.
//!
//! The last SEEN or UNSEEN line of a test that fails is the type that the failure counts for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write;

thread_local! {
    /// The event types of the rules that the running test has declared: a test has a thread of its own.
    static RULES: RefCell<HashMap<String, String>> = RefCell::default();
    static LAST: RefCell<String> = RefCell::default();
}

/// Remembers which type of event a rule is about: the expression's first word that is a type's field (`open.file.path`).
pub(crate) fn declare(rule: &str, expression: &str) {
    if let Some(kind) = event_type(expression) {
        RULES.with_borrow_mut(|rules| rules.insert(rule.to_owned(), kind.to_owned()));
    }
}

/// Says that an event of this type was seen.
pub(crate) fn seen(kind: &str) {
    say("SEEN", kind);
}

/// Says that no event of this rule was seen.
pub(crate) fn unseen(rule: &str) {
    if let Some(kind) = RULES.with_borrow(|rules| rules.get(rule).cloned()) {
        say("UNSEEN", &kind);
    }
}

/// Says whether the running probe can see events of a type, and why not.
pub fn tell_event(kind: &str, unavailable: Option<&str>) {
    match unavailable {
        None => raw(&format!("EVENT: {kind}: available")),
        Some(why) => raw(&format!("EVENT: {kind}: unavailable: {why}")),
    }
}

fn say(what: &str, kind: &str) {
    let thread = std::thread::current();
    let Some(test) = thread.name().filter(|_| !kind.is_empty()) else {
        return;
    };
    let line = format!("{what}: {test}: {kind}");
    if LAST.with_borrow_mut(|last| std::mem::replace(last, line.clone())) != line {
        raw(&line);
    }
}

/// One write a line, so that those of tests side by side do not mix.
fn raw(line: &str) {
    let line = line.replace('\n', " ");
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Fields of every event, and of none in particular.
const COMMON: [&str; 6] = [
    "process",
    "event",
    "container",
    "cgroup",
    "network",
    "variables",
];

fn event_type(expression: &str) -> Option<&str> {
    let mut quoted = false;
    for (number, part) in expression.split('"').enumerate() {
        quoted = number % 2 == 1;
        if quoted {
            continue;
        }
        let words = part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
        for word in words {
            if let Some((kind, field)) = word.split_once('.')
                && !field.is_empty()
                && kind.starts_with(|c: char| c.is_ascii_lowercase())
                && !COMMON.contains(&kind)
            {
                return Some(kind);
            }
        }
    }
    debug_assert!(!quoted, "a string that does not end: {expression}");
    None
}

#[cfg(test)]
mod tests {
    use super::event_type;

    #[test]
    fn the_type_of_a_rule_is_that_of_its_first_field() {
        for (expression, kind) in [
            (r#"open.file.path == "/a/exec.b""#, Some("open")),
            (
                r#"process.file.name == "x" && bind.addr.port == 1"#,
                Some("bind"),
            ),
            (r#"process.comm == "setuid.x""#, None),
            (
                r#"cgroup.id != "" && load_module.name == "m""#,
                Some("load_module"),
            ),
            (
                r"${process.variable} == 1 && (mmap.flags > 0)",
                Some("mmap"),
            ),
        ] {
            assert_eq!(event_type(expression), kind, "{expression}");
        }
    }
}
