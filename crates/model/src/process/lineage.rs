//! The chain of ancestors.

use std::sync::Arc;

use crate::process::Process;

/// The longest chain of ancestors. Ancestors live as long as their descendants, so a chain of processes that fork and
/// leave, or one process that executes itself again and again, would grow without end.
pub const MAX_LINEAGE: u32 = 256;

/// The link to the node before a process in the process tree.
#[derive(Debug, Clone, Default)]
pub struct Lineage {
    parent: Option<Arc<Process>>,
    depth: u32,
    cut: bool,
}

impl Lineage {
    /// The node before.
    #[must_use]
    pub fn parent(&self) -> Option<&Arc<Process>> {
        self.parent.as_ref()
    }

    /// How many ancestors there are.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Ancestors are missing in the middle: the chain was longer than [`MAX_LINEAGE`].
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

impl Drop for Lineage {
    /// Frees the chain in a loop: a long one would overflow the stack if each node freed the next.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut process) = next.and_then(Arc::into_inner) {
            next = process.parent.parent.take();
        }
    }
}

impl Process {
    /// Links the node to the one before it.
    ///
    /// At [`MAX_LINEAGE`] the chain grows no more. What is dropped then is the grandparent: the parent stays, because
    /// rules look at it most, and the oldest ancestors stay, so that nobody hides where it came from by forking often.
    pub fn set_parent(&mut self, parent: Option<Arc<Process>>) {
        let Some(mut parent) = parent else {
            self.parent = Lineage::default();
            return;
        };
        let mut cut = parent.parent.cut;
        if parent.parent.depth + 1 >= MAX_LINEAGE {
            let above = parent
                .parent
                .parent()
                .map(|grandparent| grandparent.parent.clone());
            let mut copy = (*parent).clone();
            copy.parent = above.unwrap_or_default();
            copy.parent.cut = true;
            cut = true;
            parent = Arc::new(copy);
        }
        self.parent = Lineage {
            depth: parent.parent.depth + 1,
            parent: Some(parent),
            cut,
        };
    }
}

/// Iterates over the ancestors of a process, nearest first.
#[derive(Debug, Clone)]
pub struct Ancestors<'a> {
    next: Option<&'a Arc<Process>>,
}

impl<'a> Ancestors<'a> {
    pub(crate) fn new(process: &'a Process) -> Self {
        Self {
            next: process.parent.parent(),
        }
    }

    /// The next ancestor, as it is shared.
    pub fn next_shared(&mut self) -> Option<&'a Arc<Process>> {
        let process = self.next?;
        self.next = process.parent.parent();
        Some(process)
    }
}

impl<'a> Iterator for Ancestors<'a> {
    type Item = &'a Process;

    fn next(&mut self) -> Option<&'a Process> {
        self.next_shared().map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(pid: u32, parent: Option<Arc<Process>>) -> Arc<Process> {
        let mut process = Process {
            pid,
            ..Process::default()
        };
        process.set_parent(parent);
        Arc::new(process)
    }

    #[test]
    fn counts_and_walks() {
        let shell = child(2, Some(child(1, None)));
        let leaf = child(3, Some(shell));
        assert_eq!(leaf.parent.depth(), 2);
        assert_eq!(leaf.ancestors().map(|p| p.pid).collect::<Vec<_>>(), [2, 1]);
        assert!(!leaf.parent.is_cut());
    }

    #[test]
    fn a_long_chain_keeps_both_ends() {
        let mut process = child(1, None);
        for pid in 2..=5000 {
            process = child(pid, Some(process));
        }
        let pids: Vec<u32> = process.ancestors().map(|p| p.pid).collect();
        assert_eq!(pids.first(), Some(&4999));
        assert_eq!(pids.last(), Some(&1));
        assert!(pids.contains(&2) && pids.contains(&200));
        assert!(process.parent.is_cut());
        assert!(pids.len() < MAX_LINEAGE as usize);
        assert_eq!(process.parent.depth() as usize, pids.len());
    }

    #[test]
    fn an_unbounded_chain_is_dropped_without_recursion() {
        let mut process = Arc::new(Process::default());
        for _ in 0..500_000 {
            process = Arc::new(Process {
                parent: Lineage {
                    parent: Some(process),
                    ..Lineage::default()
                },
                ..Process::default()
            });
        }
        drop(process);
    }
}
