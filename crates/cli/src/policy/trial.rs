//! An event made of values, as `policy eval` and `policy test` try rules on.

use std::time::{SystemTime, UNIX_EPOCH};

use atalaya_model::ValueEvent;
use atalaya_policy::Scopes;
use atalaya_secl::model::{EventView, FieldId, IterId, Value};
use serde_json::Map;

/// An event of values and whose variables it sees: processes are told apart by their pids.
pub(crate) struct Trial {
    event: ValueEvent,
    ancestors: Vec<u64>,
    container: String,
    cgroup: String,
}

impl Trial {
    /// An event of this type, and the time it is for it: `now` of the values, or the present.
    pub(crate) fn new(
        event_type: &str,
        values: &Map<String, serde_json::Value>,
    ) -> Result<(Self, u64), String> {
        let event = ValueEvent::from_values(event_type, values).map_err(|e| e.to_string())?;
        let now_ns = event.now_ns().unwrap_or_else(|| {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        });
        let trial = Self {
            ancestors: event.ancestor_pids().into_iter().map(key).collect(),
            container: event.container_id(),
            cgroup: event.cgroup_id(),
            event,
        };
        Ok((trial, now_ns))
    }
}

/// Pids are not negative.
fn key(pid: i64) -> u64 {
    pid.unsigned_abs()
}

impl EventView for Trial {
    fn get(&self, field: FieldId) -> Value<'_> {
        self.event.get(field)
    }

    fn iter_len(&self, iter: IterId) -> usize {
        self.event.iter_len(iter)
    }

    fn get_at(&self, field: FieldId, index: usize) -> Option<Value<'_>> {
        self.event.get_at(field, index)
    }
}

impl Scopes for Trial {
    /// Events without a pid are all of one process.
    fn process(&self) -> Option<u64> {
        Some(key(self.event.pid()))
    }

    fn ancestor(&self, n: usize) -> Option<u64> {
        self.ancestors.get(n).copied()
    }

    fn container(&self) -> &str {
        &self.container
    }

    fn cgroup(&self) -> &str {
        &self.cgroup
    }

    fn process_of_pid(&self, pid: i64) -> Option<u64> {
        (pid > 0).then(|| key(pid))
    }
}
