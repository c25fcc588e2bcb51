//! `security-agent flare`: what is in the archive, what is not, and how it gets to who receives it.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atalaya_e2e::{Agent, Receiver, Reply, Setup, program, skip, slow};
use nix::sys::signal::Signal;

/// What is planted everywhere, and must not be in any archive.
const PLANTED: &str = "hunter2-planted-Zq7";
/// An API key: its last four characters may be shown.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What became of a command.
struct Ran {
    good: bool,
    out: String,
    err: String,
    time: Duration,
}

/// A directory with configuration, without any running program.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("atalaya-flare-")
            .tempdir()
            .unwrap();
        for name in ["policies", "log", "out"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let d = dir.path().display();
        let text = format!(
            "hostname: flare-host\napi_key: {KEY}\nsite: \"\"\nrun_path: {d}/run\nsecurity_agent:\n  expvar_port: 0\n  events_file: {d}/log/e.jsonl\n\
             runtime_security_config:\n  socket: {d}/none.sock\n  policies:\n    dir: {d}/policies\n  spool:\n    dir: {d}/spool\n\
             # db_password: {PLANTED}\n"
        );
        std::fs::write(dir.path().join("c.yaml"), text).unwrap();
        std::fs::write(
            dir.path().join("log/agent.log"),
            format!("INFO token={PLANTED} n=1\n"),
        )
        .unwrap();
        Self { dir }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn flare(&self, to: Option<&Receiver>, args: &[&str], input: &str) -> Ran {
        let mut command = Command::new(program("security-agent"));
        command
            .arg("-c")
            .arg(self.dir.path().join("c.yaml"))
            .arg("flare");
        finish(command, &self.out(), to, args, input)
    }

    fn archives(&self) -> Vec<PathBuf> {
        archives(&self.out())
    }
}

fn archives(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Runs the command with this on its standard input.
fn finish(
    mut command: Command,
    out: &Path,
    to: Option<&Receiver>,
    args: &[&str],
    input: &str,
) -> Ran {
    command
        .arg("--output")
        .arg(out)
        .args(args)
        .env("DD_PROXY_PASSWORD", PLANTED);
    command
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .env_remove("ALL_PROXY")
        .env_remove("all_proxy");
    if let Some(to) = to {
        command
            .arg("--url")
            .arg(to.url())
            .env("SSL_CERT_FILE", to.ca());
    }
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        good: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        time: begun.elapsed(),
    }
}

/// Names and contents.
fn unzip(path: &Path) -> Vec<(String, String)> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    (0..zip.len())
        .map(|at| {
            let mut file = zip.by_index(at).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            let name = file.name().unwrap().into_owned();
            (name, String::from_utf8(bytes).expect("scrubbed text"))
        })
        .collect()
}

fn good(_: &atalaya_e2e::Request, _: usize) -> Option<Reply> {
    Some(Reply::new(200, "{\"case_id\": 4711}"))
}

const MAIL: &[&str] = &["--email", "me@example.org"];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [MAIL, more].concat()
}

