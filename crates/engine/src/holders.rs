//! Whose variables an event is about.

use std::cell::Cell;
use std::sync::Arc;

use atalaya_model::Process;
use atalaya_policy::Scopes;
use atalaya_resolvers::ProcessTree;

/// The holders of variables that belong to an event: its process with the ancestors, container and cgroup.
pub(crate) struct Holders<'a> {
    process: &'a Process,
    tree: &'a ProcessTree,
    /// The ancestor that was asked for last: they are asked for one after the other.
    last: Cell<(usize, Option<&'a Arc<Process>>)>,
}

impl<'a> Holders<'a> {
    pub(crate) fn new(process: &'a Process, tree: &'a ProcessTree) -> Self {
        Self {
            process,
            tree,
            last: Cell::new((0, process.parent.parent())),
        }
    }
}

impl Scopes for Holders<'_> {
    fn process(&self) -> Option<u64> {
        Some(key_of(self.process))
    }

    fn ancestor(&self, n: usize) -> Option<u64> {
        let (mut at, mut node) = self.last.get();
        if n < at {
            (at, node) = (0, self.process.parent.parent());
        }
        while at < n {
            node = node?.parent.parent();
            at += 1;
        }
        self.last.set((at, node));
        node.map(|process| key_of(process))
    }

    fn container(&self) -> &str {
        self.process.container_id()
    }

    fn cgroup(&self) -> &str {
        &self.process.cgroup.path
    }

    fn process_of_pid(&self, pid: i64) -> Option<u64> {
        let pid = u32::try_from(pid).ok()?;
        self.tree.get(pid).map(|process| key_of(process))
    }
}

/// The number of a node of the process tree: its pid and the time, to the nanosecond, at which it began. Copies of the
/// node with other credentials keep it.
pub(crate) fn key_of(process: &Process) -> u64 {
    let began = match process.exec_time {
        0 => process.fork_time,
        time => time,
    };
    // Multiplied so that neighbouring pids and times do not meet.
    began
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
        .wrapping_add(u64::from(process.pid).wrapping_mul(0xff51_afd7_ed55_8ccd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(pid: u32, exec_time: u64, parent: Option<Arc<Process>>) -> Arc<Process> {
        let mut process = Process {
            pid,
            exec_time,
            ..Process::default()
        };
        process.set_parent(parent);
        Arc::new(process)
    }

    #[test]
    fn ancestors_in_any_order() {
        let nodes = [1, 2, 3, 4].iter().fold(Vec::new(), |mut nodes, pid| {
            nodes.push(child(*pid, u64::from(*pid), nodes.last().cloned()));
            nodes
        });
        let tree = ProcessTree::default();
        let holders = Holders::new(&nodes[3], &tree);
        for n in [0, 1, 2, 0, 2, 1] {
            assert_eq!(holders.ancestor(n), Some(key_of(&nodes[2 - n])));
        }
        assert_eq!(holders.ancestor(3), None);
        assert_eq!(holders.ancestor(9), None);
        assert_eq!(holders.ancestor(0), Some(key_of(&nodes[2])));
        assert_eq!(holders.process(), Some(key_of(&nodes[3])));
    }

    #[test]
    fn an_exec_is_another_holder() {
        let mut before = Process {
            pid: 5,
            fork_time: 100,
            ..Process::default()
        };
        let forked = key_of(&before);
        before.exec_time = 200;
        assert_ne!(forked, key_of(&before));
        let executed = key_of(&before);
        before.comm = "other".into();
        assert_eq!(executed, key_of(&before));
    }
}
