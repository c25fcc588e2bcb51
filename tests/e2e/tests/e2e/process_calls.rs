//! The event types of calls by which a process changes what it is: prctl.

use atalaya_e2e::{Setup, at, sys, text};

use crate::common::int;

const PR_SET_NAME: i64 = 15;

#[test]
fn event_prctl() {
    let mut probe = Setup::new()
        .rule(
            "renamed",
            r#"prctl.option == PR_SET_NAME && prctl.new_name == "kworker/7""#,
        )
        .start();
    let helper = sys(libc::SYS_prctl, &[&int(PR_SET_NAME), "s:kworker/7"]);
    let event = probe.events.expect_rule("renamed");
    assert_eq!(text(&event, "/evt/name"), "prctl", "{event:#}");
    assert_eq!(text(&event, "/prctl/new_name"), "kworker/7", "{event:#}");
    assert_eq!(at(&event, "/prctl/option"), "PR_SET_NAME", "{event:#}");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
}
