//! The event types of calls by which a process changes what it is, or what another is: prctl, setuid, setgid, capset, ptrace, signal,
//! setrlimit, unshare, capabilities.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use atalaya_e2e::{EventLog, Helper, Setup, at, run_as, sys, text};
use serde_json::Value;

use crate::common::int;

const PR_SET_NAME: i64 = 15;
const NOBODY: u32 = 65534;

/// A helper that waits, and is killed at the end of the test.
struct Held(Child, String);

impl Held {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(Helper::path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self(child, line.trim().to_owned())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn int80(number: i64, arguments: &[&str]) -> Helper {
    let number = number.to_string();
    Helper::run(&[&["int80", number.as_str()], arguments].concat())
}

/// The event of this rule by this process, and that there is no second one.
fn only(events: &mut EventLog, rule: &str, pid: u32) -> Value {
    let event = events.expect(rule, |event| *at(event, "/process/pid") == pid);
    let all = events.of_rule(rule);
    let same = all.iter().filter(|event| *at(event, "/process/pid") == pid);
    assert_eq!(same.count(), 1, "{all:#?}");
    event
}

#[test]
fn event_prctl() {
    let mut probe = Setup::new()
        .rule(
            "renamed",
            r#"prctl.option == PR_SET_NAME && prctl.new_name == "kworker/7""#,
        )
        .rule(
            "too_long",
            r#"prctl.option == PR_SET_NAME && prctl.is_name_truncated && prctl.new_name == "e2e-sixteen-byte""#,
        )
        .rule("dumpable", "prctl.option == PR_SET_DUMPABLE && process.file.name == \"e2e-helper\" && prctl.retval == 0")
        .start();
    let helper = sys(libc::SYS_prctl, &[&int(PR_SET_NAME), "s:kworker/7"]);
    let event = only(&mut probe.events, "renamed", helper.pid);
    assert_eq!(text(&event, "/evt/name"), "prctl", "{event:#}");
    assert_eq!(text(&event, "/prctl/new_name"), "kworker/7", "{event:#}");
    assert_eq!(at(&event, "/prctl/option"), "PR_SET_NAME", "{event:#}");
    assert_eq!(at(&event, "/prctl/is_name_truncated"), false, "{event:#}");
    let helper = int80(172, &[&int(PR_SET_NAME), "s:e2e-sixteen-byte"]);
    let event = only(&mut probe.events, "too_long", helper.pid);
    assert_eq!(
        text(&event, "/process/comm"),
        "e2e-sixteen-byt",
        "{event:#}"
    );
    let helper = sys(libc::SYS_prctl, &[&int(libc::PR_SET_DUMPABLE), "i:1"]);
    only(&mut probe.events, "dumpable", helper.pid);
}

/// A rule, the user and group to make the call as, the call, its arguments, and the ids after it.
type IdCall<'a> = (&'a str, i64, i64, &'a [&'a str], [u32; 3]);

