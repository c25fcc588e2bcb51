//! `process` objects.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use super::file::FileJson;
use super::{Scrubber, Time, is_false};
use crate::constants::capability_names;
use crate::context::Context;
use crate::fields::Cx;
use crate::process::{Cgroup, Container, Process, SessionKind, UserSession, group_name, user_name};

/// So many ancestors are written out; `truncated_ancestors` says when there are more.
const MAX_ANCESTORS: usize = 32;
/// So many bytes of arguments and environment are written out for the process itself and for each ancestor.
const MAX_STRINGS: usize = 128 << 10;
const MAX_ANCESTOR_STRINGS: usize = 4 << 10;

#[derive(Serialize)]
pub(super) struct ProcessJson<'a> {
    pid: u32,
    ppid: u32,
    tid: u32,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) user: Arc<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) group: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_resolution_error: Option<&'static str>,
    comm: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tty: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fork_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exec_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_time: Option<Time>,
    pub(super) credentials: CredentialsJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_session: Option<SessionJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<FileJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<FileJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<CgroupJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerJson<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    argv0: Cow<'a, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_false")]
    args_truncated: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    envs: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_false")]
    envs_truncated: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_thread: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_kworker: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_exec_child: bool,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Box<ProcessJson<'a>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ancestors: Vec<ProcessJson<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    truncated_ancestors: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variables: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize)]
pub(super) struct CredentialsJson {
    uid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: Arc<str>,
    gid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: Arc<str>,
    euid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    euser: Arc<str>,
    egid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    egroup: Arc<str>,
    fsuid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    fsuser: Arc<str>,
    fsgid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    fsgroup: Arc<str>,
    auid: u32,
    cap_effective: Vec<String>,
    cap_permitted: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destination: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct SessionJson<'a> {
    id: String,
    session_type: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    k8s_username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    k8s_uid: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    k8s_groups: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_client_ip: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ssh_auth_method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ssh_public_key: &'a str,
}

impl<'a> SessionJson<'a> {
    fn new(session: &'a UserSession, cx: Cx<'a>) -> Self {
        let is_ssh = session.kind == SessionKind::Ssh;
        let auth = session.ssh_auth.get();
        Self {
            id: session.id(cx),
            session_type: session.kind.name(),
            k8s_username: &session.k8s_username,
            k8s_uid: &session.k8s_uid,
            k8s_groups: &session.k8s_groups,
            ssh_port: is_ssh.then_some(session.ssh_client_port),
            ssh_client_ip: session.ssh_client_ip.map(|ip| ip.addr().to_string()),
            ssh_auth_method: match auth {
                Some(auth) => auth.name(),
                None if is_ssh => "unknown",
                None => "",
            },
            ssh_public_key: auth.map_or("", |auth| &auth.public_key),
        }
    }
}

#[derive(Serialize)]
pub(super) struct CgroupJson<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    manager: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variables: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize)]
pub(super) struct ContainerJson<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variables: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

impl<'a> CgroupJson<'a> {
    pub(super) fn new(cgroup: &'a Cgroup) -> Option<Self> {
        (!cgroup.path.is_empty()).then_some(Self {
            id: &cgroup.path,
            manager: &cgroup.manager,
            variables: None,
        })
    }
}

impl<'a> ContainerJson<'a> {
    pub(super) fn new(container: &'a Container) -> Self {
        Self {
            id: &container.id,
            created_at: Time::known(container.created_at),
            variables: None,
        }
    }
}

impl<'a> ProcessJson<'a> {
    /// A process with its ancestors.
    pub(super) fn new(process: &'a Process, context: &'a Context, scrubber: &Scrubber) -> Self {
        let mut json = Self::one(process, context, scrubber, MAX_STRINGS);
        json.truncated_ancestors =
            process.parent.is_cut() || process.ancestors().count() > MAX_ANCESTORS;
        let mut below = process;
        for ancestor in process.ancestors().take(MAX_ANCESTORS) {
            // What only forked has its parent's arguments and environment; one copy is enough.
            let limit = if Arc::ptr_eq(&below.image, &ancestor.image) {
                0
            } else {
                MAX_ANCESTOR_STRINGS
            };
            json.ancestors
                .push(Self::one(ancestor, context, scrubber, limit));
            below = ancestor;
        }
        json.parent = process
            .parent
            .parent()
            .map(|parent| Box::new(Self::one(parent, context, scrubber, MAX_ANCESTOR_STRINGS)));
        json
    }

