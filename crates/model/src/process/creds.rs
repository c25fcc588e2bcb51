//! The credentials of a process.

use std::sync::Arc;

use atalaya_model_derive::Fields;

use crate::capture::Credentials;
use crate::fields::Cx;

/// The credentials of a process, as ids of the initial user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct Creds {
    /// The id of the process's user.
    #[field(validator = NonNegative)]
    #[computed(name = "user", ty = String, get = Creds::user, weight = 50, doc = "The name of the process's user.")]
    pub uid: u32,
    /// The id of the process's group.
    #[field(validator = NonNegative)]
    #[computed(name = "group", ty = String, get = Creds::group, weight = 50, doc = "The name of the process's group.")]
    pub gid: u32,
    /// The id of the user that permissions are checked for.
    #[field(validator = NonNegative)]
    #[computed(name = "euser", ty = String, get = Creds::euser, weight = 50, doc = "The name of the user that permissions are checked for.")]
    pub euid: u32,
    /// The id of the group that permissions are checked for.
    #[field(validator = NonNegative)]
    #[computed(name = "egroup", ty = String, get = Creds::egroup, weight = 50, doc = "The name of the group that permissions are checked for.")]
    pub egid: u32,
    /// The id of the user that file permissions are checked for.
    #[field(validator = NonNegative)]
    #[computed(name = "fsuser", ty = String, get = Creds::fsuser, weight = 50, doc = "The name of the user that file permissions are checked for.")]
    pub fsuid: u32,
    /// The id of the group that file permissions are checked for.
    #[field(validator = NonNegative)]
    #[computed(name = "fsgroup", ty = String, get = Creds::fsgroup, weight = 50, doc = "The name of the group that file permissions are checked for.")]
    pub fsgid: u32,
    /// The id of the user that logged in, whatever the process became since; `AUDIT_AUID_UNSET` when nobody did.
    #[field(validator = NonNegative)]
    pub auid: u32,
    /// The effective capabilities, as a bit mask.
    #[field(constants = "Kernel Capability constants")]
    pub cap_effective: u64,
    /// The permitted capabilities, as a bit mask.
    #[field(constants = "Kernel Capability constants")]
    pub cap_permitted: u64,
    /// The capabilities that the process asked for since it began, granted or not, as a bit mask. Followed from when a first rule asks
    /// for it.
    #[field(constants = "Kernel Capability constants")]
    pub caps_attempted: u64,
    /// The capabilities that the process asked for since it began and was granted, as a bit mask.
    #[field(constants = "Kernel Capability constants")]
    pub caps_used: u64,
}

impl From<Credentials> for Creds {
    fn from(creds: Credentials) -> Self {
        Self {
            uid: creds.uid,
            gid: creds.gid,
            euid: creds.euid,
            egid: creds.egid,
            fsuid: creds.fsuid,
            fsgid: creds.fsgid,
            auid: creds.auid,
            cap_effective: creds.cap_effective,
            cap_permitted: creds.cap_permitted,
            ..Self::default()
        }
    }
}

impl From<Creds> for Credentials {
    fn from(creds: Creds) -> Self {
        Self {
            uid: creds.uid,
            gid: creds.gid,
            euid: creds.euid,
            egid: creds.egid,
            fsuid: creds.fsuid,
            fsgid: creds.fsgid,
            auid: creds.auid,
            cap_effective: creds.cap_effective,
            cap_permitted: creds.cap_permitted,
        }
    }
}

impl Creds {
    fn user(&self, cx: Cx<'_>) -> Arc<str> {
        user(self.uid, cx)
    }

    fn euser(&self, cx: Cx<'_>) -> Arc<str> {
        user(self.euid, cx)
    }

    fn fsuser(&self, cx: Cx<'_>) -> Arc<str> {
        user(self.fsuid, cx)
    }

    fn group(&self, cx: Cx<'_>) -> Arc<str> {
        group(self.gid, cx)
    }

    fn egroup(&self, cx: Cx<'_>) -> Arc<str> {
        group(self.egid, cx)
    }

    fn fsgroup(&self, cx: Cx<'_>) -> Arc<str> {
        group(self.fsgid, cx)
    }
}

pub(crate) fn user(uid: u32, cx: Cx<'_>) -> Arc<str> {
    cx.context.lookup.user(uid, cx.process).unwrap_or_default()
}

pub(crate) fn group(gid: u32, cx: Cx<'_>) -> Arc<str> {
    cx.context.lookup.group(gid, cx.process).unwrap_or_default()
}