#[test]
fn event_setuid() {
    let calls: [IdCall<'_>; 7] = [
        ("setuid", 0, libc::SYS_setuid, &["i:4101"], [4101; 3]),
        (
            "setreuid",
            0,
            libc::SYS_setreuid,
            &["i:4102", "i:4103"],
            [4102, 4103, 4103],
        ),
        (
            "setresuid",
            0,
            libc::SYS_setresuid,
            &["i:4104", "i:4105", "i:4106"],
            [4104, 4105, 4105],
        ),
        ("setfsuid", 0, libc::SYS_setfsuid, &["i:4107"], [0, 0, 4107]),
        ("int80 setuid", 1, 213, &["i:4108"], [4108; 3]),
        (
            "int80 setreuid, 16 bits",
            1,
            70,
            &["i:4109", "i:4110"],
            [4109, 4110, 4110],
        ),
        ("int80 setfsuid", 1, 215, &["i:4111"], [0, 0, 4111]),
    ];
    let mut setup = Setup::new().rule(
        "by_setter",
        "setuid.uid >= 4101 && setuid.uid <= 4111 && process.uid == 4101",
    );
    for (number, (_, _, _, _, [uid, euid, fsuid])) in calls.iter().enumerate() {
        setup = setup.rule(
            &format!("setuid_{number}"),
            &format!("setuid.uid == {uid} && setuid.euid == {euid} && setuid.fsuid == {fsuid} && process.uid == 0 && process.euid == 0"),
        );
    }
    let mut probe = setup.start();
    for (number, (name, compat, call, arguments, [uid, euid, fsuid])) in calls.iter().enumerate() {
        let helper = if *compat == 1 {
            int80(*call, arguments)
        } else {
            sys(*call, arguments)
        };
        assert_eq!(helper.result(), 0, "{name}");
        let event = only(&mut probe.events, &format!("setuid_{number}"), helper.pid);
        assert_eq!(text(&event, "/evt/name"), "setuid", "{event:#}");
        assert_eq!(at(&event, "/process/credentials/uid"), 0, "{event:#}");
        let after = at(&event, "/process/credentials/destination");
        assert_eq!(at(after, "/uid"), *uid, "{event:#}");
        assert_eq!(at(after, "/euid"), *euid, "{event:#}");
        assert_eq!(at(after, "/fsuid"), *fsuid, "{event:#}");
    }
    // A refusal changes nothing, and is no event.
    let refused = run_as(
        &Helper::path(),
        4101,
        4101,
        &["sys", &libc::SYS_setuid.to_string(), "i:4102"],
    );
    assert_eq!(refused.result(), -i64::from(libc::EPERM));
    let refused = run_as(
        &Helper::path(),
        4101,
        4101,
        &["sys", &libc::SYS_setfsuid.to_string(), "i:4102"],
    );
    assert_eq!(refused.result(), 4101);
    // What comes after them is told with what it is made with.
    let allowed = run_as(
        &Helper::path(),
        4101,
        4101,
        &["sys", &libc::SYS_setuid.to_string(), "i:4101"],
    );
    assert_eq!(allowed.result(), 0);
    only(&mut probe.events, "by_setter", allowed.pid);
    let all = probe.events.of_rule("by_setter");
    assert_eq!(all.len(), 1, "{all:#?}");
}

#[test]
fn event_setgid() {
    let calls: [IdCall<'_>; 6] = [
        ("setgid", 0, libc::SYS_setgid, &["i:4201"], [4201; 3]),
        (
            "setregid",
            0,
            libc::SYS_setregid,
            &["i:4202", "i:4203"],
            [4202, 4203, 4203],
        ),
        (
            "setresgid",
            0,
            libc::SYS_setresgid,
            &["i:4204", "i:4205", "i:4206"],
            [4204, 4205, 4205],
        ),
        ("setfsgid", 0, libc::SYS_setfsgid, &["i:4207"], [0, 0, 4207]),
        ("int80 setgid, 16 bits", 1, 46, &["i:4208"], [4208; 3]),
        (
            "int80 setresgid",
            1,
            210,
            &["i:4209", "i:4210", "i:4211"],
            [4209, 4210, 4210],
        ),
    ];
    let mut setup = Setup::new();
    for (number, (_, _, _, _, [gid, egid, fsgid])) in calls.iter().enumerate() {
        setup = setup.rule(
            &format!("setgid_{number}"),
            &format!("setgid.gid == {gid} && setgid.egid == {egid} && setgid.fsgid == {fsgid} && process.gid == 0 && process.egid == 0"),
        );
    }
    let mut probe = setup.start();
    for (number, (name, compat, call, arguments, [gid, _, fsgid])) in calls.iter().enumerate() {
        let helper = if *compat == 1 {
            int80(*call, arguments)
        } else {
            sys(*call, arguments)
        };
        assert_eq!(helper.result(), 0, "{name}");
        let event = only(&mut probe.events, &format!("setgid_{number}"), helper.pid);
        assert_eq!(text(&event, "/evt/name"), "setgid", "{event:#}");
        let after = at(&event, "/process/credentials/destination");
        assert_eq!(at(after, "/gid"), *gid, "{event:#}");
        assert_eq!(at(after, "/fsgid"), *fsgid, "{event:#}");
    }
}