    /// A process alone, with at most `limit` bytes of arguments and as many of environment; with 0, without these.
    fn one(process: &'a Process, context: &'a Context, scrubber: &Scrubber, limit: usize) -> Self {
        let cx = Cx::new(context, process);
        let image = &*process.image;
        let file = (!image.file.path.is_empty() || image.file.known).then_some(&image.file);
        let mut args = scrubber.args(image.args());
        let args_cut = truncate(&mut args, limit);
        let mut envs = image
            .env_names(context)
            .iter()
            .map(|env| scrubber.text(env))
            .collect();
        let envs_cut = truncate(&mut envs, limit);
        let user = user_name(process.creds.uid, cx);
        let group = group_name(process.creds.gid, cx);
        let previous = process.parent.parent();
        Self {
            pid: process.pid,
            ppid: process.ppid,
            tid: process.tid,
            uid: process.creds.uid,
            gid: process.creds.gid,
            path_resolution_error: file.and_then(crate::file::File::path_error),
            comm: &process.comm,
            tty: &process.tty,
            fork_time: Time::known(process.fork_time),
            exec_time: Time::known(process.exec_time),
            exit_time: Time::known(process.exit_time),
            credentials: CredentialsJson::new(cx, user.clone(), group.clone()),
            user,
            group,
            user_session: process
                .user_session
                .as_deref()
                .map(|session| SessionJson::new(session, cx)),
            executable: file.map(|file| FileJson::new(file, cx)),
            interpreter: image
                .interpreter
                .as_ref()
                .map(|file| FileJson::new(file, cx)),
            cgroup: CgroupJson::new(&process.cgroup),
            container: process.container.as_deref().map(ContainerJson::new),
            argv0: scrubber.text(image.argv0()),
            args,
            args_truncated: args_cut || limit > 0 && image.args_truncated,
            envs,
            envs_truncated: envs_cut || limit > 0 && image.envs_truncated,
            is_thread: process.is_thread,
            is_kworker: process.is_kworker,
            is_exec_child: process.is_exec
                && previous.is_some_and(|node| node.is_exec && node.pid == process.pid),
            source: if process.from_snapshot {
                "snapshot"
            } else {
                "event"
            },
            parent: None,
            ancestors: Vec::new(),
            truncated_ancestors: false,
            variables: None,
        }
    }
}

impl CredentialsJson {
    fn new(cx: Cx<'_>, user: Arc<str>, group: Arc<str>) -> Self {
        let creds = &cx.process.creds;
        // Mostly all ids are the same: ask once.
        let name_of_user = |uid| {
            if uid == creds.uid {
                user.clone()
            } else {
                user_name(uid, cx)
            }
        };
        let name_of_group = |gid| {
            if gid == creds.gid {
                group.clone()
            } else {
                group_name(gid, cx)
            }
        };
        Self {
            uid: creds.uid,
            gid: creds.gid,
            euid: creds.euid,
            euser: name_of_user(creds.euid),
            egid: creds.egid,
            egroup: name_of_group(creds.egid),
            fsuid: creds.fsuid,
            fsuser: name_of_user(creds.fsuid),
            fsgid: creds.fsgid,
            fsgroup: name_of_group(creds.fsgid),
            auid: creds.auid,
            cap_effective: capability_names(creds.cap_effective),
            cap_permitted: capability_names(creds.cap_permitted),
            destination: None,
            user,
            group,
        }
    }
}

/// Keeps the first `limit` bytes, the last string cut where that is in its middle, and tells whether something went.
/// With 0, keeps nothing and tells nothing was cut short: the strings are elsewhere.
fn truncate(strings: &mut Vec<Cow<'_, str>>, limit: usize) -> bool {
    let mut left = limit;
    for index in 0..strings.len() {
        let length = strings[index].len();
        if length > left {
            let end = strings[index].floor_char_boundary(left);
            strings[index] = Cow::Owned(strings[index][..end].to_owned());
            strings.truncate(if end == 0 { index } else { index + 1 });
            return limit > 0;
        }
        left -= length;
    }
    if limit == 0 {
        strings.clear();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_to_the_limit() {
        let cut = |words: &[&'static str], limit| {
            let mut strings = words.iter().map(|word| Cow::Borrowed(*word)).collect();
            let cut = truncate(&mut strings, limit);
            (strings.join(","), cut)
        };
        assert_eq!(cut(&["abc", "", "def"], 6), ("abc,,def".to_owned(), false));
        assert_eq!(cut(&["abc", "def"], 4), ("abc,d".to_owned(), true));
        assert_eq!(cut(&["abc", "def"], 3), ("abc".to_owned(), true));
        assert_eq!(cut(&["\u{e9}\u{e9}"], 3), ("\u{e9}".to_owned(), true));
        assert_eq!(cut(&["abc", ""], 0), (String::new(), false));
        assert_eq!(cut(&[], 0), (String::new(), false));
    }
}