#[test]
fn a_flare_of_both_programs_is_complete_and_has_no_secret() {
    let probe = Setup::new()
        .config(&format!("  # api_key: {PLANTED}\n"))
        .policy(
            "planted.policy",
            &format!("# password: {PLANTED}\nversion: 1.0.0\nrules: []\n"),
        )
        .env("DD_FOO_TOKEN", PLANTED)
        .start();
    let agent = Agent::start(&probe);
    let receiver = Receiver::start(&probe.work(), good);
    let out = probe.dir().join("flares");
    std::fs::create_dir(&out).unwrap();
    let mut command = probe.agent_command(&["flare", "123"]);
    command.env("DD_API_KEY", KEY);
    let ran = finish(command, &out, Some(&receiver), &with(&["--send"]), "");
    let told = format!("{}\n{}\n{:?}", ran.out, ran.err, receiver.errors());
    assert!(ran.good, "{told}");
    assert!(
        ran.out
            .contains("Asking system-probe and security-agent to build the flare archive."),
        "{told}"
    );
    assert!(ran.out.contains("Your logs were successfully uploaded. For future reference, your internal case id is 4711"), "{told}");
    assert!(!ran.out.contains("Initiating flare locally"), "{told}");
    drop(agent);

    let path = archives(&out).pop().unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o600, 0));
    let files = unzip(&path);
    let log = &files
        .iter()
        .find(|(name, _)| name == "e2e-host/flare_creation.log")
        .expect("the log")
        .1;
    for name in [
        "security-agent-status.log",
        "etc/atalaya.yaml",
        "runtime-security.d/planted.policy",
        "runtime-security.d/e2e.policy",
        "system-probe/status.json",
        "system-probe/rules.json",
        "system-probe/network-doctor.json",
        "system-probe/bpf-programs.json",
        "system-probe/bpf-maps.json",
        "system-probe/config-in-force.yaml",
        "system-probe/envvars.log",
        "system-probe/permissions.log",
        "system-probe/proc/status",
        "logs/system-probe-recent.log",
        "security-agent/config-in-force.yaml",
        "envvars.log",
        "host/version",
        "host/mountinfo",
        "host/kallsyms",
        "host/switches.log",
    ] {
        let found = files
            .iter()
            .find(|(file, _)| *file == format!("e2e-host/{name}"));
        assert!(
            found.is_some_and(|(_, text)| !text.is_empty()),
            "no {name}; {log}"
        );
    }
    let text = |name: &str| {
        &files
            .iter()
            .find(|(file, _)| file.ends_with(name))
            .unwrap()
            .1
    };
    for (name, text) in &files {
        assert!(
            !text.contains(PLANTED) && !text.contains(KEY),
            "{name} has a secret"
        );
        assert!(!name.contains(".."), "{name}");
    }
    let status: serde_json::Value = serde_json::from_str(text("system-probe/status.json")).unwrap();
    assert!(status["sensor"]["tier"].is_string(), "{status}");
    let programs: serde_json::Value = serde_json::from_str(text("bpf-programs.json")).unwrap();
    assert!(
        programs
            .as_array()
            .unwrap()
            .iter()
            .any(|program| program["name"].as_str().is_some_and(|n| n.contains("exec"))),
        "{programs}"
    );
    assert!(text("logs/system-probe-recent.log").contains("system-probe is ready"));
    assert!(text("system-probe/envvars.log").contains("DD_FOO_TOKEN=********"));
    // What the person was shown is what is in it.
    for (name, text) in &files {
        let shown = ran.out.lines().any(|line| {
            line.trim().split_once("  ")
                == Some((
                    &text.len().to_string(),
                    name.strip_prefix("e2e-host/").unwrap(),
                ))
        });
        assert!(shown, "{name} {}: {}", text.len(), ran.out);
    }

    let requests = receiver.requests();
    let shape: Vec<(&str, &str)> = requests
        .iter()
        .map(|r| (r.method.as_str(), r.path.as_str()))
        .collect();
    assert_eq!(
        shape,
        [
            ("HEAD", "/support/flare/123"),
            ("POST", "/support/flare/123")
        ]
    );
    assert!(
        requests.iter().all(|r| r.header("dd-api-key") == Some(KEY)),
        "{requests:?}"
    );
    let parts = requests[1].parts().unwrap();
    let field = |name: &str| {
        parts
            .iter()
            .find(|part| part.name == name)
            .map(|part| String::from_utf8_lossy(&part.content).into_owned())
    };
    assert_eq!(field("case_id").as_deref(), Some("123"));
    assert_eq!(field("email").as_deref(), Some("me@example.org"));
    assert_eq!(field("source").as_deref(), Some("security-agent"));
    assert_eq!(field("hostname").as_deref(), Some("e2e-host"));
    assert_eq!(
        field("agent_version").as_deref(),
        Some(env!("CARGO_PKG_VERSION"))
    );
    let file = parts.iter().find(|part| part.name == "flare_file").unwrap();
    assert_eq!(file.filename.as_deref(), path.file_name().unwrap().to_str());
    assert!(
        file.content == std::fs::read(&path).unwrap(),
        "what came is not what was sent"
    );
    assert_eq!(receiver.errors(), [""; 0]);
}

