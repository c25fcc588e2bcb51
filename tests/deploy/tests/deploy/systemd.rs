//! The units: they are valid, and no less hardened than the documentation says.

use std::path::PathBuf;
use std::process::Command;

use atalaya_deploy::{all_installed, repository, run};

/// Each unit and its exposure, from 0 (sealed) to 10, as `systemd-analyze security` reckons it: the figures of docs/install.md.
const EXPOSURE: [(&str, u32); 2] = [("security-agent.service", 14), ("system-probe.service", 37)];

/// The units, with programs that exist, for those that are not installed.
fn units() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let units = EXPOSURE.map(|(name, _)| {
        let text = std::fs::read_to_string(repository().join("deploy/systemd").join(name)).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("Documentation="));
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        let path = dir.path().join(name);
        let text = text
            .replace("/usr/bin/system-probe", "/bin/true")
            .replace("/usr/bin/security-agent", "/bin/true");
        std::fs::write(&path, text).unwrap();
        path
    });
    (dir, units.into())
}

#[test]
fn units_are_valid() {
    let Some([analyze]) = all_installed(["systemd-analyze"]) else {
        return;
    };
    let (_dir, units) = units();
    let output = run(Command::new(analyze)
        .args(["verify", "--man=no"])
        .args(&units))
    .unwrap();
    // Unknown keys and values are warnings only.
    assert_eq!(output.trim(), "");
}

#[test]
fn units_are_hardened_as_documented() {
    let Some([analyze]) = all_installed(["systemd-analyze"]) else {
        return;
    };
    let page = std::fs::read_to_string(repository().join("docs/install.md")).unwrap();
    let (_dir, units) = units();
    for ((name, exposure), unit) in EXPOSURE.into_iter().zip(units) {
        let shown = format!("{}.{}", exposure / 10, exposure % 10);
        assert!(
            page.lines()
                .any(|line| line.contains(name) && line.contains(&shown)),
            "docs/install.md does not say that {name} has {shown}"
        );
        // The threshold is in tenths; systemd newer than 252 may know more that could be closed.
        run(Command::new(&analyze)
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={exposure}"))
            .arg(&unit))
        .unwrap();
    }
}
