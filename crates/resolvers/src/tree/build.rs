//! Nodes out of records and `/proc` entries.

use std::sync::Arc;

use atalaya_model::capture::{Exec, FileFields, Fork, Header, Namespaces};
use atalaya_model::{Creds, Image, Process, SessionKind};

use super::ProcessTree;
use crate::procfs::ProcEntry;

impl ProcessTree {
    /// What a record's header alone says. It has no executable and no parent, which is how it is told from others.
    pub(super) fn node_of_header(&self, header: &Header) -> Process {
        Process {
            pid: header.pid,
            tid: header.tid,
            comm: header.comm.as_str().into(),
            creds: header.creds.into(),
            namespaces: Namespaces {
                mnt: header.mntns,
                net: header.netns,
                ..Namespaces::default()
            },
            cgroup: self
                .cgroups
                .by_id(header.cgroup_id)
                .map(|found| found.cgroup)
                .unwrap_or_default(),
            container: self
                .cgroups
                .by_id(header.cgroup_id)
                .and_then(|found| found.container),
            ..Process::default()
        }
    }

    /// The node with what the header says differently; `None` when it says nothing new.
    pub(super) fn refreshed(&mut self, process: &Process, header: &Header) -> Option<Process> {
        let creds = Creds {
            caps_attempted: process.creds.caps_attempted,
            caps_used: process.creds.caps_used,
            ..Creds::from(header.creds)
        };
        let moved = header.cgroup_id != 0
            && process.cgroup.inode != 0
            && header.cgroup_id != process.cgroup.inode;
        let membership = if moved {
            self.membership_after_move(header)
        } else {
            None
        };
        // A namespace of 0 is one that the sensor did not see.
        let entered = |now: u32, then: u32| now != 0 && now != then;
        if membership.is_none()
            && process.creds == creds
            && process.tid == header.tid
            && is_of_login(process, header)
            && *process.comm == *header.comm
            && (header.ppid == 0 || header.ppid == process.ppid)
            && !entered(header.mntns, process.namespaces.mnt)
            && !entered(header.netns, process.namespaces.net)
        {
            return None;
        }
        let mut changed = process.clone();
        changed.creds = creds;
        changed.tid = header.tid;
        if *changed.comm != *header.comm {
            changed.comm = header.comm.as_str().into();
        }
        // Who had a parent that ended has another now. The lineage is not touched: it tells where a process comes from.
        if header.ppid != 0 {
            changed.ppid = header.ppid;
        }
        if header.mntns != 0 {
            changed.namespaces.mnt = header.mntns;
        }
        if header.netns != 0 {
            changed.namespaces.net = header.netns;
        }
        let former = changed.user_session.take();
        changed.user_session = self
            .sessions
            .of_login(former, header.session, header.creds.auid);
        if let Some(membership) = membership {
            changed.cgroup = membership.cgroup;
            changed.container = membership.container;
        }
        Some(changed)
    }

    /// The cgroup a process was moved to after its fork or exec: known by its number, else by `/proc`.
    fn membership_after_move(&mut self, header: &Header) -> Option<crate::Membership> {
        if let Some(found) = self.cgroups.by_id(header.cgroup_id) {
            return Some(found);
        }
        if !self.budget.take(header.time_ns) {
            return None;
        }
        let file = std::fs::read(atalaya_host::paths::process(header.pid, "cgroup")).ok()?;
        // It may have moved on: the number must be the record's.
        if self.cgroup_fs.id_of(&crate::cgroup::unified_path(&file)) != header.cgroup_id {
            return None;
        }
        let now = self.epoch_ns(header.time_ns);
        let path = crate::cgroup::from_proc(&file);
        Some(self.cgroups.get(header.cgroup_id, &path, now))
    }

    pub(super) fn node_of_fork(
        &mut self,
        header: &Header,
        fork: &Fork,
        forker: Arc<Process>,
    ) -> Process {
        let now = self.epoch_ns(header.time_ns);
        let membership = self.membership(
            Some(&forker),
            fork.cgroup_id,
            crate::cgroup::telling(&fork.cgroup),
            now,
        );
        let mut child = Process {
            pid: fork.child_pid,
            tid: fork.child_pid,
            ppid: fork.parent_pid,
            sid: forker.sid,
            ns_pid: fork.ns_pid,
            comm: Arc::clone(&forker.comm),
            tty: Arc::clone(&forker.tty),
            is_thread: !fork.is_kthread,
            is_exec: false,
            is_kworker: fork.is_kthread,
            from_snapshot: false,
            fork_time: self.epoch_ns(fork.start_time_ns),
            exec_time: 0,
            exit_time: 0,
            creds: header.creds.into(),
            namespaces: fork.namespaces,
            image: if fork.is_kthread {
                Arc::default()
            } else {
                Arc::clone(&forker.image)
            },
            cgroup: membership.cgroup,
            container: membership.container,
            user_session: forker.user_session.clone(),
            parent: atalaya_model::Lineage::default(),
        };
        child.set_parent(Some(forker));
        child
    }

