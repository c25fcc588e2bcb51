//! A compiled rule.

use crate::model::{EventView, FieldInfo};
use crate::necessary::Necessary;
use crate::variables::EvalContext;

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    event_type: Option<String>,
    fields: Vec<FieldInfo>,
    necessary: Necessary,
}

impl Program {
    /// Whether the event satisfies the expression.
    pub fn matches(&self, event: &dyn EventView, context: &EvalContext<'_>) -> bool {
        let _ = (event, context);
        false
    }

    /// The event type that the expression is about, if it names a field of one.
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    /// The fields that it reads, each once.
    pub fn fields(&self) -> &[FieldInfo] {
        &self.fields
    }

    /// What an event must have for the expression to hold.
    pub fn necessary(&self) -> &Necessary {
        &self.necessary
    }
}
