//! Who may talk to system-probe.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use atalaya_e2e::{Setup, copy_executable, program};

#[test]
fn only_owner_and_group_reach_the_socket() {
    let probe = Setup::new().start();
    let socket = std::fs::symlink_metadata(probe.socket()).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o7777, 0o660);
    assert_eq!(socket.uid(), 0);
}

#[test]
fn another_user_is_refused_by_its_credentials() {
    let probe = Setup::new().start();
    let agent = probe.dir().join("security-agent");
    copy_executable(&program("security-agent"), &agent);
    // Open the way to the socket, so that the check of the peer alone stands.
    let everyone = |mode| PermissionsExt::from_mode(mode);
    std::fs::set_permissions(probe.socket(), everyone(0o666)).unwrap();
    std::fs::set_permissions(probe.dir().join("run"), everyone(0o755)).unwrap();
    std::fs::set_permissions(&agent, everyone(0o755)).unwrap();
    let run = |uid: u32| {
        let output = Command::new(&agent)
            .arg("-c")
            .arg(probe.config())
            .args(["runtime", "policy", "reload"])
            .uid(uid)
            .gid(uid)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let (good, text) = run(12345);
    assert!(!good, "{text}");
    let (good, text) = run(0);
    assert!(good, "{text}");
}
