//! The event types of memory and of the kernel itself: mmap, mprotect, splice, bpf, modules, sysctl, SELinux, cgroups.

use std::path::PathBuf;

use atalaya_e2e::{
    Helper, Setup, at, event_time, kernel_before, run_as, skip, sys, text, wait_for,
};
use serde_json::json;

use crate::common::{check_file, check_process, int};

const EACCES: i64 = -13;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const RX: i32 = libc::PROT_READ | libc::PROT_EXEC;

fn int80(number: i64, arguments: &[&str]) -> Helper {
    let number = number.to_string();
    let mut all = vec!["int80", number.as_str()];
    all.extend(arguments);
    Helper::run(&all)
}

#[test]
fn event_mprotect() {
    let mut probe = Setup::new()
        .rule(
            "to_code",
            r#"mprotect.vm_protection & (VM_READ|VM_WRITE) == 3 && mprotect.req_protection == (VM_READ|VM_EXEC) && mprotect.retval == 0 && process.file.name == "e2e-helper""#,
        )
        .start();
    let memory = format!("map:{RW}");
    for helper in [
        sys(libc::SYS_mprotect, &[&memory, "i:8192", &int(RX)]),
        int80(125, &[&memory, "i:8192", &int(RX)]),
        sys(
            libc::SYS_pkey_mprotect,
            &[&memory, "i:8192", &int(RX), "i:-1"],
        ),
    ] {
        assert_eq!(helper.result(), 0);
        let pid = helper.pid;
        let event = probe
            .events
            .expect("to_code", |event| at(event, "/process/pid") == pid);
        assert_eq!(text(&event, "/evt/name"), "mprotect", "{event:#}");
        assert_eq!(text(&event, "/evt/category"), "Kernel Activity");
        assert_eq!(text(&event, "/evt/outcome"), "Success");
        let told = at(&event, "/mprotect");
        assert_eq!(told["req_protection"], "VM_READ | VM_EXEC", "{event:#}");
        let before = told["vm_protection"].as_str().unwrap();
        assert!(before.starts_with("VM_READ | VM_WRITE | "), "{event:#}");
        let address = |name: &str| {
            let text = told[name].as_str().unwrap().trim_start_matches("0x");
            u64::from_str_radix(text, 16).unwrap()
        };
        // The segment is the whole of the helper's four pages, not the two that the call names.
        assert_eq!(address("vm_end") - address("vm_start"), 16384, "{event:#}");
        check_process(&event, &helper);
    }
    assert_eq!(probe.events.of_rule("to_code").len(), 3, "each told once");
}

#[test]
fn an_mprotect_of_two_segments_tells_what_either_could_be_used_for() {
    let mut probe = Setup::new()
        .rule(
            "two",
            r#"mprotect.vm_protection & VM_WRITE > 0 && mprotect.req_protection == VM_READ && process.args == "mprotect-two""#,
        )
        .start();
    let helper = Helper::run(&["mprotect-two"]);
    assert_eq!(helper.result(), 0);
    let event = probe.events.expect_rule("two");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
}

#[test]
fn an_mprotect_that_is_refused_tells_what_the_memory_still_is() {
    if kernel_before(5, 17) {
        return skip("before 5.17 no program finds a segment of memory by its address");
    }
    let mut probe = Setup::new()
        .rule(
            "refused",
            r#"mprotect.retval == EACCES && mprotect.vm_protection & VM_READ > 0 && mprotect.req_protection & VM_WRITE > 0 && process.file.name == "e2e-helper""#,
        )
        .start();
    // Shared memory of a file that was opened for reading only.
    let file = probe.path("read-only");
    std::fs::write(&file, [0; 4096]).unwrap();
    let helper = Helper::run(&["mprotect-file", &file]);
    assert_eq!(helper.result(), EACCES);
    let event = probe.events.expect_rule("refused");
    assert_eq!(text(&event, "/evt/outcome"), "Refused", "{event:#}");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
}

