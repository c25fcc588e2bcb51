//! The doctor's verdicts on real classifiers in private namespaces.
#![allow(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by panic; libbpf loads what clang has compiled"
)]

mod support;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command};

use atalaya_network::doctor::{Class, InterfaceReport, Options, Reader, Verdict, examine, text};
use atalaya_network::netns::NetNs;
use atalaya_network::tc::{Direction, Hook};
use support::{
    attach_clsact, attach_tcx, id, in_namespace, load, program_array, returns, run, veth,
};

/// A process that makes the thread's namespace one that is found; ends with the test.
struct Resident(Child);

impl Resident {
    fn here() -> Self {
        Self(Command::new("sleep").arg("120").spawn().unwrap())
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Options for this thread's namespace alone.
fn options(prefer_tcx: bool) -> Options {
    let only = Some(BTreeSet::from([NetNs::own().unwrap().inum()]));
    Options {
        only,
        prefer_tcx,
        ..Options::default()
    }
}

fn report_of(name: &str, options: &Options) -> (InterfaceReport, atalaya_network::doctor::Report) {
    let report = examine(options);
    let mut namespaces = report.namespaces.iter();
    let all = namespaces.next().unwrap();
    assert!(namespaces.next().is_none());
    let found = all
        .interfaces
        .iter()
        .find(|interface| interface.name == name)
        .unwrap();
    (found.clone(), report)
}

#[test]
fn each_vendor_gets_the_verdict_of_the_checklist() {
    in_namespace(|| {
        let _resident = Resident::here();
        let cases = [
            (
                1,
                0,
                Verdict::Blind,
                None,
                "do not see traffic inside these containers",
            ),
            (5, 0, Verdict::Blind, Some(4), "strictly lower than 5"),
            (10, 2, Verdict::Blind, Some(9), "strictly lower than 10"),
            (11, 0, Verdict::NotAttached, Some(10), ""),
            (1, -1, Verdict::NotAttached, Some(10), ""),
            // In clsact, what is no verdict is as good as UNSPEC.
            (1, 3, Verdict::NotAttached, Some(10), ""),
        ];
        for (number, (priority, returned, verdict, right, advice)) in cases.into_iter().enumerate()
        {
            let name = format!("lxc{number}");
            let veth = veth(&name);
            let program = load("cil_from_lxc", &returns(returned)).unwrap();
            attach_clsact(&veth, Direction::Egress, program.as_fd(), priority, 1);
            let (interface, report) = report_of(&name, &options(false));
            assert_eq!(
                interface.verdict, verdict,
                "priority {priority}: {interface:?}"
            );
            assert_eq!(report.right_priority, right);
            assert_eq!(report.trouble, verdict.is_trouble());
            assert_eq!(advice.is_empty(), interface.advice.is_empty());
            assert!(
                interface.advice.iter().all(|text| text.contains(advice)),
                "{interface:?}"
            );
            let one = &interface.classifiers[0];
            assert_eq!(
                (one.name.as_str(), one.priority),
                ("cil_from_lxc", Some(priority as u16))
            );
            // Who holds it: this process.
            assert!(
                one.owner
                    .processes
                    .iter()
                    .any(|holder| holder.pid == std::process::id())
            );
            let shown = text(&report, false);
            assert!(
                shown.contains("cil_from_lxc") && shown.contains(&format!("priority {priority} "))
            );
            run(&format!("ip link del {name}"));
        }
    });
}

#[test]
fn ours_are_known_by_their_numbers_and_the_real_order_counts() {
    in_namespace(|| {
        let _resident = Resident::here();
        let veth = veth("pod");
        let theirs = load("theirs", &returns(0)).unwrap();
        let ours = load("classifier_egre", &returns(-1)).unwrap();
        attach_clsact(&veth, Direction::Egress, theirs.as_fd(), 5, 1);
        attach_clsact(&veth, Direction::Egress, ours.as_fd(), 10, 1);
        let known = |prefer_tcx| Options {
            ours: BTreeSet::from([id(&ours)]),
            packets: [((NetNs::own().unwrap().inum(), veth.index), 42)].into(),
            ..options(prefer_tcx)
        };
        let (interface, report) = report_of("pod", &known(false));
        assert_eq!(interface.verdict, Verdict::Blind);
        assert_eq!(interface.packets, Some(42));
        assert!(report.attached && interface.classifiers[1].ours && !interface.classifiers[0].ours);
        assert_eq!(interface.classifiers[1].finding.class, Class::Continues);
        run("tc filter del dev pod egress prio 5");
        attach_clsact(&veth, Direction::Egress, theirs.as_fd(), 11, 1);
        let (interface, report) = report_of("pod", &known(false));
        assert_eq!(
            (interface.verdict, report.trouble),
            (Verdict::InPeace, false)
        );
        // Somebody who only has the name is not taken for us.
        let (interface, _) = report_of("pod", &options(false));
        assert!(interface.classifiers.iter().all(|one| !one.ours));
        // Network detections that are off are no trouble.
        let off = Options {
            enabled: false,
            ..known(false)
        };
        let (interface, report) = report_of("pod", &off);
        assert_eq!((interface.verdict, report.trouble), (Verdict::Off, false));
    });
}

#[test]
fn tcx_is_judged_by_its_own_verdicts() {
    in_namespace(|| {
        let _resident = Resident::here();
        let veth = veth("pod");
        let (passes, steals) = (
            load("passes", &returns(0)).unwrap(),
            load("steals", &returns(4)).unwrap(),
        );
        let link = match attach_tcx(&veth, Direction::Ingress, steals.as_fd()) {
            Ok(link) => link,
            Err(error) => return eprintln!("SKIPPED: no tcx on this kernel: {error}"),
        };
        // TC_ACT_STOLEN is no verdict of tcx: the packet goes on.
        let (interface, _) = report_of("pod", &options(false));
        assert_eq!(interface.classifiers[0].finding.class, Class::Continues);
        assert_eq!(interface.verdict, Verdict::NotAttached);
        let other = attach_tcx(&veth, Direction::Ingress, passes.as_fd()).unwrap();
        // Before any filter of ours, and behind any link of ours.
        let (interface, _) = report_of("pod", &options(false));
        assert_eq!(interface.verdict, Verdict::Blind);
        assert!(interface.classifiers[1].link.is_some());
        let (interface, _) = report_of("pod", &options(true));
        assert_eq!(interface.verdict, Verdict::NotAttached);
        // Nor is it any trouble where packets that come in are not looked at.
        let egress = Options {
            ingress: false,
            ..options(false)
        };
        assert!(!report_of("pod", &egress).1.trouble);
        drop((link, other));
    });
}

#[test]
fn filters_that_are_no_direct_programs_are_judged_by_their_actions() {
    in_namespace(|| {
        let _resident = Resident::here();
        let _veth = veth("pod");
        run("tc qdisc add dev pod clsact");
        run("tc filter add dev pod egress prio 4 u32 match u32 0 0 flowid 1:1");
        let (interface, report) = report_of("pod", &options(false));
        assert_eq!(interface.verdict, Verdict::Blind);
        assert_eq!(report.right_priority, Some(3));
        run("tc filter del dev pod egress prio 4");
        run(
            "tc filter add dev pod egress prio 4 u32 match u32 0 0 action mirred egress mirror dev lo",
        );
        let (interface, _) = report_of("pod", &options(false));
        assert_eq!(interface.verdict, Verdict::MayBeBlind);
    });
}

/// What clang made of `vendor.bpf.c`, loaded.
struct Vendor(*mut libbpf_sys::bpf_object);

impl Vendor {
    fn load() -> Option<Self> {
        let clang = ["clang-19", "clang"].into_iter().find(|clang| {
            Command::new(clang)
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success())
        })?;
        let directory = tempfile::tempdir().unwrap();
        let object = directory.path().join("vendor.bpf.o");
        let include = env!("DOCTOR_BPF_INCLUDE");
        let output = Command::new(clang)
            .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-I", include])
            .args(["-I", "/usr/include/x86_64-linux-gnu", "-c"])
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/vendor/vendor.bpf.c"
            ))
            .arg("-o")
            .arg(&object)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let path = CString::new(object.to_str().unwrap()).unwrap();
        // SAFETY: the path lives until the call is over; the object is closed when this is dropped.
        unsafe {
            let object = libbpf_sys::bpf_object__open_file(path.as_ptr(), std::ptr::null());
            assert!(!object.is_null());
            assert_eq!(libbpf_sys::bpf_object__load(object), 0);
            Some(Self(object))
        }
    }

    fn program(&self, name: &str) -> OwnedFd {
        let name = CString::new(name).unwrap();
        // SAFETY: the object is loaded, and the descriptor is its own as long as it lives; it is duplicated at once.
        unsafe {
            let program = libbpf_sys::bpf_object__find_program_by_name(self.0, name.as_ptr());
            let fd = libbpf_sys::bpf_program__fd(program);
            BorrowedFd::borrow_raw(fd).try_clone_to_owned().unwrap()
        }
    }

    /// Puts a program into `calls`.
    fn put(&self, program: &OwnedFd) {
        use std::os::fd::AsRawFd;
        let (key, value) = (0u32, program.as_raw_fd());
        // SAFETY: key and value have four bytes, as those of the map.
        unsafe {
            let fd = libbpf_sys::bpf_object__find_map_fd_by_name(self.0, c"calls".as_ptr());
            let done = libbpf_sys::bpf_map_update_elem(
                fd,
                (&raw const key).cast(),
                (&raw const value).cast(),
                0,
            );
            assert_eq!(done, 0);
        }
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        // SAFETY: nothing of the object is used any more.
        unsafe { libbpf_sys::bpf_object__close(self.0) }
    }
}

