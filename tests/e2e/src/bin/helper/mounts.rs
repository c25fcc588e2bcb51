//! A mount by the calls that make one without a place first.

use crate::arguments::Arguments;
use crate::system_call;

const FSCONFIG_CMD_CREATE: i64 = 6;
const MOVE_MOUNT_F_EMPTY_PATH: i64 = 4;

/// A new tmpfs at `place`: fsopen, fsconfig, fsmount, move_mount. The result of the first that fails.
pub(crate) fn new_mount(place: &str) -> i64 {
    let call = |number: i64, arguments: &[&str]| system_call(number, &Arguments::parse(arguments));
    let fd = call(libc::SYS_fsopen, &["s:tmpfs", "i:0"]);
    if fd < 0 {
        return fd;
    }
    let (fd, create) = (format!("i:{fd}"), format!("i:{FSCONFIG_CMD_CREATE}"));
    let created = call(libc::SYS_fsconfig, &[&fd, &create, "i:0", "i:0", "i:0"]);
    if created < 0 {
        return created;
    }
    let mount = call(libc::SYS_fsmount, &[&fd, "i:0", "i:0"]);
    if mount < 0 {
        return mount;
    }
    let (mount, place) = (format!("i:{mount}"), format!("s:{place}"));
    let flags = format!("i:{MOVE_MOUNT_F_EMPTY_PATH}");
    call(
        libc::SYS_move_mount,
        &[&mount, "s:", "i:-100", &place, &flags],
    )
}
