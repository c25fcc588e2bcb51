//! A process that something is done to.

use std::sync::{Arc, OnceLock};

use atalaya_secl::model::{TextKind, Type, Validator, Value};

use crate::fields::{Cx, FieldSpec, Fields};
use crate::process::Process;

/// A process that something is done to (`signal.target`), with its parent and its ancestors.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// The process.
    pub process: Arc<Process>,
    ancestors: OnceLock<Box<[Arc<Process>]>>,
}

const PROCESS: u16 = 0;
const PARENT: u16 = 1;
const ANCESTORS: u16 = 2;
const LENGTH: u16 = 3;

impl Target {
    /// The process as a target.
    #[must_use]
    pub fn new(process: Arc<Process>) -> Self {
        Self {
            process,
            ancestors: OnceLock::new(),
        }
    }

    /// The ancestors, nearest first; collected once, since rules ask for them by index.
    fn ancestors(&self) -> &[Arc<Process>] {
        self.ancestors
            .get_or_init(|| self.process.shared_ancestors())
    }
}

impl PartialEq for Target {
    /// Whether it is the same node of the process tree.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.process, &other.process)
    }
}

/// The fields of the process, of its parent, of each ancestor, and how many those are.
impl Fields for Target {
    fn describe(into: &mut dyn FnMut(FieldSpec)) {
        Process::describe(&mut |spec| into(spec.under("", PROCESS)));
        Process::describe(&mut |spec| into(spec.under("parent", PARENT)));
        Process::describe(&mut |spec| into(spec.each().under("ancestors", ANCESTORS)));
        into(FieldSpec {
            name: "ancestors.length".to_owned(),
            doc: "The number of ancestors.",
            ty: Type::Int,
            list: false,
            text: TextKind::Plain,
            weight: 0,
            constants: "",
            since: "",
            validator: Validator::None,
            iterator: None,
            unavailable: "",
            path: vec![LENGTH],
        });
    }

    fn get<'a>(&'a self, path: &[u16], cx: Cx<'a>) -> Option<Value<'a>> {
        let (first, rest) = path.split_first()?;
        let process = match *first {
            PROCESS => &self.process,
            PARENT => self.process.parent.parent()?,
            ANCESTORS => self.ancestors().get(cx.index)?,
            LENGTH => return Some(Value::Int(i64::from(self.process.parent.depth()))),
            _ => return None,
        };
        process.get(rest, Cx { process, ..cx })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::context::Context;

    #[test]
    fn a_target_has_its_own_lineage() {
        let node = |pid, parent| {
            let mut process = Process {
                pid,
                ..Process::default()
            };
            process.set_parent(parent);
            Arc::new(process)
        };
        let target = Target::new(node(3, Some(node(2, Some(node(1, None))))));
        let mut paths = std::collections::HashMap::new();
        Target::describe(&mut |spec| {
            paths.insert(spec.name, (spec.path, spec.iterator));
        });
        let (context, other) = (Context::default(), Process::default());
        let read = |name: &str, index| {
            let (path, _) = &paths[name];
            let cx = Cx {
                index,
                ..Cx::new(&context, &other)
            };
            target.get(path, cx)
        };
        assert_eq!(read("pid", 0), Some(Value::Int(3)));
        assert_eq!(read("parent.pid", 0), Some(Value::Int(2)));
        assert_eq!(read("ancestors.pid", 1), Some(Value::Int(1)));
        assert_eq!(read("ancestors.pid", 2), None);
        assert_eq!(read("ancestors.length", 0), Some(Value::Int(2)));
        assert_eq!(paths["ancestors.pid"].1.as_deref(), Some("ancestors"));
        assert_eq!(paths["parent.pid"].1, None);
    }
}
