//! The packages: installed, upgraded, removed and purged below a root directory of their own.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use atalaya_deploy::{all_installed, dist, run, target_dir};
use atalaya_e2e::skip;

/// What the root holds: what the packages depend on.
const INCLUDE: &str = "libelf1,zlib1g,passwd,procps,systemd,systemd-sysv";

/// A fresh Debian below a directory; made once, then unpacked.
pub(crate) fn debian(dir: &Path) -> Option<PathBuf> {
    let [mmdebstrap, tar] = all_installed(["mmdebstrap", "tar"])?;
    let tools = target_dir().join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    let lock = std::fs::File::create(tools.join("root.lock")).unwrap();
    lock.lock().unwrap();
    let cached = tools.join("root-bookworm-services.tar");
    if !cached.exists() {
        let half = tools.join("root-bookworm-services.part.tar");
        let made = run(Command::new(mmdebstrap)
            .args(["--quiet", "--variant=minbase"])
            .arg(format!("--include={INCLUDE}"))
            .arg("bookworm")
            .arg(&half));
        if let Err(why) = made {
            skip(&format!(
                "no Debian to install in: {}",
                why.trim().lines().last().unwrap_or("")
            ));
            return None;
        }
        std::fs::rename(&half, &cached).unwrap();
    }
    drop(lock);
    let root = dir.join("root");
    std::fs::create_dir(&root).unwrap();
    run(Command::new(tar)
        .arg("-C")
        .arg(&root)
        .arg("-xpf")
        .arg(&cached))
    .unwrap();
    Some(root)
}

struct Root(PathBuf);

