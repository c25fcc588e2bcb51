//! The live views: `runtime top`, `tail`, `tree`, `why`, on what really happens.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use atalaya_e2e::{Agent, Probe, Setup, program, slow, wait_for};
use serde_json::Value;

use crate::status::while_opening;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn top_tells_who_opens_files() {
    let probe = Setup::new()
        .rule("top_rule", "open.file.path == \"{work}/top\"")
        .start();
    let path = probe.path("top");
    std::fs::write(&path, "").unwrap();
    let top = |arguments: &[&str]| -> Value {
        let arguments = [&["runtime", "top", "--interval", "1", "--json"], arguments].concat();
        let (good, text, error) = probe.agent(&arguments);
        assert!(good, "{error}");
        json(text.lines().last().unwrap_or_default())
    };
    let found = while_opening(&path, || {
        wait_for(slow(Duration::from_secs(20)), || {
            let top = top(&[]);
            let own = top["processes"]
                .as_array()?
                .iter()
                .find(|row| row["pid"] == std::process::id())?
                .clone();
            // Costs come from samples; which second has one is chance.
            let kinds = top["event_types"].as_array()?;
            let opens = kinds.iter().find(|row| row["event_type"] == "open")?;
            let rules = top["rules"].as_array()?;
            let rule = rules.iter().find(|row| row["id"] == "top_rule")?;
            let measured = own["cost_ns"].as_u64()? > 0
                && opens["cost_ns"].as_u64()? > 0
                && rule["cost_ns"].as_u64()? > 0;
            measured.then(|| (top.clone(), own, rule.clone()))
        })
    });
    let (all, own, rule) = found.expect("this process is in the list, with its cost");
    assert!(own["events"].as_u64().unwrap() > 50, "{own}");
    assert_eq!(own["types"][0]["event_type"], "open", "{own}");
    assert!(rule["matches"].as_u64().unwrap() > 50, "{rule}");
    assert_eq!(all["cost"]["error"], "", "{all:#}");
    assert_ne!(
        all["cost"]["programs"].as_array().unwrap().len(),
        0,
        "{all:#}"
    );

    let by_program = while_opening(&path, || top(&["--by", "program"]));
    let this = std::env::current_exe().unwrap().canonicalize().unwrap();
    let rows = by_program["processes"].as_array().unwrap();
    assert!(
        rows.iter()
            .any(|row| row["path"] == *this.to_string_lossy()),
        "{by_program:#}"
    );
    let (good, page, _) = probe.agent(&["runtime", "top", "--interval", "1"]);
    assert!(
        good && page.contains("EVENTS/s") && page.contains("RULE"),
        "{page}"
    );
    let (good, _, error) = probe.agent(&["runtime", "top", "--interval", "99"]);
    assert!(!good && error.contains("99"), "{error}");
}