#[test]
fn event_mmap() {
    let mut probe = Setup::new()
        .rule(
            "code",
            r#"mmap.file.path == "{work}/code" && mmap.protection & PROT_EXEC > 0 && mmap.retval > 0"#,
        )
        .rule(
            "memory",
            r#"mmap.protection == 7 && mmap.flags & MAP_ANONYMOUS > 0 && process.file.name == "e2e-helper""#,
        )
        .start();
    let file = probe.path("code");
    std::fs::write(&file, [0; 8192]).unwrap();
    let (fd, private, code) = (format!("rfd:{file}"), int(libc::MAP_PRIVATE), int(RX));
    let old = format!("w:0,4096,{RX},{},@{file},4096", libc::MAP_PRIVATE);
    for (helper, offset) in [
        (
            sys(
                libc::SYS_mmap,
                &["i:0", "i:4096", &code, &private, &fd, "i:4096"],
            ),
            4096,
        ),
        (int80(192, &["i:0", "i:4096", &code, &private, &fd]), 0),
        (int80(90, &[&old]), 4096),
    ] {
        let pid = helper.pid;
        let event = probe
            .events
            .expect("code", |event| at(event, "/process/pid") == pid);
        assert_eq!(text(&event, "/evt/name"), "mmap", "{event:#}");
        assert_eq!(text(&event, "/evt/outcome"), "Success", "{event:#}");
        let told = at(&event, "/mmap");
        assert_eq!(told["protection"], "PROT_READ | PROT_EXEC", "{event:#}");
        assert_eq!(told["flags"], "MAP_PRIVATE", "{event:#}");
        assert_eq!(told["length"], 4096, "{event:#}");
        assert_eq!(told["offset"], offset, "{event:#}");
        let address = helper.output.parse::<i64>().unwrap();
        if address > 0 {
            // Addresses of the 32-bit calls may be above 2 GiB; the helper prints those as negative numbers.
            assert_eq!(told["address"], format!("{address:#x}"), "{event:#}");
        }
        assert_eq!(text(&event, "/file/path"), file, "{event:#}");
        check_file(&event, "/file", &file);
        check_process(&event, &helper);
    }
    let anonymous = int(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let helper = sys(
        libc::SYS_mmap,
        &["i:0", "i:8192", "i:7", &anonymous, "i:-1", "i:0"],
    );
    let event = probe.events.expect_rule("memory");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    assert!(event.get("file").is_none(), "{event:#}");
    assert_eq!(probe.events.of_rule("code").len(), 3, "each told once");
    assert_eq!(probe.events.of_rule("memory").len(), 1, "told once");
}

#[test]
fn an_mmap_that_is_refused_is_told_with_its_file() {
    let mut probe = Setup::new()
        .rule(
            "refused",
            r#"mmap.file.path == "{work}/file" && mmap.retval == EACCES"#,
        )
        .start();
    let file = probe.path("file");
    std::fs::write(&file, [0; 4096]).unwrap();
    let helper = sys(
        libc::SYS_mmap,
        &[
            "i:0",
            "i:4096",
            &int(RW),
            &int(libc::MAP_SHARED),
            &format!("rfd:{file}"),
            "i:0",
        ],
    );
    assert_eq!(helper.result(), EACCES);
    let event = probe.events.expect_rule("refused");
    assert_eq!(text(&event, "/evt/outcome"), "Refused", "{event:#}");
    check_file(&event, "/file", &file);
}

#[test]
fn event_bpf() {
    let mut probe = Setup::new()
        .rule(
            "made",
            r#"bpf.cmd == BPF_MAP_CREATE && bpf.map.name == "e2e_map" && bpf.map.type == BPF_MAP_TYPE_ARRAY && bpf.retval > 0"#,
        )
        .rule(
            "written",
            r#"bpf.cmd == BPF_MAP_UPDATE_ELEM && bpf.map.name == "e2e_map""#,
        )
        .rule(
            "loaded",
            r#"bpf.cmd == BPF_PROG_LOAD && bpf.prog.name == "e2e_prog" && bpf.prog.type == BPF_PROG_TYPE_SOCKET_FILTER && bpf.prog.helpers in [ BPF_KTIME_GET_NS ]"#,
        )
        .rule(
            "refused",
            r#"bpf.cmd == BPF_PROG_LOAD && bpf.retval == EACCES && bpf.prog.name == "e2e_bad" && bpf.prog.helpers in [ BPF_GET_PRANDOM_U32 ]"#,
        )
        .start();
    let helper = Helper::run(&["bpf-map", "e2e_map"]);
    assert_eq!(helper.result(), 0);
    let event = probe.events.expect_rule("made");
    assert_eq!(text(&event, "/evt/name"), "bpf", "{event:#}");
    assert_eq!(
        at(&event, "/bpf"),
        &json!({ "cmd": "BPF_MAP_CREATE", "map": { "name": "e2e_map", "map_type": "BPF_MAP_TYPE_ARRAY" } }),
        "{event:#}"
    );
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    let event = probe.events.expect_rule("written");
    assert_eq!(text(&event, "/bpf/map/map_type"), "BPF_MAP_TYPE_ARRAY");

    assert!(Helper::run(&["bpf-program", "e2e_prog"]).result() > 0);
    let event = probe.events.expect_rule("loaded");
    let told = at(&event, "/bpf/program");
    assert_eq!(told["name"], "e2e_prog", "{event:#}");
    assert_eq!(told["program_type"], "BPF_PROG_TYPE_SOCKET_FILTER");
    assert_eq!(
        told["helpers"],
        json!(["BPF_KTIME_GET_NS", "BPF_GET_PRANDOM_U32"]),
        "{event:#}"
    );
    let tag = told["tag"].as_str().unwrap();
    assert!(
        tag.len() == 16 && tag.bytes().all(|b| b.is_ascii_hexdigit()),
        "{event:#}"
    );

    assert_eq!(
        Helper::run(&["bpf-bad-program", "e2e_bad"]).result(),
        EACCES
    );
    let event = probe.events.expect_rule("refused");
    assert_eq!(text(&event, "/evt/outcome"), "Refused", "{event:#}");
    for rule in ["made", "written", "loaded", "refused"] {
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule} is told once");
    }
}

