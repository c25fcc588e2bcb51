//! By what way records come: ring buffers, or perf buffers where there are none, which are also what can be had by configuration.

use atalaya_e2e::{Setup, sys};

use crate::common::{CWD, int, string};

#[test]
fn perf_buffers_do_what_ring_buffers_do() {
    let mut probe = Setup::new()
        .rule("made", r#"open.file.path == "{work}/made""#)
        .rule("moved", r#"rename.file.destination.path == "{work}/moved""#)
        .config("event_monitoring_config:\n  event_stream:\n    use_ring_buffer: false\n")
        .start();
    let status = probe.status();
    assert_eq!(
        status["details"]["sensor.transport"], "perf buffer",
        "{status:#}"
    );
    let (from, to) = (probe.path("made"), probe.path("moved"));
    let flags = int(libc::O_WRONLY | libc::O_CREAT);
    // More than one look of the reader takes, in order, and from whatever CPU the helper runs on.
    for _ in 0..20 {
        sys(
            libc::SYS_openat,
            &[CWD, &string(&from), &flags, &int(0o600)],
        );
        sys(libc::SYS_rename, &[&string(&from), &string(&to)]);
        probe.events.expect_rule("made");
        probe.events.expect_rule("moved");
    }
    let status = probe.status();
    assert_eq!(
        status["sensor"]["malformed_records"].as_u64().unwrap_or(0),
        0,
        "{status:#}"
    );
}