#[test]
fn event_ptrace() {
    let target = Held::start(&["hold"]);
    let thread = Held::start(&["hold-thread"]);
    let (pid, tid) = (target.pid(), thread.1.clone());
    let mut probe = Setup::new()
        .rule("attach", &format!("ptrace.request == PTRACE_ATTACH && ptrace.tracee.pid == {pid} && ptrace.retval == 0"))
        .rule("seize", &format!("ptrace.request == PTRACE_SEIZE && ptrace.tracee.pid == {} && ptrace.tracee.tid == {tid}", thread.pid()))
        .rule("refused", &format!("ptrace.request == PTRACE_ATTACH && ptrace.tracee.pid == {pid} && ptrace.retval == EPERM"))
        .rule("traceme", r#"ptrace.request == PTRACE_TRACEME && process.file.name == "e2e-helper""#)
        .rule("child", r#"ptrace.request == PTRACE_SEIZE && ptrace.tracee.ancestors.pid == process.pid && process.args =~ "*with-child*""#)
        .rule("namespace", r#"ptrace.request == PTRACE_SEIZE && process.args =~ "*pid-namespace*""#)
        .start();
    let attach = libc::PTRACE_ATTACH.to_string();
    let seize = format!("i:{}", libc::PTRACE_SEIZE);
    let number = libc::SYS_ptrace.to_string();

    let refused = run_as(
        &Helper::path(),
        NOBODY,
        NOBODY,
        &["sys", &number, &format!("i:{attach}"), &int(pid)],
    );
    assert_eq!(refused.result(), -i64::from(libc::EPERM));
    only(&mut probe.events, "refused", refused.pid);

    let tracer = sys(libc::SYS_ptrace, &[&format!("i:{attach}"), &int(pid)]);
    assert_eq!(tracer.result(), 0);
    let event = only(&mut probe.events, "attach", tracer.pid);
    assert_eq!(text(&event, "/evt/name"), "ptrace", "{event:#}");
    assert_eq!(
        text(&event, "/ptrace/request"),
        "PTRACE_ATTACH",
        "{event:#}"
    );
    assert_eq!(text(&event, "/ptrace/address"), "0x0", "{event:#}");
    assert_eq!(at(&event, "/ptrace/tracee/pid"), pid, "{event:#}");
    assert!(
        at(&event, "/ptrace/tracee/args")
            .to_string()
            .contains("hold"),
        "{event:#}"
    );

    let tracer = int80(26, &[&seize, &format!("i:{tid}"), "i:0", "i:0"]);
    assert_eq!(tracer.result(), 0);
    only(&mut probe.events, "seize", tracer.pid);

    let traced = sys(libc::SYS_ptrace, &["i:0"]);
    let event = only(&mut probe.events, "traceme", traced.pid);
    assert_eq!(at(&event, "/ptrace/tracee/pid"), traced.pid, "{event:#}");

    let tracer = Helper::run(&[
        "with-child",
        "sys",
        &number,
        &seize,
        "i:CHILD",
        "i:0",
        "i:0",
    ]);
    let event = only(&mut probe.events, "child", tracer.pid);
    let child: u32 = tracer.output.lines().next().unwrap().parse().unwrap();
    assert_eq!(at(&event, "/ptrace/tracee/pid"), child, "{event:#}");

    let tracer = Helper::run(&["pid-namespace", "sys", &number, &seize, "i:2", "i:0", "i:0"]);
    let outer: u32 = tracer
        .output
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let event = probe.events.expect_rule("namespace");
    assert_eq!(at(&event, "/ptrace/tracee/pid"), outer, "{event:#}");
}

#[test]
fn event_signal() {
    let target = Held::start(&["hold"]);
    let pid = target.pid();
    // Signals that stop nobody: 0 is a question, the others are ignored by default.
    let calls: [(&str, bool, i64, Vec<String>); 4] = [
        (
            "kill",
            false,
            libc::SYS_kill,
            vec![int(pid), int(libc::SIGURG)],
        ),
        ("zero", false, libc::SYS_kill, vec![int(pid), int(0)]),
        (
            "tkill",
            false,
            libc::SYS_tkill,
            vec![int(pid), int(libc::SIGCONT)],
        ),
        (
            "int80 tgkill",
            true,
            270,
            vec![int(pid), int(pid), int(libc::SIGWINCH)],
        ),
    ];
    let mut probe = Setup::new()
        .rule(
            "signal_0",
            &format!("signal.type == SIGURG && signal.pid == {pid} && signal.retval == 0"),
        )
        .rule(
            "signal_1",
            &format!("signal.type == 0 && signal.target.pid == {pid} && process.uid == 0"),
        )
        .rule(
            "signal_2",
            &format!("signal.type == SIGCONT && signal.target.pid == {pid}"),
        )
        .rule(
            "signal_3",
            &format!("signal.type == SIGWINCH && signal.target.pid == {pid}"),
        )
        .rule(
            "refused",
            &format!("signal.type == SIGTERM && signal.pid == {pid} && signal.retval == EPERM"),
        )
        .start();
    for (number, (name, compat, call, arguments)) in calls.iter().enumerate() {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let helper = if *compat {
            int80(*call, &arguments)
        } else {
            sys(*call, &arguments)
        };
        assert_eq!(helper.result(), 0, "{name}");
        let event = only(&mut probe.events, &format!("signal_{number}"), helper.pid);
        assert_eq!(text(&event, "/evt/name"), "signal", "{event:#}");
        assert_eq!(at(&event, "/signal/pid"), pid, "{event:#}");
        assert_eq!(at(&event, "/signal/target/pid"), pid, "{event:#}");
        assert!(
            at(&event, "/signal/target/args")
                .to_string()
                .contains("hold"),
            "{event:#}"
        );
    }
    let kill = libc::SYS_kill.to_string();
    let refused = run_as(
        &Helper::path(),
        NOBODY,
        NOBODY,
        &["sys", &kill, &int(pid), &int(libc::SIGTERM)],
    );
    assert_eq!(refused.result(), -i64::from(libc::EPERM));
    let event = only(&mut probe.events, "refused", refused.pid);
    assert_eq!(at(&event, "/signal/target/pid"), pid, "{event:#}");
    assert_eq!(text(&event, "/signal/type"), "SIGTERM", "{event:#}");
}

#[test]
fn a_signal_to_a_thread_has_the_process_as_its_target() {
    let target = Held::start(&["hold-thread"]);
    let (pid, tid) = (target.pid(), target.1.clone());
    let mut probe = Setup::new()
        .rule(
            "thread",
            &format!(
                "signal.target.pid == {pid} && signal.target.tid == {tid} && signal.type == SIGURG"
            ),
        )
        .start();
    let helper = sys(
        libc::SYS_tgkill,
        &[&int(pid), &format!("i:{tid}"), &int(libc::SIGURG)],
    );
    assert_eq!(helper.result(), 0);
    let event = only(&mut probe.events, "thread", helper.pid);
    assert_eq!(at(&event, "/signal/pid"), pid, "{event:#}");
}

#[test]
fn a_signal_to_a_group_is_one_event_for_each_process_of_it() {
    let mut probe = Setup::new()
        .rule(
            "zero",
            r#"signal.type == SIGUSR1 && process.args =~ "*with-group sys 62 i:0*""#,
        )
        .rule(
            "named",
            r#"signal.type == SIGUSR1 && process.args =~ "*with-group sys 62 i:GROUP*""#,
        )
        .start();
    for (rule, group) in [("zero", "i:0"), ("named", "i:GROUP")] {
        let helper = Helper::run(&["with-group", "sys", "62", group, &int(libc::SIGUSR1)]);
        let children = helper.output.lines().next().unwrap().to_owned();
        let mut expected: Vec<u64> = children
            .split(' ')
            .map(|pid| pid.parse().unwrap())
            .collect();
        expected.push(helper.pid.into());
        for pid in &expected {
            probe
                .events
                .expect(rule, |event| *at(event, "/signal/target/pid") == *pid);
        }
        let all = probe.events.of_rule(rule);
        assert_eq!(all.len(), expected.len(), "{all:#?}");
        assert!(
            all.iter()
                .all(|event| *at(event, "/process/pid") == helper.pid)
        );
    }
}

#[test]
fn a_signal_in_a_pid_namespace_has_the_right_target() {
    let mut probe = Setup::new()
        .rule(
            "signalled",
            r#"signal.type == SIGURG && process.args =~ "*pid-namespace*""#,
        )
        .rule(
            "asked",
            r#"signal.type == 0 && process.args =~ "*pid-namespace*""#,
        )
        .start();
    for (rule, signal) in [("signalled", libc::SIGURG), ("asked", 0)] {
        let helper = Helper::run(&["pid-namespace", "sys", "62", "i:2", &int(signal)]);
        let outer: u32 = helper
            .output
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let event = probe.events.expect_rule(rule);
        assert_eq!(at(&event, "/signal/pid"), outer, "{event:#}");
        assert_eq!(at(&event, "/signal/target/pid"), outer, "{event:#}");
        assert_eq!(probe.events.of_rule(rule).len(), 1);
    }
}

#[test]
fn what_a_process_sends_to_its_own_threads_is_no_event() {
    let mut probe = Setup::new()
        .rule("own", r#"signal.type == SIGURG && process.file.name == "e2e-helper" && signal.target.pid == process.pid"#)
        .start();
    // From a shell's point of view: raise() is thread-directed, kill(getpid()) is not.
    let helper = Helper::run(&["with-group", "sys", "62", "i:0", &int(libc::SIGURG)]);
    let event = probe.events.expect_rule("own");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    let raised = Helper::of(
        Command::new("sh").arg("-c"),
        &[&format!(
            "exec {} raise {}",
            Helper::path().display(),
            libc::SIGURG
        )],
    );
    let again = Helper::run(&["with-group", "sys", "62", "i:0", &int(libc::SIGURG)]);
    probe
        .events
        .expect("own", |event| *at(event, "/process/pid") == again.pid);
    let all = probe.events.of_rule("own");
    assert!(
        all.iter()
            .all(|event| *at(event, "/process/pid") != raised.pid),
        "{all:#?}"
    );
}

#[test]
fn event_setrlimit() {
    let target = Held::start(&["hold"]);
    let pid = target.pid();
    let mut probe = Setup::new()
        .rule("own", r#"setrlimit.resource == RLIMIT_CORE && setrlimit.rlim_cur == 4301 && setrlimit.rlim_max == 4302"#)
        .rule("other", &format!("setrlimit.resource == RLIMIT_NOFILE && setrlimit.rlim_cur == 403 && setrlimit.target.pid == {pid}"))
        .rule("refused", &format!("setrlimit.rlim_cur == 404 && setrlimit.target.pid == {pid} && setrlimit.retval == EPERM"))
        .rule("asked", "setrlimit.resource == RLIMIT_STACK && process.file.name == \"e2e-helper\"")
        .start();
    let helper = sys(libc::SYS_setrlimit, &["i:4", "l:4301,4302"]);
    assert_eq!(helper.result(), 0);
    let event = only(&mut probe.events, "own", helper.pid);
    assert_eq!(text(&event, "/evt/name"), "setrlimit", "{event:#}");
    assert_eq!(
        sys(libc::SYS_prlimit64, &["i:0", "i:3", "i:0", "l:0,0"]).result(),
        0
    );
    let helper = sys(libc::SYS_prlimit64, &[&int(pid), "i:7", "l:403,405"]);
    assert_eq!(helper.result(), 0);
    only(&mut probe.events, "other", helper.pid);
    let number = libc::SYS_prlimit64.to_string();
    let refused = run_as(
        &Helper::path(),
        NOBODY,
        NOBODY,
        &["sys", &number, &int(pid), "i:7", "l:404,405"],
    );
    assert_eq!(refused.result(), -i64::from(libc::EPERM));
    only(&mut probe.events, "refused", refused.pid);
    assert_eq!(probe.events.of_rule("asked").len(), 0);
}

#[test]
fn event_unshare() {
    let mut probe = Setup::new()
        .rule("own", r#"unshare.flags & CLONE_NEWUTS > 0 && unshare.retval == 0 && process.file.name == "e2e-helper""#)
        .rule("refused", r#"unshare.flags & CLONE_NEWIPC > 0 && unshare.retval == EPERM"#)
        .start();
    let helper = sys(libc::SYS_unshare, &[&int(libc::CLONE_NEWUTS)]);
    assert_eq!(helper.result(), 0);
    let event = only(&mut probe.events, "own", helper.pid);
    assert_eq!(text(&event, "/evt/name"), "unshare", "{event:#}");
    let number = libc::SYS_unshare.to_string();
    let refused = run_as(
        &Helper::path(),
        NOBODY,
        NOBODY,
        &["sys", &number, &int(libc::CLONE_NEWIPC)],
    );
    assert_eq!(refused.result(), -i64::from(libc::EPERM));
    only(&mut probe.events, "refused", refused.pid);
}

#[test]
fn event_capset() {
    let mut probe = Setup::new()
        .rule(
            "dropped",
            r#"capset.cap_effective & CAP_SYS_ADMIN == 0 && capset.cap_permitted & CAP_CHOWN > 0 && process.cap_effective & CAP_SYS_ADMIN > 0 && process.file.name == "e2e-helper""#,
        )
        .start();
    // struct __user_cap_header_struct of version 3 and this process; two __user_cap_data_structs: effective, permitted, inheritable.
    let header = format!("l:{}", 0x2008_0522_i64);
    let effective_and_permitted = format!("l:{},{},0", 1_i64 << 32 | 1, 0);
    let helper = sys(libc::SYS_capset, &[&header, &effective_and_permitted]);
    assert_eq!(helper.result(), 0);
    let event = only(&mut probe.events, "dropped", helper.pid);
    assert_eq!(text(&event, "/evt/name"), "capset", "{event:#}");
    let after = at(&event, "/process/credentials/destination");
    assert_eq!(
        at(after, "/cap_permitted"),
        &serde_json::json!(["CAP_CHOWN"]),
        "{event:#}"
    );
    // Through int 0x80: what lies in memory has the same form, but must lie low, so that it is refused before anything is looked at.
    assert_eq!(
        int80(185, &["i:0", "i:0"]).result(),
        -i64::from(libc::EFAULT)
    );
}

#[test]
fn event_capabilities() {
    let mut probe = Setup::new()
        .rule(
            "used",
            r#"capabilities.used & CAP_SYS_CHROOT > 0 && process.file.name == "e2e-helper""#,
        )
        .rule(
            "attempted",
            r#"capabilities.attempted & CAP_SYS_CHROOT > 0 && capabilities.used & CAP_SYS_CHROOT == 0 && process.uid == 65534"#,
        )
        .rule(
            "memory",
            r#"capabilities.attempted & CAP_SYS_ADMIN > 0 && process.uid == 65534 && process.file.name == "e2e-helper""#,
        )
        .start();
    if !probe.sees("used") {
        return;
    }
    let helper = sys(libc::SYS_chroot, &["s:/"]);
    assert_eq!(helper.result(), 0);
    let event = only(&mut probe.events, "used", helper.pid);
    assert_eq!(text(&event, "/evt/name"), "capabilities", "{event:#}");
    assert!(
        at(&event, "/capabilities/caps_used")
            .to_string()
            .contains("CAP_SYS_CHROOT"),
        "{event:#}"
    );
    let number = libc::SYS_chroot.to_string();
    let refused = run_as(&Helper::path(), NOBODY, NOBODY, &["sys", &number, "s:/"]);
    assert_eq!(refused.result(), -i64::from(libc::EPERM));
    only(&mut probe.events, "attempted", refused.pid);
    // Each growth of memory asks for CAP_SYS_ADMIN; that is no attempt of the process.
    let all = probe.events.of_rule("memory");
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn a_process_tells_the_capabilities_it_has_used_in_its_other_events() {
    let mut probe = Setup::new()
        .rule(
            "after_use",
            r#"prctl.option == PR_SET_NAME && prctl.new_name == "e2e-used" && process.caps_used & CAP_SETUID > 0"#,
        )
        .rule(
            "before_use",
            r#"prctl.option == PR_SET_NAME && prctl.new_name == "e2e-unused" && process.caps_used & CAP_SETUID == 0"#,
        )
        .start();
    if !probe.sees("after_use") {
        return;
    }
    let name = libc::SYS_prctl.to_string();
    let option = int(PR_SET_NAME);
    sys(libc::SYS_prctl, &[&option, "s:e2e-unused"]);
    probe.events.expect_rule("before_use");
    Helper::run(&[
        "sys-then",
        &libc::SYS_setuid.to_string(),
        "i:0",
        "then",
        &name,
        &option,
        "s:e2e-used",
    ]);
    probe.events.expect_rule("after_use");
}

#[test]
fn events_after_a_change_of_the_login_uid_carry_the_new_one() {
    let mut probe = Setup::new()
        .rule("logged_in", r#"prctl.option == PR_SET_NAME && prctl.new_name == "e2e-login" && process.auid == 4401"#)
        .start();
    let name = libc::SYS_prctl.to_string();
    let option = int(PR_SET_NAME);
    let helper = Helper::run(&["login-then", "4401", &name, &option, "s:e2e-login"]);
    if helper.output.starts_with("refused") {
        atalaya_e2e::skip("this kernel keeps no login uid, or lets nobody change it");
        return;
    }
    let event = only(&mut probe.events, "logged_in", helper.pid);
    assert_eq!(at(&event, "/process/credentials/auid"), 4401, "{event:#}");
}
