//! A filter in the rule language, for events that are stored or shown.
//!
//! It is evaluated on what an event says as JSON, which is less than what a rule sees: secrets are masked, and of the environment there are
//! names only.

use std::sync::OnceLock;

use atalaya_secl::model::Schema;
use atalaya_secl::{EvalContext, MacroSet, NoVariables, Program, Scope, compile_condition};
use serde_json::Value;

use crate::{EVENT_TYPES, EventReader};

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    /// How events of each type are read, made when the first of them comes: a filter looks at few fields.
    readers: Vec<OnceLock<Option<EventReader>>>,
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
            .map(|program| Self {
                program,
                readers: EVENT_TYPES.iter().map(|_| OnceLock::new()).collect(),
            })
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
        let name = event["evt"]["name"].as_str().ok_or("this is no event")?;
        let wanted = self.program.event_type();
        if wanted.is_some_and(|wanted| wanted != name) {
            return Ok(false);
        }
        let at = EVENT_TYPES.iter().position(|known| known.name == name);
        let reader = at.and_then(|at| {
            let fields = || self.program.fields().iter().map(|field| field.id);
            let made = self.readers[at].get_or_init(|| EventReader::new(name, fields()));
            made.as_ref()
        });
        let reader = reader.ok_or_else(|| format!("there is no event type {name}"))?;
        let event = reader.read(event).map_err(|error| error.to_string())?;
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