/// Runs `runtime tail`, does something again and again, and gives what it printed when it has ended by itself.
fn tail(probe: &Probe, arguments: &[&str], act: impl Fn()) -> String {
    let mut tail = probe
        .agent_command(&[&["runtime", "tail"], arguments].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = wait_for(slow(Duration::from_secs(20)), || {
        act();
        std::thread::sleep(Duration::from_millis(50));
        tail.try_wait().unwrap()
    });
    if ended.is_none() {
        let _ = tail.kill();
    }
    let output = tail.wait_with_output().unwrap();
    assert!(ended.is_some(), "tail did not end: {output:?}");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tail_filters_in_the_rule_language_and_why_explains() {
    let setup = Setup::new();
    let [a, b] = ["live-a", "live-b"].map(|name| setup.work().join(name));
    // Before there is a probe: making them is an open as well, and its event may come late.
    for path in [&a, &b] {
        std::fs::write(path, "").unwrap();
    }
    let [a, b] = [a, b].map(|path| path.to_string_lossy().into_owned());
    let probe = setup
        .rule(
            "live_rule",
            "open.file.path in [\"{work}/live-a\", \"{work}/live-b\"] && (process.uid == 0 || process.uid == 12345)",
        )
        .start();
    let agent = Agent::start(&probe);
    let act = || {
        for path in [&a, &b] {
            let _ = Command::new("cat").arg(path).output();
        }
    };
    let filter = format!("open.file.path == \"{b}\" && process.file.name != \"dog\"");
    let text = tail(&probe, &["--filter", &filter, "--count", "3"], act);
    let events: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("live_rule"))
        .collect();
    assert_eq!(events.len(), 3, "{text}");
    assert!(events.iter().all(|line| line.contains(&b)), "{text}");
    assert!(!text.contains(&a), "{text}");
    assert!(text.contains(" › cat("), "the lineage: {text}");
    // By number, from what security-agent has stored.
    let id = events[0].split('#').nth(1).unwrap();
    let id = id.split(' ').next().unwrap();
    let why = |arguments: &[&str]| probe.agent(&[&["runtime", "why"], arguments].concat());
    let explained = wait_for(slow(Duration::from_secs(10)), || {
        let (good, text, _) = why(&[id, "--json"]);
        good.then_some(text)
    });
    let explained = json(&explained.unwrap_or_else(|| panic!("{:?}\n{}", why(&[id]), agent.log())));
    assert_eq!(explained["rule_id"], "live_rule", "{explained:#}");
    assert!(explained["error"].is_null(), "{explained:#}");
    assert!(explained["note"].is_null(), "{explained:#}");
    let parts = explained["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2, "{explained:#}");
    assert!(
        parts.iter().all(|part| part["holds"] == true),
        "{explained:#}"
    );
    let path = parts
        .iter()
        .find_map(|part| part["values"].get("open.file.path"));
    assert_eq!(path.unwrap()[0], format!("\"{b}\""), "{explained:#}");
    let lineage = explained["lineage"].as_array().unwrap();
    assert_eq!(lineage.last().unwrap()["comm"], "cat", "{explained:#}");
    let pids: Vec<_> = lineage.iter().map(|link| &link["pid"]).collect();
    assert!(
        pids.iter().any(|pid| **pid == std::process::id()),
        "{explained:#}"
    );
    let (good, text, _) = why(&[id]);
    assert!(good && text.contains("because process.uid == 0"), "{text}");

    // A number that was never given, and a filter that makes no sense.
    let (good, _, error) = why(&["999999999"]);
    assert!(
        !good && error.contains("there is no event 999999999"),
        "{error}"
    );
    let (good, _, error) = probe.agent(&["runtime", "tail", "--filter", "open.file.pth == 1"]);
    assert!(!good && error.contains("--filter"), "{error}");
}

#[test]
fn tree_shows_ancestors_and_descendants_of_a_living_process() {
    let probe = Setup::new().start();
    let mut shell = Command::new("sh")
        .args(["-c", "sleep 100 & sleep 100 & echo ready; wait"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let pid = shell.id().to_string();
    let tree = |arguments: &[&str]| probe.agent(&[&["runtime", "tree"], arguments].concat());
    let shown = wait_for(slow(Duration::from_secs(10)), || {
        let (good, text, _) = tree(&[&pid]);
        (good && text.matches("sleep(").count() == 2).then_some(text)
    });
    let document = tree(&[&pid, "--json", "--args"]).1;
    let group = nix::unistd::Pid::from_raw(i32::try_from(shell.id()).unwrap());
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    let _ = shell.wait();
    let shown = shown.expect("the shell and its children");
    let own = format!("({})", std::process::id());
    assert!(shown.contains(&own), "{shown}");
    assert!(shown.contains(&format!("sh({pid})")), "{shown}");
    let line = |part: &str| shown.lines().position(|line| line.contains(part));
    assert!(line(&own) < line(&format!("sh({pid})")), "{shown}");
    assert!(line(&format!("sh({pid})")) < line("sleep("), "{shown}");
    let document = json(&document);
    let children = document["processes"].as_array().unwrap();
    let children = children.iter().filter(|one| one["parent"] == shell.id());
    let args: Vec<_> = children.map(|one| one["args"].clone()).collect();
    assert_eq!(args, ["sleep 100", "sleep 100"], "{document:#}");

    let (good, _, error) = tree(&["4194303"]);
    assert!(
        !good && error.contains("no process 4194303 is known"),
        "{error}"
    );
}

/// Who stops system-probe in the middle, or asks for nonsense, gets an error and not a page that hangs.
#[test]
fn top_on_a_probe_that_goes_away_ends() {
    let mut probe = Setup::new().start();
    let mut top = probe
        .agent_command(&["runtime", "top", "--interval", "10", "--count", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(probe.stop().is_some());
    let ended = wait_for(slow(Duration::from_secs(10)), || top.try_wait().unwrap());
    if ended.is_none() {
        let _ = top.kill();
    }
    let output = top.wait_with_output().unwrap();
    assert!(ended.is_some_and(|status| !status.success()), "{output:?}");
}

/// The words of a command line of the page, as a shell would split it.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Each command of docs/status.md is one that the programs know, with these arguments.
#[test]
fn the_commands_of_the_page_are_known() {
    let page = include_str!("../../../../docs/status.md");
    let mut known = 0;
    let blocks = page.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    for line in blocks.flat_map(str::lines) {
        let words = words(line);
        // It is parsed, and ends before it does anything.
        let output = Command::new(program(&words[0]))
            .args(["-c", "/nonexistent/e2e.yaml"])
            .args(&words[1..])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("/nonexistent/e2e.yaml"), "{line}: {error}");
        known += 1;
    }
    assert!(known >= 12, "{known}");
}
