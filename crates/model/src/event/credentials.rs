//! Events of what a process may do.

use std::sync::Arc;

use atalaya_model_derive::Fields;

use crate::constants::{capability_names, name_of};
use crate::event_body;
use crate::json::Details;
use crate::record::{EventBody, EventRecord};

use crate::fields::Cx;
use crate::process::{group_name, user_name};

/// A process changed its user ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct SetuidEvent {
    /// The id of the process's user from now on.
    #[field]
    #[computed(name = "user", ty = String, get = SetuidEvent::user, weight = 50, doc = "The name of the process's user from now on.")]
    pub uid: u32,
    /// The id of the user that permissions are checked for from now on.
    #[field]
    #[computed(name = "euser", ty = String, get = SetuidEvent::euser, weight = 50, doc = "The name of the user that permissions are checked for from now on.")]
    pub euid: u32,
    /// The id of the user that file permissions are checked for from now on.
    #[field]
    #[computed(name = "fsuser", ty = String, get = SetuidEvent::fsuser, weight = 50, doc = "The name of the user that file permissions are checked for from now on.")]
    pub fsuid: u32,
}

impl SetuidEvent {
    fn user(&self, cx: Cx<'_>) -> Arc<str> {
        user_name(self.uid, cx)
    }

    fn euser(&self, cx: Cx<'_>) -> Arc<str> {
        user_name(self.euid, cx)
    }

    fn fsuser(&self, cx: Cx<'_>) -> Arc<str> {
        user_name(self.fsuid, cx)
    }
}

/// A process changed its group ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct SetgidEvent {
    /// The id of the process's group from now on.
    #[field]
    #[computed(name = "group", ty = String, get = SetgidEvent::group, weight = 50, doc = "The name of the process's group from now on.")]
    pub gid: u32,
    /// The id of the group that permissions are checked for from now on.
    #[field]
    #[computed(name = "egroup", ty = String, get = SetgidEvent::egroup, weight = 50, doc = "The name of the group that permissions are checked for from now on.")]
    pub egid: u32,
    /// The id of the group that file permissions are checked for from now on.
    #[field]
    #[computed(name = "fsgroup", ty = String, get = SetgidEvent::fsgroup, weight = 50, doc = "The name of the group that file permissions are checked for from now on.")]
    pub fsgid: u32,
}

impl SetgidEvent {
    fn group(&self, cx: Cx<'_>) -> Arc<str> {
        group_name(self.gid, cx)
    }

    fn egroup(&self, cx: Cx<'_>) -> Arc<str> {
        group_name(self.egid, cx)
    }

    fn fsgroup(&self, cx: Cx<'_>) -> Arc<str> {
        group_name(self.fsgid, cx)
    }
}

/// A process changed its capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct CapsetEvent {
    /// The effective capabilities from now on, as a bit mask.
    #[field(constants = "Kernel Capability constants")]
    pub cap_effective: u64,
    /// The permitted capabilities from now on, as a bit mask.
    #[field(constants = "Kernel Capability constants")]
    pub cap_permitted: u64,
}

/// A process used capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct CapabilitiesEvent {
    /// The capabilities the process asked for since it began, granted or not, as a bit mask.
    #[field(constants = "Kernel Capability constants")]
    pub attempted: u64,
    /// The capabilities the process asked for since it began and was granted, as a bit mask.
    #[field(constants = "Kernel Capability constants")]
    pub used: u64,
}

/// The `prctl` system call was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct PrctlEvent {
    /// What was asked for.
    #[field(constants = "PrCtl Options")]
    pub option: u32,
    /// The name that the thread gave itself (`PR_SET_NAME` only).
    #[field]
    pub new_name: String,
    /// Whether that name is longer than the 15 bytes of it that the kernel keeps.
    #[field]
    pub is_name_truncated: bool,
    /// What the call returned: 0 or what was asked for, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

event_body! {
    struct CapabilitiesBody as "capabilities_body" { attempted: u64, used: u64, }
}

impl EventBody for CapabilitiesEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: CapabilitiesBody = record.body()?;
        Some(Self {
            attempted: body.attempted,
            used: body.used,
        })
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.section(
            "capabilities",
            serde_json::json!({
                "caps_attempted": capability_names(self.attempted),
                "caps_used": capability_names(self.used),
            }),
        );
    }
}

event_body! {
    struct SetuidBody as "setuid_body" { uid: u32, euid: u32, fsuid: u32, reserved: u32, }
}

impl EventBody for SetuidEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SetuidBody = record.body()?;
        Some(Self {
            uid: body.uid,
            euid: body.euid,
            fsuid: body.fsuid,
        })
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let name = |uid| user_name(uid, details.cx());
        details.credentials_after(serde_json::json!({
            "uid": self.uid,
            "user": name(self.uid),
            "euid": self.euid,
            "euser": name(self.euid),
            "fsuid": self.fsuid,
            "fsuser": name(self.fsuid),
        }));
    }
}

event_body! {
    struct SetgidBody as "setgid_body" { gid: u32, egid: u32, fsgid: u32, reserved: u32, }
}

impl EventBody for SetgidEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SetgidBody = record.body()?;
        Some(Self {
            gid: body.gid,
            egid: body.egid,
            fsgid: body.fsgid,
        })
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let name = |gid| group_name(gid, details.cx());
        details.credentials_after(serde_json::json!({
            "gid": self.gid,
            "group": name(self.gid),
            "egid": self.egid,
            "egroup": name(self.egid),
            "fsgid": self.fsgid,
            "fsgroup": name(self.fsgid),
        }));
    }
}

event_body! {
    struct CapsetBody as "capset_body" { cap_effective: u64, cap_permitted: u64, }
}

impl EventBody for CapsetEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: CapsetBody = record.body()?;
        Some(Self {
            cap_effective: body.cap_effective,
            cap_permitted: body.cap_permitted,
        })
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.credentials_after(serde_json::json!({
            "cap_effective": capability_names(self.cap_effective),
            "cap_permitted": capability_names(self.cap_permitted),
        }));
    }
}

event_body! {
    struct PrctlBody as "prctl_body" { option: u32, reserved: u32, }
}

const PR_SET_NAME: u32 = 15;
/// Bytes of a thread's name, without the NUL at its end.
const KERNEL_NAME: usize = 15;

impl EventBody for PrctlEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: PrctlBody = record.body()?;
        let name = record.texts[0].take().unwrap_or_default();
        let mut event = Self {
            option: body.option,
            is_name_truncated: name.truncated || name.text.len() > KERNEL_NAME,
            new_name: name.text,
            retval: record.retval,
        };
        // The caller's memory may have changed since the kernel has read it; what the thread is called now has not.
        let kept = record.header.comm.trim_end_matches('\u{fffd}');
        if event.retval >= 0 && event.option == PR_SET_NAME && !event.new_name.starts_with(kept) {
            kept.clone_into(&mut event.new_name);
            event.is_name_truncated = false;
        }
        Some(event)
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.section(
            "prctl",
            serde_json::json!({
                "option": name_of("PrCtl Options", self.option.into()),
                "new_name": self.new_name,
                "is_name_truncated": self.is_name_truncated,
            }),
        );
    }
}