    /// `exec`'s strings are taken out of it.
    pub(super) fn node_of_exec(
        &mut self,
        header: &Header,
        exec: &mut Exec,
        former: Option<&Process>,
        parent: Option<Arc<Process>>,
    ) -> Process {
        let now = self.epoch_ns(header.time_ns);
        let membership = self.membership(
            former,
            header.cgroup_id,
            crate::cgroup::telling(&exec.cgroup),
            now,
        );
        let tty = match former {
            Some(former) if *former.tty == *exec.tty => Arc::clone(&former.tty),
            _ => exec.tty.as_str().into(),
        };
        let mut process = Process {
            pid: header.pid,
            tid: header.tid,
            ppid: exec.ppid,
            sid: exec.sid,
            ns_pid: exec.ns_pid,
            comm: header.comm.as_str().into(),
            tty,
            is_thread: false,
            is_exec: true,
            is_kworker: false,
            from_snapshot: false,
            fork_time: self.epoch_ns(exec.start_time_ns),
            exec_time: now,
            exit_time: 0,
            creds: header.creds.into(),
            namespaces: exec.namespaces,
            image: Arc::new(Image::take(exec)),
            cgroup: membership.cgroup,
            container: membership.container,
            user_session: former
                .or(parent.as_deref())
                .and_then(|before| before.user_session.clone()),
            parent: atalaya_model::Lineage::default(),
        };
        process.set_parent(parent);
        // It runs what its parent ran, if it has executed nothing yet.
        let before = former.or(process.parent.parent().map(|parent| &**parent));
        process.user_session = match self.sessions.begun_by(&process, before) {
            Some(session) => Some(session),
            None => {
                let inherited = process.user_session.take();
                self.sessions
                    .of_login(inherited, header.session, header.creds.auid)
            }
        };
        process
    }

    /// A process as `/proc` told it.
    pub(super) fn node_of_entry(
        &mut self,
        entry: ProcEntry,
        from_snapshot: bool,
        parent: Option<Arc<Process>>,
    ) -> Process {
        let id = match entry.cgroup_id {
            0 => self.cgroup_fs.id_of(&entry.cgroup_v2_path),
            id => id,
        };
        let started = self.epoch_ns(entry.start_time_ns);
        let membership = self.membership(parent.as_deref(), id, &entry.cgroup_path, started);
        // A process that runs its parent's program shares it.
        let shared = parent.as_ref().filter(|parent| {
            // What it was forked with it still has; its own memory may not have been readable.
            let strings = parent.image.argv == entry.args && parent.image.envp == entry.envs;
            let unread = entry.args.is_empty() && entry.args_truncated;
            entry.is_fork && parent.image.file.inode == entry.exe.inode && (strings || unread)
        });
        let image = match shared {
            Some(parent) => Arc::clone(&parent.image),
            None if entry.exe == FileFields::default() && entry.args.is_empty() => Arc::default(),
            None => Arc::new(Image {
                filename: entry.exe.path.clone(),
                file: entry.exe.into(),
                argv: entry.args,
                args_truncated: entry.args_truncated,
                envp: entry.envs,
                envs_truncated: entry.envs_truncated,
                ..Image::default()
            }),
        };
        let is_exec = !entry.is_fork && !entry.is_kthread;
        let session = entry.session;
        let mut process = Process {
            pid: entry.pid,
            tid: entry.pid,
            ppid: entry.ppid,
            sid: entry.sid,
            ns_pid: entry.ns_pid,
            comm: entry.comm.into(),
            tty: entry.tty.into(),
            is_thread: entry.is_fork,
            is_exec,
            is_kworker: entry.is_kthread,
            from_snapshot,
            fork_time: started,
            // /proc does not say when; the start is the earliest it can have been.
            exec_time: if is_exec { started } else { 0 },
            exit_time: 0,
            creds: entry.creds.into(),
            namespaces: entry.namespaces,
            image,
            cgroup: membership.cgroup,
            container: membership.container,
            user_session: parent
                .as_ref()
                .and_then(|parent| parent.user_session.clone()),
            parent: atalaya_model::Lineage::default(),
        };
        process.set_parent(parent);
        let before = process.parent.parent().map(|parent| &**parent);
        let begun = before
            .filter(|_| is_exec)
            .and_then(|before| self.sessions.begun_by(&process, Some(before)));
        let inherited = begun.or_else(|| process.user_session.take());
        process.user_session = self
            .sessions
            .of_login(inherited, session, process.creds.auid);
        process
    }
}

/// Whether the process is known to belong to this login, or nobody logged in.
fn is_of_login(process: &Process, header: &Header) -> bool {
    let login = header.session;
    matches!(login, 0 | u32::MAX)
        || header.creds.auid == u32::MAX
        || process
            .user_session
            .as_ref()
            .is_some_and(|known| known.kind != SessionKind::Unknown || known.login == login)
}