#[test]
fn a_stopped_probe_does_not_block_a_flare() {
    let probe = Setup::new().start();
    probe.signal(Signal::SIGSTOP);
    let out = probe.dir().join("flares");
    std::fs::create_dir(&out).unwrap();
    let ran = finish(probe.agent_command(&["flare"]), &out, None, MAIL, "");
    probe.signal(Signal::SIGCONT);
    assert!(ran.good, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("system-probe does not answer within"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("Initiating flare locally, some logs will be missing."),
        "{}",
        ran.out
    );
    assert!(ran.time < slow(Duration::from_secs(90)), "{:?}", ran.time);
    assert_eq!(archives(&out).len(), 1);
}

#[test]
fn without_programs_it_is_made_locally_and_says_so() {
    let place = Place::new();
    let ran = place.flare(None, &[], "");
    assert!(ran.good, "{}{}", ran.out, ran.err);
    assert!(
        ran.out
            .contains("The agent was unable to make a full flare: system-probe is not running"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("Initiating flare locally, some logs will be missing.")
    );
    assert!(
        ran.out.contains("There is no address to send it to"),
        "{}",
        ran.out
    );
    let files = unzip(&place.archives()[0]);
    let has = |name: &str| {
        files
            .iter()
            .any(|(file, _)| *file == format!("flare-host/{name}"))
    };
    for name in [
        "local",
        "etc/c.yaml",
        "logs/agent.log",
        "envvars.log",
        "flare_creation.log",
        "host/version",
    ] {
        assert!(has(name), "no {name}");
    }
    for (name, text) in &files {
        assert!(
            !text.contains(PLANTED) && !text.contains(KEY),
            "{name} has a secret"
        );
    }
}

#[test]
fn nothing_is_sent_before_somebody_agrees() {
    let place = Place::new();
    let receiver = Receiver::start(place.dir.path(), good);
    // Neither silence nor any other word is a yes.
    for input in [
        "me@example.org\n",
        "me@example.org\nn\n",
        "me@example.org\nyes\n",
    ] {
        let ran = place.flare(Some(&receiver), &["--local"], input);
        assert!(ran.good, "{}{}", ran.out, ran.err);
        assert!(
            ran.out.starts_with("Please enter your email: "),
            "{}",
            ran.out
        );
        assert!(
            ran.out.contains("is going to be uploaded to localhost:"),
            "{}",
            ran.out
        );
        assert!(
            ran.out
                .contains("Are you sure you want to upload a flare? [y/N] "),
            "{}",
            ran.out
        );
        assert!(
            ran.out.contains("Aborting. (You can still use "),
            "{}",
            ran.out
        );
        assert!(receiver.requests().is_empty());
        place
            .archives()
            .iter()
            .for_each(|path| std::fs::remove_file(path).unwrap());
    }
    let ran = place.flare(Some(&receiver), &["--local"], "me@example.org\ny\n");
    assert!(
        ran.good && ran.out.contains("case id is 4711"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert_eq!(receiver.requests()[1].path, "/support/flare");
    let before = place.archives().len();
    let ran = place.flare(Some(&receiver), &["--local"], "");
    assert!(
        !ran.good
            && ran
                .err
                .contains("Error reading email, please retry or contact support"),
        "{}",
        ran.err
    );
    let ran = place.flare(Some(&receiver), &["--local", "--email", "no address"], "");
    assert!(
        !ran.good && ran.err.contains("is no e-mail address"),
        "{}",
        ran.err
    );
    let ran = place.flare(Some(&receiver), &["--local", "../x"], "");
    assert!(
        !ran.good && ran.err.contains("is no case id"),
        "{}",
        ran.err
    );
    assert_eq!(place.archives().len(), before);
}

/// Sends to a server that answers so, and tells what came of it. The archive is kept whatever happens.
fn sent(
    reply: impl Fn(&atalaya_e2e::Request, usize) -> Option<Reply> + Send + 'static,
) -> (Ran, Receiver) {
    let place = Place::new();
    let receiver = Receiver::start(place.dir.path(), reply);
    let ran = place.flare(Some(&receiver), &with(&["--send", "--local"]), "");
    assert_eq!(place.archives().len(), 1, "{}{}", ran.out, ran.err);
    if !ran.good {
        assert!(ran.err.contains("The archive is kept: "), "{}", ran.err);
    }
    (ran, receiver)
}

#[test]
fn what_the_receiver_says_is_told() {
    let post = |status: u16, body: &'static str| {
        move |request: &atalaya_e2e::Request, _| {
            Some(if request.method == "HEAD" {
                Reply::new(404, "")
            } else {
                Reply::new(status, body)
            })
        }
    };
    let (ran, _) = sent(post(403, "no"));
    let text = "HTTP 403 Forbidden: Make sure your API key is valid. API Key ending with: bcdef";
    assert!(!ran.good && ran.err.contains(text), "{}", ran.err);
    let (ran, _) = sent(post(200, "<html>\u{1b}[31mno"));
    let text = "Error: could not deserialize response body -- Please contact support by email.";
    assert!(
        !ran.good && ran.err.contains(text) && !ran.err.contains('\u{1b}'),
        "{}",
        ran.err
    );
    let (ran, _) = sent(post(400, "{\"error\": \"no such case\"}"));
    let text = "An error occurred while uploading the flare: no such case. Please contact support by email.";
    assert!(!ran.good && ran.err.contains(text), "{}", ran.err);
    // One that is busy is asked again.
    let (ran, receiver) = sent(|request, before| match (request.method.as_str(), before) {
        ("HEAD", _) => Some(Reply::new(200, "")),
        (_, 1) => Some(Reply::new(503, "busy")),
        _ => good(request, before),
    });
    assert!(
        ran.good && ran.err.contains("HTTP 503; trying again in 1 s"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert_eq!(receiver.requests().len(), 3);
}

#[test]
fn redirects_are_followed_and_never_out_of_encryption() {
    let (ran, receiver) = sent(|request, before| match request.path.as_str() {
        "/support/flare" => Some(Reply::redirect("/elsewhere/flare")),
        _ => good(request, before),
    });
    assert!(ran.good, "{}{}", ran.out, ran.err);
    let shape: Vec<String> = receiver
        .requests()
        .iter()
        .map(|r| format!("{} {}", r.method, r.path))
        .collect();
    assert_eq!(
        shape,
        [
            "HEAD /support/flare",
            "HEAD /elsewhere/flare",
            "POST /elsewhere/flare"
        ]
    );
    for to in ["http://127.0.0.1:9/x", "ftp://h/x", "//h/x", ""] {
        let (ran, receiver) = sent(move |_, _| Some(Reply::redirect(to)));
        assert!(
            !ran.good
                && ran
                    .err
                    .contains("Could not determine flare URL via redirects: "),
            "{}",
            ran.err
        );
        assert_eq!(receiver.requests().len(), 1);
    }
    let (ran, receiver) = sent(|_, before| Some(Reply::redirect(&format!("/{before}"))));
    assert!(
        !ran.good && ran.err.contains("more than 5 redirects"),
        "{}",
        ran.err
    );
    assert!(receiver.requests().len() < 10);
}

#[test]
fn who_cannot_be_reached_or_believed_gets_nothing() {
    // Silent for ever.
    let (ran, receiver) = sent(|_, _| None);
    assert!(
        !ran.good && ran.err.contains("no answer in time"),
        "{}",
        ran.err
    );
    assert!(ran.time < slow(Duration::from_secs(60)), "{:?}", ran.time);
    assert_eq!(receiver.requests().len(), 1);
    // A certificate of an authority that nobody trusts.
    let place = Place::new();
    let url = receiver.url();
    let ran = place.flare(
        None,
        &[MAIL, &["--send", "--local", "--url", &url]].concat(),
        "",
    );
    assert!(
        !ran.good && ran.err.contains("certificate") && ran.err.contains("security_agent.ca_file"),
        "{}",
        ran.err
    );
    assert_eq!(receiver.requests().len(), 1);
    // Nobody there.
    let ran = place.flare(
        None,
        &[MAIL, &["--send", "--local", "--url", "https://127.0.0.1:9"]].concat(),
        "",
    );
    assert!(
        !ran.good
            && ran
                .err
                .contains("Could not determine flare URL via redirects: "),
        "{}",
        ran.err
    );
    // Readable on the way: told before anything is collected.
    let before = place.archives().len();
    let ran = place.flare(
        None,
        &[MAIL, &["--send", "--url", "http://h.example"]].concat(),
        "",
    );
    assert!(
        !ran.good && ran.err.contains("http is readable on the way"),
        "{}",
        ran.err
    );
    assert_eq!(place.archives().len(), before);
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let place = Place::new();
    let mounted = place.dir.path().join("small");
    std::fs::create_dir(&mounted).unwrap();
    let script = "mount -t tmpfs -o size=32k none \"$1\" || exit 77; shift; \"$@\"; code=$?; ls -A \"$DIR\" >&2; exit $code";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&mounted)
        .arg(program("security-agent"))
        .arg("-c")
        .arg(place.dir.path().join("c.yaml"))
        .args(["flare", "--local", "--output"])
        .arg(&mounted)
        .env("DIR", &mounted)
        .output()
        .unwrap();
    if output.status.code() == Some(77) {
        return skip("no tmpfs in a private mount namespace");
    }
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        err.contains("The flare zipfile failed to be created: ")
            && err.contains("No space left on device"),
        "{err}"
    );
    // The error is all there is: the directory is empty.
    assert_eq!(err.trim().lines().count(), 1, "{err}");
}
