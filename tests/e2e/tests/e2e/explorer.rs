//! The Log Explorer: what happens is found, by the command line and by the API; who may not ask is not answered; nothing is lost in a crash.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use atalaya_e2e::{Agent, Probe, Setup, slow, wait_for};
use serde_json::{Value, json};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A page in a browser: where it is, and its session.
struct Page {
    host: String,
    session: String,
}

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        json(&self.body)
    }
}

fn request(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(slow(Duration::from_secs(70))))
        .unwrap();
    let named = headers.iter().any(|(name, _)| *name == "Host");
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if !named {
        text.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{text}\r\n{body}").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Answer {
        code: head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// The address of the web page, in its parts.
fn address(probe: &Probe) -> (String, String) {
    let url = wait_for(slow(Duration::from_secs(15)), || {
        let (good, url, _) = probe.agent(&["explorer", "url"]);
        good.then_some(url)
    });
    let url = url.expect("the explorer answers");
    let rest = url.trim().strip_prefix("http://").expect("an address");
    let (host, token) = rest.split_once("/#token=").expect("a token");
    (host.to_owned(), token.to_owned())
}

impl Page {
    fn open(probe: &Probe) -> Self {
        let (host, token) = address(probe);
        let body = json!({"token": token}).to_string();
        let answer = request(
            &host,
            "POST",
            "/api/v1/session",
            &[("Content-Type", "application/json")],
            &body,
        );
        assert_eq!(answer.code, 200, "{}", answer.body);
        let session = answer.json()["session"].as_str().unwrap().to_owned();
        Self { host, session }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.session);
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        request(
            &self.host,
            method,
            &format!("/api/v1{path}"),
            &headers,
            body,
        )
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "");
        assert_eq!(answer.code, 200, "{path}: {}", answer.body);
        answer.json()
    }
}

/// The events that `events search` finds, once there are so many.
fn found(probe: &Probe, query: &str, count: usize) -> Vec<Value> {
    let search = || {
        let (good, text, error) =
            probe.agent(&["events", "search", query, "--json", "--limit", "1000"]);
        if !good {
            return Err(error);
        }
        Ok(text.lines().map(json).collect::<Vec<_>>())
    };
    let found = wait_for(slow(Duration::from_secs(20)), || {
        search().ok().filter(|events| events.len() >= count)
    });
    found.unwrap_or_else(|| panic!("{query}: {:?}\n{}", search(), probe.log()))
}

fn started(rule: &str) -> (Probe, Agent, String) {
    let setup = Setup::new().explorer().self_test();
    let path = setup.work().join(rule).to_string_lossy().into_owned();
    std::fs::write(&path, "").unwrap();
    let expression = format!("open.file.path == \"{path}\" && process.file.name == \"cat\"");
    let probe = setup.rule(rule, &expression).start();
    let agent = Agent::start(&probe);
    address(&probe);
    (probe, agent, path)
}

fn read(path: &str) {
    assert!(Command::new("cat").arg(path).status().unwrap().success());
}

