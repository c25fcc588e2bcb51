//! A filter in the rule language, for events that are stored or shown.
//!
//! It is evaluated on what an event says as JSON, which is less than what a rule sees: secrets are masked, and of the environment there are
//! names only.

use atalaya_secl::model::Schema;
use atalaya_secl::{EvalContext, MacroSet, NoVariables, Program, Scope, compile_condition};
use serde_json::Value;

use crate::ValueEvent;

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    program: Program,
}

impl Filter {
    /// Compiles it. It may be about one event type, or about none.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(expression: &str) -> Result<Self, String> {
        let macros = MacroSet::default();
        let schema: &dyn Schema = crate::schema();
        let compiled = compile_condition(expression, &Scope::new(schema, &macros));
        compiled
            .map(|program| Self { program })
            .map_err(|error| match &error.help {
                Some(help) => format!("{error} ({help})"),
                None => error.to_string(),
            })
    }

    /// Whether it holds for the event.
    ///
    /// # Errors
    /// The event cannot be read as one.
    pub fn holds(&self, event: &Value) -> Result<bool, String> {
        let event = ValueEvent::from_document(event).map_err(|error| error.to_string())?;
        let wanted = self.program.event_type();
        if wanted.is_some_and(|wanted| wanted != event.event_type()) {
            return Ok(false);
        }
        let context = EvalContext {
            now_ns: event.now_ns().unwrap_or_else(now_ns),
            variables: &NoVariables,
        };
        Ok(self.program.matches(&event, &context))
    }
}

fn now_ns() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