#[test]
fn programs_as_vendors_compile_them_are_read_precisely() {
    let Some(vendor) = Vendor::load() else {
        return eprintln!("SKIPPED: no clang to compile classifiers with");
    };
    let judge = |name: &str, hook| Reader::default().judge(id(&vendor.program(name)), hook, None);
    for name in ["watches", "configured", "handles_errors", "global"] {
        for hook in [Hook::Clsact, Hook::Tcx] {
            let finding = judge(name, hook);
            assert_eq!(
                finding.class,
                Class::Continues,
                "{name}, {hook}: {finding:?}"
            );
        }
    }
    let finding = judge("firewall", Hook::Clsact);
    assert_eq!(finding.class, Class::CanEnd);
    assert_eq!(finding.verdicts, BTreeSet::from(["ok", "shot", "unspec"]));
    assert!(finding.reasons.is_empty());
    let finding = judge("redirects", Hook::Clsact);
    assert_eq!(
        (finding.class, finding.verdicts),
        (Class::Unknown, BTreeSet::from(["redirect", "unspec"]))
    );
    // The loop adds up to TC_ACT_SHOT.
    assert_ne!(judge("calls_back", Hook::Clsact).class, Class::Continues);
    for name in ["variable", "dispatches"] {
        assert_eq!(judge(name, Hook::Clsact).class, Class::Unknown, "{name}");
    }
    // What a tail call leads to now is looked at, and proves nothing good.
    vendor.put(&vendor.program("watches"));
    assert_eq!(judge("dispatches", Hook::Clsact).class, Class::Unknown);
    vendor.put(&vendor.program("firewall"));
    let finding = judge("dispatches", Hook::Clsact);
    assert_eq!(finding.class, Class::CanEnd);
    assert!(finding.verdicts.contains("shot"));
}

#[test]
fn a_tail_call_is_never_proved_harmless() {
    let Ok(target) = load("target", &returns(-1)) else {
        return eprintln!("SKIPPED: no programs can be loaded");
    };
    let calls = program_array(&[target.as_fd()]);
    use std::os::fd::AsRawFd;
    use support::insn;
    let code = [
        insn(0x18, 2, 1, 0, calls.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xb7, 3, 0, 0, 0),
        insn(0x85, 0, 0, 0, 12),
        insn(0xb7, 0, 0, 0, -1),
        insn(0x95, 0, 0, 0, 0),
    ];
    let program = load("dispatch", &code).unwrap();
    let mut reader = Reader::default();
    let finding = reader.judge(id(&program), Hook::Clsact, None);
    assert_eq!(finding.class, Class::Unknown);
    assert_eq!(
        reader.tail_called(id(&program)),
        BTreeSet::from([id(&target)])
    );
}
