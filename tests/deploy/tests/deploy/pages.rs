//! The commands of pages, as they stand there. What each must answer is here; a command that nobody has thought of fails the test.

use std::collections::BTreeSet;

use atalaya_deploy::{Block, blocks, commands, render_values};

/// What came of a command.
pub(crate) struct Outcome {
    pub(crate) success: bool,
    /// Both streams.
    pub(crate) text: String,
}

/// Runs the commands of those blocks of a page, and holds each answer against what it must be.
pub(crate) fn check(
    page: &str,
    which: impl Fn(&Block) -> bool,
    run: impl Fn(&Block, &str) -> Outcome,
) {
    let mut ran = 0;
    for block in blocks(page)
        .iter()
        .filter(|b| b.language == "sh" && which(b))
    {
        for command in commands(block) {
            let mut line = command
                .replace("<CASE_ID>", "12345")
                .replace("<POD_NAME>", "atalaya-x1");
            if block.place.ends_with("live") {
                // It would go on for ever.
                line = format!("timeout --signal INT 4 {line}");
            }
            if line.contains("events search") {
                // An event can be found about a second after it happened.
                std::thread::sleep(std::time::Duration::from_secs(2));
            }
            let outcome = run(block, &line);
            let at = format!("{page}:{}: {command}", block.line);
            expect(&at, block, &command, &outcome);
            ran += 1;
        }
    }
    assert!(ran > 0, "{page}: no command was run");
}

fn expect(at: &str, block: &Block, command: &str, outcome: &Outcome) {
    let Outcome { success, text } = outcome;
    let said = |what: &str| assert!(text.contains(what), "{at}: no `{what}` in:\n{text}");
    let well = || assert!(success, "{at}:\n{text}");
    if block.place.ends_with("live") {
        // Ended by the test: nothing else may be wrong.
        assert!(!text.contains("Error"), "{at}:\n{text}");
    } else if block.place.ends_with("doctor") {
        // 1: somebody should do something, which is no failure of the command.
        assert!(!text.contains("Error:"), "{at}:\n{text}");
        assert!(!text.trim().is_empty(), "{at}: no answer");
    } else if command.contains("runtime self-test") {
        well();
        assert!(
            text.lines().any(|line| line == "Runtime self test: OK"),
            "{at}:\n{text}"
        );
    } else if command.contains("events search") {
        well();
        said("self_test_rule_open");
    } else if command.ends_with("status") {
        well();
        said("healthy");
    } else if command.contains(" flare") {
        well();
        said("[y/N]");
        said("Aborting. (You can still use ");
        assert!(
            !text.contains("Initiating flare locally"),
            "{at}: not all of it:\n{text}"
        );
    } else if command.contains("policy check")
        || command.contains("policy reload")
        || command.contains("systemctl reload")
    {
        well();
    } else {
        panic!("{at}: what it must answer is not known to the test");
    }
}

const TROUBLESHOOTING: [&str; 2] = ["docs/troubleshooting.md", "docs/es/troubleshooting.md"];

#[test]
fn both_languages_have_the_same_blocks_in_the_same_order() {
    let [english, spanish] = TROUBLESHOOTING.map(|page| {
        blocks(page)
            .into_iter()
            .map(|block| (block.language, block.place, block.text))
            .collect::<Vec<_>>()
    });
    assert!(english.len() > 15);
    assert_eq!(english, spanish);
}

#[test]
fn every_command_is_there_for_host_docker_and_kubernetes() {
    let tail = |command: &str| {
        let begin = ["security-agent ", "system-probe "]
            .into_iter()
            .filter_map(|program| command.rfind(program).map(|at| at + program.len()))
            .max();
        begin.map(|at| command[at..].trim().to_owned())
    };
    let forms = ["host", "docker", "kubernetes"].map(|place| {
        blocks(TROUBLESHOOTING[0])
            .iter()
            .filter(|b| b.language == "sh" && b.place.starts_with(place))
            .flat_map(commands)
            .filter(|command| !command.contains("systemctl"))
            .filter_map(|command| tail(&command))
            .collect::<BTreeSet<_>>()
    });
    assert!(forms[0].len() >= 6, "{forms:?}");
    assert_eq!(forms[0], forms[1]);
    assert_eq!(forms[0], forms[2]);
}

/// The values of all pages are values of the chart, and those that turn the network off do.
#[test]
fn the_values_of_the_pages_do_what_they_say() {
    for page in ["docs/install.md", TROUBLESHOOTING[0], TROUBLESHOOTING[1]] {
        let found = blocks(page);
        let values: Vec<_> = found.iter().filter(|b| b.place == "helm").collect();
        assert!(!values.is_empty(), "{page}");
        for block in values {
            let Some(rendered) = render_values("1.31", &block.text) else {
                return;
            };
            let documents = rendered.unwrap_or_else(|why| panic!("{page}:{}: {why}", block.line));
            let text = serde_json::to_string(&documents).unwrap();
            let off = r#"{"name":"DD_RUNTIME_SECURITY_CONFIG_NETWORK_ENABLED","value":"false"}"#;
            let asked = block.text.contains("enabled: false");
            assert_eq!(text.contains(off), asked, "{page}:{}", block.line);
        }
    }
}