#[test]
fn what_happens_is_found_in_the_terminal() {
    let (probe, _agent, path) = started("explorer_cli");
    for _ in 0..3 {
        read(&path);
    }
    let events = found(&probe, "rule_id:explorer_cli", 3);
    assert_eq!(events.len(), 3, "{events:#?}");
    assert_eq!(events[0]["message"]["file"]["path"], path.as_str());
    let id = events[0]["id"].as_str().unwrap();
    let run = |arguments: &[&str]| {
        let (good, text, error) = probe.agent(&[&["events"], arguments].concat());
        assert!(good, "{arguments:?}: {error}");
        text
    };
    // The same by words, by a path, in the rule language, and none by what it is not.
    let filter = format!("secl(\"open.file.path == \\\"{path}\\\"\")");
    for query in [
        "explorer_cli cat",
        "type:open comm:cat path:*explorer_cli",
        &filter,
        "last:1h NOT comm:dog explorer_cli type:open",
    ] {
        assert_eq!(run(&["search", query]).lines().count(), 3, "{query}");
    }
    assert_eq!(run(&["search", "explorer_cli AND comm:dog"]), "");
    assert_eq!(
        run(&["search", "rule_id:explorer_cli", "--limit", "1"])
            .lines()
            .count(),
        1
    );
    let shown = json(&run(&["show", id, "--json"]));
    assert_eq!(
        shown["document"]["message"]["agent"]["rule_id"],
        "explorer_cli"
    );
    assert!(run(&["show", id]).contains("\"evt\""));
    let facets = json(&run(&[
        "facets",
        "rule_id:explorer_cli",
        "--field",
        "comm",
        "--field",
        "type",
        "--json",
    ]));
    assert_eq!(
        facets["facets"][0]["values"],
        json!([{"value": "cat", "count": 3}]),
        "{facets:#}"
    );
    assert_eq!(
        facets["facets"][1]["values"],
        json!([{"value": "open", "count": 3}])
    );
    assert!(run(&["facets", "rule_id:explorer_cli"]).contains("Command (process.comm)"));
    let histogram = json(&run(&[
        "histogram",
        "rule_id:explorer_cli",
        "--since",
        "1h",
        "--json",
    ]));
    let counts = histogram["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 3);
    assert!(run(&["histogram"]).contains('█'));

    let fail = |arguments: &[&str]| {
        let (good, _, error) = probe.agent(&[&["events"], arguments].concat());
        assert!(!good, "{arguments:?}");
        error
    };
    let error = fail(&["search", "a (b"]);
    assert!(
        error.contains("never closed") && error.contains("\n    ^"),
        "{error}"
    );
    assert!(fail(&["search", "secl(\"open.file.pth == 1\")"]).contains("open.file.path"));
    assert!(fail(&["search", "x", "--since", "soon"]).contains("--since"));
    assert!(fail(&["show", "01234567-999999999"]).contains("there is no event"));
}

#[test]
fn follow_shows_what_comes() {
    let (probe, _agent, path) = started("explorer_follow");
    let mut following = probe
        .agent_command(&[
            "events",
            "search",
            "rule_id:explorer_follow",
            "--json",
            "--follow",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let (send, received) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let line = wait_for(slow(Duration::from_secs(20)), || {
        read(&path);
        received.recv_timeout(Duration::from_millis(300)).ok()
    });
    let _ = following.kill();
    let _ = following.wait();
    let event = json(&line.expect("an event"));
    assert_eq!(event["message"]["agent"]["rule_id"], "explorer_follow");
    drop(received);
    let _ = reader.join();
}

#[test]
fn who_has_no_session_or_comes_from_another_page_gets_nothing() {
    let (probe, _agent, _) = started("explorer_guard");
    let (host, token) = address(&probe);
    let bare = |path: &str| request(&host, "GET", path, &[], "");
    // The page has no data in it, and is all that is given to anybody.
    let page = bare("/");
    assert_eq!(page.code, 200);
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'"),
        "{}",
        page.head
    );
    for path in [
        "/events",
        "/facets",
        "/timeline",
        "/tail",
        "/rules",
        "/status",
        "/health",
        "/doctor",
        "/views",
        "/nothing",
    ] {
        let answer = bare(&format!("/api/v1{path}"));
        assert_eq!(answer.code, 401, "{path}: {}", answer.body);
        assert!(answer.body.contains("explorer url"), "{}", answer.body);
    }
    // Making tokens is for who can open the unix socket.
    assert_ne!(request(&host, "POST", "/api/v1/token", &[], "").code, 200);
    let body = json!({"token": token}).to_string();
    let kind = ("Content-Type", "application/json");
    for strange in [
        ("Host", "evil.example:80"),
        ("Origin", "http://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        let answer = request(&host, "POST", "/api/v1/session", &[kind, strange], &body);
        assert_eq!(answer.code, 403, "{strange:?}: {}", answer.body);
    }
    let begin = || request(&host, "POST", "/api/v1/session", &[kind], &body);
    let session = begin().json()["session"].as_str().unwrap().to_owned();
    assert_eq!(begin().code, 401, "a token is for one use");
    let page = Page { host, session };
    assert_eq!(page.ask("GET", "/events", "").code, 200);
    let bearer = format!("Bearer {}", page.session);
    let strange = [("Authorization", bearer.as_str()), ("Host", "evil.example")];
    assert_eq!(
        request(&page.host, "GET", "/api/v1/events", &strange, "").code,
        403
    );
    assert_eq!(page.ask("DELETE", "/session", "").code, 204);
    assert_eq!(page.ask("GET", "/events", "").code, 401);
    // Nobody but root and the agent's own user on the unix socket, whatever its mode says.
    let socket = probe.dir().join("explorer/explorer.sock");
    let open = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    open(&probe.dir().join("explorer"));
    open(&socket);
    let asked = std::os::unix::process::CommandExt::uid(
        &mut probe.agent_command(&["explorer", "url"]),
        12345,
    )
    .output()
    .unwrap();
    let error = String::from_utf8_lossy(&asked.stderr);
    assert!(
        !asked.status.success() && error.contains("only for root"),
        "{error}"
    );
}

#[test]
fn the_api_is_what_its_description_says() {
    let (probe, _agent, path) = started("explorer_api");
    read(&path);
    let id = found(&probe, "rule_id:explorer_api", 1)[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = Page::open(&probe);
    let described = page.get("/openapi.json");
    let view = page
        .ask(
            "POST",
            "/views",
            &json!({"name": "mine", "query": "type:open", "range": "1h"}).to_string(),
        )
        .json();
    let mut asked = 0;
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // The session is needed for the others; tokens are not for browsers; a stream has no end.
            if matches!(path.as_str(), "/session" | "/token" | "/tail") {
                continue;
            }
            let id = if path.starts_with("/views") {
                view["id"].to_string()
            } else {
                id.clone()
            };
            let body = if path == "/views" && method == "post" {
                "{\"name\":\"other\"}"
            } else {
                ""
            };
            let answer = page.ask(&method.to_uppercase(), &path.replace("{id}", &id), body);
            let expected = operation["responses"]
                .as_object()
                .unwrap()
                .keys()
                .next()
                .unwrap();
            assert_eq!(
                answer.code.to_string(),
                *expected,
                "{method} {path}: {}",
                answer.body
            );
            let schema = &operation["responses"][expected]["content"]["application/json"]["schema"];
            if schema.is_object() {
                let mut whole = schema.clone();
                whole["components"] = described["components"].clone();
                let validator = jsonschema::validator_for(&whole).unwrap();
                let value = answer.json();
                let errors: Vec<String> = validator
                    .iter_errors(&value)
                    .map(|e| format!("{} at {}", e, e.instance_path()))
                    .collect();
                assert!(errors.is_empty(), "{method} {path}: {errors:?}\n{value:#}");
            }
            asked += 1;
        }
    }
    assert!(asked >= 17, "{asked}");
    for (path, code) in [
        ("/events?limit=0", 400),
        ("/events?from=x", 400),
        ("/events?cursor=zz", 400),
        ("/events/nothing-1", 404),
        ("/nothing", 404),
    ] {
        let answer = page.ask("GET", path, "");
        assert_eq!(answer.code, code, "{path}: {}", answer.body);
        assert!(
            answer.json()["error"]["message"].is_string(),
            "{}",
            answer.body
        );
    }
    let wrong = page.ask("GET", "/events?query=a%20%28b", "").json();
    assert_eq!(
        wrong["error"]["position"],
        json!({"start": 2, "end": 3}),
        "{wrong}"
    );
}

#[test]
fn a_rule_an_event_its_processes_and_a_self_test_are_seen() {
    let (probe, _agent, path) = started("explorer_seen");
    read(&path);
    let id = found(&probe, "rule_id:explorer_seen", 1)[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = Page::open(&probe);
    let tree = page.get(&format!("/events/{id}/tree"));
    let own = std::process::id();
    assert!(
        tree["path"].as_array().unwrap().contains(&json!(own)),
        "{tree:#}"
    );
    let nodes = tree["nodes"].as_array().unwrap();
    let node = |pid: &Value| {
        nodes
            .iter()
            .find(|node| node["pid"] == *pid)
            .unwrap_or_else(|| panic!("{pid}: {tree:#}"))
    };
    let last = node(tree["path"].as_array().unwrap().last().unwrap());
    assert_eq!(
        (&last["comm"], &last["is_event_process"], &last["ppid"]),
        (&json!("cat"), &json!(true), &json!(own)),
        "{tree:#}"
    );
    assert_eq!(
        (&tree["live"], &node(&json!(own))["alive"]),
        (&json!(true), &json!(true)),
        "{tree:#}"
    );

    let rules = page.get("/rules");
    let rule = rules["rules"]
        .as_array()
        .unwrap()
        .iter()
        .find(|rule| rule["id"] == "explorer_seen")
        .unwrap()
        .clone();
    assert_eq!(
        (
            &rule["state"],
            &rule["hits"],
            &rule["stored"],
            &rule["event_type"]
        ),
        (&json!("loaded"), &json!(1), &json!(1), &json!("open")),
        "{rule:#}"
    );
    assert!(
        rule["expression"].as_str().unwrap().contains(&path),
        "{rule:#}"
    );

    let test = page.ask("POST", "/self-test", "").json();
    assert_eq!(test["ok"], true, "{test:#}");
    let query = test["query"].as_str().unwrap();
    let count = test["tests"].as_array().unwrap().len();
    assert!(count >= 3, "{test:#}");
    assert!(found(&probe, query, count).len() >= count);
    assert_eq!(page.get("/self-tests")["self_tests"][0]["ok"], true);
    let health = page.get("/health");
    assert_eq!(health["probe"]["reachable"], true, "{health:#}");
    let status = page.get("/status");
    assert!(
        status["store"]["events"].as_u64().unwrap() > 0,
        "{status:#}"
    );
    assert_eq!(status["store"]["error"], Value::Null);
}

#[test]
fn what_was_acknowledged_is_found_once_after_a_kill_of_security_agent() {
    // Several rules, since each may send so many events at once only.
    let mut setup = Setup::new().explorer();
    let path = |n: usize| format!("{{work}}/killed-{n}");
    for n in 0..5 {
        std::fs::write(setup.work().join(format!("killed-{n}")), "").unwrap();
        let expression = format!(
            "open.file.path == \"{}\" && process.file.name == \"cat\"",
            path(n)
        );
        setup = setup.rule(&format!("explorer_killed_{n}"), &expression);
    }
    let probe = setup.start();
    let mut agent = Agent::start(&probe);
    address(&probe);
    for round in 0..4u64 {
        for n in 0..5 {
            let script = format!(
                "for i in 1 2 3 4 5 6 7 8; do cat {}; done",
                probe.path(&format!("killed-{n}"))
            );
            assert!(
                Command::new("sh")
                    .args(["-c", &script])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        std::thread::sleep(Duration::from_millis(250 * round));
        agent.kill();
        agent.restart(&probe);
    }
    let made = 4 * 5 * 8;
    let events = found(&probe, "rule_id:explorer_killed_*", made);
    assert_eq!(events.len(), made, "each once");
    let mut numbers: Vec<u64> = events
        .iter()
        .map(|event| event["event_id"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), made);
}

#[test]
fn detection_goes_on_when_the_explorer_cannot_store() {
    let setup = Setup::new().explorer();
    let path = setup.work().join("x").to_string_lossy().into_owned();
    std::fs::write(&path, "").unwrap();
    // A file where the directory should be.
    std::fs::write(setup.dir().join("explorer"), "").unwrap();
    let expression = format!("open.file.path == \"{path}\" && process.file.name == \"cat\"");
    let probe = setup.rule("explorer_broken", &expression).start();
    let mut agent = Agent::start(&probe);
    read(&path);
    agent.events.expect_rule("explorer_broken");
    assert!(agent.log().contains("explorer"), "{}", agent.log());
}

#[test]
fn an_alert_tells_what_came_before_it() {
    let (probe, _agent, path) = started("explorer_before");
    let script = format!("/usr/bin/env true; cat {path}; exit 0");
    assert!(
        Command::new("sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    );
    let id = found(&probe, "rule_id:explorer_before", 1)[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (good, text, error) = probe.agent(&["events", "show", &id, "--context", "--json"]);
    assert!(good, "{error}");
    let context = &json(&text)["context"];
    assert_eq!(
        (&context["available"], &context["seconds"]),
        (&json!(true), &json!(30)),
        "{text}"
    );
    let events = context["events"].as_array().unwrap();
    let place = |kind: &str, comm: &str, relation: &str| {
        let is_it = |one: &Value| {
            one["event_type"] == kind && one["comm"] == comm && one["relation"] == relation
        };
        events
            .iter()
            .position(is_it)
            .unwrap_or_else(|| panic!("no {kind} by {comm}, {relation}: {context:#}"))
    };
    // The shell came first, and then it became two.
    assert!(
        place("exec", "sh", "ancestor") < place("exec", "cat", "same process"),
        "{context:#}"
    );
    let times: Vec<i64> = events
        .iter()
        .map(|one| one["timestamp"].as_i64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{context:#}");
    let (_, text, _) = probe.agent(&["events", "show", &id, "--context"]);
    assert!(
        text.contains("exec") && text.contains("same process"),
        "{text}"
    );
}