impl Root {
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Runs a command inside.
    fn inside(&self, arguments: &[&str]) -> Result<String, String> {
        run(Command::new("chroot")
            .arg(&self.0)
            .args(arguments)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C"))
    }

    /// Numbers of the user and group that the package makes.
    fn agent(&self) -> (u32, u32) {
        let passwd = std::fs::read_to_string(self.at("/etc/passwd")).unwrap();
        let line = passwd.lines().find(|l| l.starts_with("atalaya:"));
        let fields: Vec<_> = line.expect("the user exists").split(':').collect();
        assert!(fields[6].ends_with("nologin"), "{fields:?}");
        (fields[2].parse().unwrap(), fields[3].parse().unwrap())
    }

    /// Mode, user and group of a file.
    fn owner(&self, path: &str) -> (u32, u32, u32) {
        let found = std::fs::metadata(self.at(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        (found.mode() & 0o7777, found.uid(), found.gid())
    }

    fn check_installed(&self, version: &str) {
        let (user, group) = self.agent();
        for (path, expected) in [
            ("/usr/bin/system-probe", (0o755, 0, 0)),
            ("/usr/bin/security-agent", (0o755, 0, 0)),
            ("/etc/atalaya", (0o750, 0, group)),
            ("/etc/atalaya/system-probe.yaml", (0o640, 0, group)),
            ("/etc/atalaya/security-agent.yaml", (0o640, 0, group)),
            ("/etc/atalaya/runtime-security.d", (0o750, 0, group)),
            (
                "/etc/atalaya/runtime-security.d/default.policy",
                (0o644, 0, 0),
            ),
            (
                "/usr/lib/systemd/system/system-probe.service",
                (0o644, 0, 0),
            ),
            (
                "/usr/lib/systemd/system/security-agent.service",
                (0o644, 0, 0),
            ),
            ("/var/lib/atalaya", (0o711, 0, 0)),
            ("/var/log/atalaya", (0o750, user, group)),
        ] {
            assert_eq!(self.owner(path), expected, "{version}: {path}");
        }
        // The programs find their libraries, their configuration and the shipped policy.
        let told = self.inside(&["system-probe", "version"]).unwrap();
        assert!(told.starts_with("system-probe "), "{told}");
        self.inside(&["security-agent", "runtime", "policy", "check"])
            .unwrap();
    }
}

const CONFIG: &str = "/etc/atalaya/system-probe.yaml";
const POLICY: &str = "/etc/atalaya/runtime-security.d/mine.policy";
const OWN: &str =
    "# mine\nruntime_security_config:\n  enabled: true\n  network:\n    enabled: false\n";

/// What an operator does between two versions, and must find again.
fn settle_in(root: &Root) {
    std::fs::write(root.at(CONFIG), OWN).unwrap();
    let policy = "rules:\n  - id: mine\n    expression: open.file.path == \"/tmp/secret\"\n";
    std::fs::write(root.at(POLICY), policy).unwrap();
    std::fs::write(root.at("/var/log/atalaya/events.jsonl"), "{}\n").unwrap();
}

fn expect_own_files(root: &Root) {
    assert_eq!(std::fs::read_to_string(root.at(CONFIG)).unwrap(), OWN);
    assert!(root.at(POLICY).exists());
    assert!(root.at("/var/log/atalaya/events.jsonl").exists());
}

pub(crate) fn made(dir: &Path, format: &str, version: &str) -> PathBuf {
    let files = dist(dir, &["--only", format, "--version", version]);
    let [file] = files.as_slice() else {
        panic!("one file was expected: {files:?}");
    };
    file.clone()
}

#[test]
fn deb() {
    let Some([_dpkg]) = all_installed(["dpkg"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let Some(root) = debian(dir.path()).map(Root) else {
        return;
    };
    let first = made(dir.path(), "deb", "0.1.0");
    let second = made(dir.path(), "deb", "0.2.0");
    if let Some(lintian) = atalaya_deploy::installed("lintian") {
        run(Command::new(lintian)
            .args(["--fail-on", "error"])
            .arg(&first))
        .unwrap();
    } else {
        skip("lintian is not installed");
    }
    for (file, name) in [(first, "/1.deb"), (second, "/2.deb")] {
        std::fs::copy(file, root.at(name)).unwrap();
    }

    root.inside(&["dpkg", "-i", "/1.deb"]).unwrap();
    root.check_installed("0.1.0");
    let conffiles = root
        .inside(&["dpkg-query", "-W", "-f", "${Conffiles}", "atalaya"])
        .unwrap();
    let marked: BTreeSet<_> = conffiles
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        CONFIG,
        "/etc/atalaya/security-agent.yaml",
        "/etc/atalaya/runtime-security.d/default.policy",
    ];
    assert_eq!(marked, BTreeSet::from(expected));

    settle_in(&root);
    root.inside(&["dpkg", "-i", "/2.deb"]).unwrap();
    root.check_installed("0.2.0");
    expect_own_files(&root);

    root.inside(&["dpkg", "--remove", "atalaya"]).unwrap();
    assert!(!root.at("/usr/bin/system-probe").exists());
    assert!(
        !root
            .at("/usr/lib/systemd/system/system-probe.service")
            .exists()
    );
    expect_own_files(&root);

    root.inside(&["dpkg", "--purge", "atalaya"]).unwrap();
    for gone in ["/etc/atalaya", "/var/lib/atalaya", "/var/log/atalaya"] {
        assert!(!root.at(gone).exists(), "{gone}");
    }
    // Its number must not become somebody else's.
    root.agent();
}

#[test]
fn rpm() {
    let Some([rpm]) = all_installed(["rpm"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let Some(root) = debian(dir.path()).map(Root) else {
        return;
    };
    let first = made(dir.path(), "rpm", "0.1.0");
    let second = made(dir.path(), "rpm", "0.2.0");
    let rpm = |arguments: &[&str], file: &str| {
        run(Command::new(&rpm)
            .arg("--root")
            .arg(&root.0)
            .args(arguments)
            .arg(file)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    };
    let path = |file: &Path| file.to_string_lossy().into_owned();
    let needs = rpm(&["-qp", "--requires"], &path(&first)).unwrap();
    assert!(needs.contains("elfutils-libelf"), "{needs}");

    rpm(&["-i", "--nodeps"], &path(&first)).unwrap();
    root.check_installed("0.1.0");
    settle_in(&root);
    rpm(&["-U", "--nodeps"], &path(&second)).unwrap();
    root.check_installed("0.2.0");
    expect_own_files(&root);

    rpm(&["-e", "--nodeps"], "atalaya").unwrap();
    assert!(!root.at("/usr/bin/system-probe").exists());
    // rpm puts a changed file aside; what it does not know of stays where it is.
    let saved = root.at(&format!("{CONFIG}.rpmsave"));
    assert_eq!(std::fs::read_to_string(saved).unwrap(), OWN);
    assert!(root.at(POLICY).exists());
    assert!(root.at("/var/log/atalaya/events.jsonl").exists());
}