#[test]
fn a_bpf_call_through_the_32_bit_entry_with_little_and_with_too_much_of_its_arguments() {
    let mut probe = Setup::new()
        .config("  syscalls:\n    capture_all_errors:\n      enabled: true\n")
        .rule(
            "short",
            r#"bpf.cmd == BPF_MAP_CREATE && bpf.map.type == BPF_MAP_TYPE_QUEUE && process.file.name == "e2e-helper""#,
        )
        .rule(
            "unknown",
            r#"bpf.cmd == 4000 && process.file.name == "e2e-helper""#,
        )
        .start();
    // A size of five: the rest is zeroes.
    let helper = int80(357, &["i:0", "s:\\x16\\x00\\x00\\x00\\x00", "i:5"]);
    assert!(helper.result() < 0);
    let event = probe.events.expect_rule("short");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    assert_eq!(text(&event, "/evt/outcome"), "Error", "{event:#}");
    // More than a page, of which nothing but the first bytes is read.
    let much = format!("b:{}", "\\xff".repeat(5000));
    sys(libc::SYS_bpf, &["i:4000", &much, "i:5000"]);
    let event = probe.events.expect_rule("unknown");
    assert_eq!(text(&event, "/bpf/cmd"), "4000", "{event:#}");
}

#[test]
fn the_probes_own_bpf_calls_are_no_events() {
    let mut probe = Setup::new()
        .rule(
            "any",
            r#"bpf.cmd >= 0 && process.file.name == "system-probe""#,
        )
        .rule("helper", r#"bpf.map.name == "e2e_own""#)
        .start();
    Helper::run(&["bpf-map", "e2e_own"]);
    probe.events.expect_rule("helper");
    // Other probes may be at work on this machine.
    let own = probe.pid();
    let events = probe.events.of_rule("any");
    let own = events
        .iter()
        .filter(|event| at(event, "/process/pid") == own);
    assert_eq!(own.count(), 0);
}

const PIPE_CAN_MERGE: &str = "PIPE_BUF_FLAG_CAN_MERGE";

#[test]
fn event_splice() {
    let mut probe = Setup::new()
        .rule("out", r#"splice.file.path == "{work}/in" && splice.retval == 3"#)
        .rule("in", r#"splice.file.path == "{work}/out" && splice.retval == 11"#)
        .rule(
            "refilled",
            r#"splice.file.path == "{work}/dirty" && splice.pipe_entry_flag & PIPE_BUF_FLAG_CAN_MERGE > 0"#,
        )
        .start();
    for name in ["in", "out", "dirty"] {
        std::fs::write(probe.path(name), "abcdef").unwrap();
    }
    let (input, output) = (probe.path("in"), probe.path("out"));
    let from = format!("rfd:{input}");
    let helper = sys(
        libc::SYS_splice,
        &[&from, "i:0", "pipe:w", "i:0", "i:3", "i:0"],
    );
    assert_eq!(helper.result(), 3);
    let event = probe.events.expect_rule("out");
    assert_eq!(text(&event, "/evt/name"), "splice", "{event:#}");
    assert_eq!(text(&event, "/evt/category"), "File Activity");
    check_file(&event, "/file", &input);
    assert_eq!(
        at(&event, "/splice"),
        &json!({ "pipe_entry_flag": "", "pipe_exit_flag": "" }),
        "{event:#}"
    );
    check_process(&event, &helper);
    // The other way: out of a pipe that a write has filled, into a file. There is no pipe that is written to.
    let to = format!("wfd:{output}");
    let helper = sys(
        libc::SYS_splice,
        &["pipe:r", "i:0", &to, "i:0", "i:64", "i:0"],
    );
    assert_eq!(helper.result(), 11);
    let event = probe.events.expect_rule("in");
    check_file(&event, "/file", &output);
    // A pipe of which every place was used by a write before: what the Dirty Pipe exploit begins with.
    let dirty = probe.path("dirty");
    assert_eq!(Helper::run(&["splice-used", &dirty]).result(), 3);
    let event = probe.events.expect_rule("refilled");
    assert_eq!(
        text(&event, "/splice/pipe_entry_flag"),
        PIPE_CAN_MERGE,
        "{event:#}"
    );
    assert_eq!(text(&event, "/splice/pipe_exit_flag"), "", "{event:#}");
    for rule in ["out", "in", "refilled"] {
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule} is told once");
    }
}

#[test]
fn a_splice_through_the_32_bit_entry() {
    let mut probe = Setup::new()
        .rule("out", r#"splice.file.path == "{work}/in""#)
        .start();
    std::fs::write(probe.path("in"), "abcdef").unwrap();
    let from = format!("rfd:{}", probe.path("in"));
    let helper = int80(313, &[&from, "i:0", "pipe:w", "i:0", "i:3"]);
    assert_eq!(helper.result(), 3);
    let event = probe.events.expect_rule("out");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
}

/// A process in a network of its own reads and writes a parameter of that network: nothing of the machine is changed.
#[test]
fn event_sysctl() {
    let mut probe = Setup::new()
        .rule(
            "written",
            r#"sysctl.action == SYSCTL_WRITE && sysctl.name == "net/ipv4/ip_default_ttl" && sysctl.value == "77" && sysctl.old_value == "64""#,
        )
        .rule(
            "read",
            r#"sysctl.action == SYSCTL_READ && sysctl.name == "net/ipv4/ip_default_ttl" && sysctl.value == "77""#,
        )
        .start();
    if !probe.sees("written") {
        return;
    }
    let file = "/proc/sys/net/ipv4/ip_default_ttl";
    let helper = Helper::run(&["sysctl", file, "77"]);
    assert_eq!(helper.output, "77");
    let event = probe.events.expect_rule("written");
    assert_eq!(text(&event, "/evt/name"), "sysctl", "{event:#}");
    assert_eq!(
        at(&event, "/sysctl"),
        &json!({
            "action": "SYSCTL_WRITE", "file_position": 0,
            "name": "net/ipv4/ip_default_ttl", "name_truncated": false,
            "value": "77", "value_truncated": false,
            "old_value": "64", "old_value_truncated": false,
        }),
        "{event:#}"
    );
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    let event = probe.events.expect_rule("read");
    assert_eq!(text(&event, "/sysctl/value"), "77", "{event:#}");
    assert_eq!(probe.events.of_rule("written").len(), 1, "told once");
}

#[test]
fn a_long_value_of_a_sysctl_is_cut_and_says_so() {
    let mut probe = Setup::new()
        .rule(
            "long",
            r#"sysctl.action == SYSCTL_WRITE && sysctl.name == "net/ipv4/ip_local_reserved_ports" && sysctl.value_truncated"#,
        )
        .start();
    if !probe.sees("long") {
        return;
    }
    let ports: Vec<String> = (0..1500).map(|port| (2 * port + 1).to_string()).collect();
    let ports = ports.join(",");
    assert!(ports.len() > 4096);
    Helper::run(&[
        "sysctl",
        "/proc/sys/net/ipv4/ip_local_reserved_ports",
        &ports,
    ]);
    let event = probe.events.expect_rule("long");
    let value = text(&event, "/sysctl/value");
    assert!(ports.starts_with(value) && value.len() > 4000, "{event:#}");
}

/// The probe's own cgroup is another; the one that is moved is a child of the helper's.
#[test]
fn event_cgroup_write() {
    let mut probe = Setup::new()
        .rule(
            "moved",
            r#"cgroup_write.file.name == "cgroup.procs" && cgroup_write.pid != 0 && process.file.name == "e2e-helper""#,
        )
        .start();
    let Some(root) = cgroup2() else {
        skip("no hierarchy of the second version of cgroups");
        return;
    };
    let dir = root.join(format!("atalaya-e2e-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("cgroup.procs");
    let helper = Helper::run(&["cgroup-write", &file.to_string_lossy()]);
    let removed = std::fs::remove_dir(&dir);
    let event = probe.events.expect_rule("moved");
    assert_eq!(text(&event, "/evt/name"), "cgroup_write", "{event:#}");
    assert_eq!(
        at(&event, "/cgroup_write/pid"),
        helper.result(),
        "{event:#}"
    );
    assert_eq!(
        text(&event, "/cgroup_write/file/path"),
        file.to_string_lossy(),
        "{event:#}"
    );
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    assert_eq!(probe.events.of_rule("moved").len(), 1, "told once");
    removed.unwrap();
}

fn cgroup2() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    mount.split(' ').nth(4).map(PathBuf::from)
}

/// A module of this kernel, where one is at hand: `xtask vmtest` puts one there.
fn module() -> Option<String> {
    let dir = std::env::var("ATALAYA_MODULES").ok()?;
    let path = format!("{dir}/dummy.ko");
    std::path::Path::new(&path).exists().then_some(path)
}

#[test]
fn event_load_module_and_unload_module() {
    let mut probe = Setup::new()
        .rule(
            "file",
            r#"load_module.name == "dummy" && !load_module.loaded_from_memory && load_module.argv in [ "numdummies=0" ] && load_module.retval == 0"#,
        )
        .rule(
            "memory",
            r#"load_module.name == "dummy" && load_module.loaded_from_memory && load_module.retval == 0"#,
        )
        .rule("gone", r#"unload_module.name == "dummy" && unload_module.retval == 0"#)
        .start();
    let (Some(path), true) = (module(), probe.sees("file") && probe.sees("gone")) else {
        skip("no module of this kernel to load");
        return;
    };
    let unload = || {
        assert_eq!(
            sys(libc::SYS_delete_module, &["s:dummy", "i:0"]).result(),
            0
        )
    };
    let fd = format!("rfd:{path}");
    let helper = sys(
        libc::SYS_finit_module,
        &[&fd, "s:numdummies=0 dyndbg=\"+p x\"", "i:0"],
    );
    assert_eq!(helper.result(), 0);
    unload();
    let event = probe.events.expect_rule("file");
    assert_eq!(text(&event, "/evt/name"), "load_module", "{event:#}");
    assert_eq!(
        at(&event, "/module"),
        &json!({
            "name": "dummy", "loaded_from_memory": false,
            "argv": ["numdummies=0", "dyndbg=\"+p x\""],
        }),
        "{event:#}"
    );
    check_file(&event, "/file", &path);
    assert_eq!(text(&event, "/file/path"), path, "{event:#}");
    check_process(&event, &helper);
    let event = probe.events.expect_rule("gone");
    assert_eq!(text(&event, "/evt/name"), "unload_module", "{event:#}");
    assert_eq!(at(&event, "/module"), &json!({ "name": "dummy" }));

    assert_eq!(Helper::run(&["init-module", &path]).result(), 0);
    unload();
    let event = probe.events.expect_rule("memory");
    assert!(event.get("file").is_none(), "{event:#}");
    wait_for(event_time(), || {
        probe.events.read();
        (probe.events.of_rule("gone").len() > 1).then_some(())
    });
    for (rule, count) in [("file", 1), ("memory", 1), ("gone", 2)] {
        assert_eq!(probe.events.of_rule(rule).len(), count, "{rule}");
    }
}

#[test]
fn a_module_that_is_refused_is_told_with_what_the_caller_asked_for() {
    let mut probe = Setup::new()
        .rule(
            "load",
            r#"load_module.retval == EPERM && load_module.args_truncated && load_module.file.path == "{work}/no-module""#,
        )
        .rule("unload", r#"unload_module.retval == EPERM && unload_module.name == "nothing""#)
        .start();
    if !probe.sees("load") {
        return;
    }
    let path = probe.path("no-module");
    std::fs::write(&path, "no ELF file").unwrap();
    // One who may not; with more parameters than are captured.
    let args = format!("s:{}", "a=1 ".repeat(2000));
    let fd = format!("rfd:{path}");
    let finit = libc::SYS_finit_module.to_string();
    let delete = libc::SYS_delete_module.to_string();
    let program = probe.path("helper");
    atalaya_e2e::copy_executable(&Helper::path(), std::path::Path::new(&program));
    let run = |words: &[&str]| run_as(std::path::Path::new(&program), 65534, 65534, words);
    let helper = run(&["sys", &finit, &fd, &args, "i:0"]);
    assert_eq!(helper.result(), -i64::from(libc::EPERM));
    run(&["sys", &delete, "s:nothing", "i:0"]);
    let event = probe.events.expect_rule("load");
    assert_eq!(text(&event, "/evt/outcome"), "Refused", "{event:#}");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    probe.events.expect_rule("unload");
}

#[test]
fn event_selinux() {
    let mut probe = Setup::new()
        .rule("enforce", r#"selinux.enforce.status == "permissive""#)
        .rule("commit", r#"selinux.bool_commit.state == true"#)
        .rule(
            "bool",
            r#"selinux.bool.name != "" && selinux.bool.state == "on""#,
        )
        .start();
    if !probe.sees("enforce") {
        return;
    }
    let write = libc::SYS_write;
    let to = |name: &str| format!("wfd:/sys/fs/selinux/{name}");
    sys(write, &[&to("enforce"), "b:0", "i:1"]);
    let event = probe.events.expect_rule("enforce");
    assert_eq!(text(&event, "/evt/name"), "selinux", "{event:#}");
    assert_eq!(
        at(&event, "/selinux"),
        &json!({ "enforce": { "status": "permissive" } }),
        "{event:#}"
    );
    assert_eq!(text(&event, "/file/name"), "enforce", "{event:#}");
}
