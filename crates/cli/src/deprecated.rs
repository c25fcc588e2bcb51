//! Commands by their former names. They do what they always did, and say what they are called now.

use std::ffi::OsString;

/// The former words, and the words that they stand for.
const FORMER: &[(&[&str], &[&str])] = &[
    (&["check-policies"], &["runtime", "policy", "check"]),
    (&["reload"], &["runtime", "policy", "reload"]),
    (&["self-test"], &["runtime", "self-test"]),
    (&["process-cache"], &["runtime", "process-cache"]),
    (&["network-namespace"], &["runtime", "network-namespace"]),
    (&["discarders"], &["runtime", "discarders"]),
    (&["download"], &["runtime", "policy", "download"]),
    (
        &["runtime", "check-policies"],
        &["runtime", "policy", "check"],
    ),
    (&["runtime", "reload"], &["runtime", "policy", "reload"]),
    (&["runtime", "download"], &["runtime", "policy", "download"]),
];

/// Flags before a command that take a value of their own.
const WITH_VALUE: &[&str] = &["-c", "--cfgpath", "--config", "--sysprobe-config"];

/// The arguments of this process, with today's names of commands. A notice goes to stderr where there was a former one.
pub fn arguments() -> Vec<OsString> {
    let (arguments, notice) = translate(std::env::args_os().collect());
    if let Some(notice) = notice {
        eprintln!("{notice}");
    }
    arguments
}

fn translate(arguments: Vec<OsString>) -> (Vec<OsString>, Option<String>) {
    let words = words(&arguments);
    let is_it = |former: &&[&str]| {
        words.len() >= former.len()
            && former
                .iter()
                .zip(&words)
                .all(|(word, at)| arguments[*at] == **word)
    };
    // The longest first: `runtime reload` is no `runtime`.
    let mut known = FORMER.iter().filter(|(former, _)| is_it(former));
    let Some((former, now)) = known.next() else {
        return (arguments, None);
    };
    let (first, last) = (words[0], words[former.len() - 1]);
    let mut translated = arguments[..first].to_vec();
    translated.extend(now.iter().map(OsString::from));
    // Flags between the words stay.
    translated.extend(
        (first..last)
            .filter(|at| !words[..former.len()].contains(at))
            .map(|at| arguments[at].clone()),
    );
    translated.extend_from_slice(&arguments[last + 1..]);
    let notice = format!(
        "Command \"{}\" is deprecated, please use \"{}\" instead",
        former.join(" "),
        now.join(" ")
    );
    (translated, Some(notice))
}

/// Where the names of commands are: the first two words that are neither flags nor their values.
fn words(arguments: &[OsString]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 1;
    while at < arguments.len() && found.len() < 2 {
        let word = arguments[at].to_string_lossy();
        if word == "--" {
            break;
        }
        if WITH_VALUE.contains(&&*word) {
            at += 1;
        } else if !word.starts_with('-') {
            found.push(at);
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(line: &str) -> (String, Option<String>) {
        let (words, notice) = translate(line.split(' ').map(OsString::from).collect());
        let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
        (words.join(" "), notice)
    }

    #[test]
    fn former_names_are_translated_and_today_s_are_left_alone() {
        for (former, today, named) in [
            (
                "x check-policies",
                "x runtime policy check",
                "check-policies",
            ),
            (
                "x -c f check-policies --json",
                "x -c f runtime policy check --json",
                "check-policies",
            ),
            (
                "x runtime reload -v",
                "x runtime policy reload -v",
                "runtime reload",
            ),
            (
                "x runtime -c f reload",
                "x runtime policy reload -c f",
                "runtime reload",
            ),
            ("x self-test", "x runtime self-test", "self-test"),
        ] {
            let (words, notice) = now(former);
            assert_eq!(words, today);
            let begin = format!("Command \"{named}\" is deprecated, please use \"runtime ");
            assert!(notice.is_some_and(|n| n.starts_with(&begin)), "{former}");
        }
        for line in [
            "x",
            "x status",
            "x runtime policy reload",
            "x runtime self-test",
            "x -c reload status",
            "x config reload",
        ] {
            assert_eq!(now(line), (line.to_owned(), None));
        }
    }
}
