//! An action as written → an action that can be carried out.

use atalaya_secl::model::{FieldInfo, Schema};
use atalaya_secl::{Error, MacroSet, Program, Scope, compile_condition};

use super::raw::RawAction;
use super::{Action, ActionBody, ActionKind, body, set};
use crate::locate::File;
use crate::options::LoadOptions;
use crate::report::LoadError;
use crate::variable::VariableTable;
use crate::yaml::Place;

/// What an action is compiled against.
#[derive(Clone, Copy)]
pub(crate) struct ActionContext<'a> {
    pub(crate) schema: &'a dyn Schema,
    pub(crate) macros: &'a MacroSet,
    pub(crate) variables: &'a VariableTable,
    pub(crate) options: &'a LoadOptions,
    pub(crate) rule_tags: &'a [String],
    pub(crate) rule_id: &'a str,
    pub(crate) event_type: &'a str,
}

impl<'a> ActionContext<'a> {
    pub(super) fn scope(&self) -> Scope<'a> {
        Scope {
            schema: self.schema,
            macros: self.macros,
            variables: self.variables,
            rule_tags: self.rule_tags,
        }
    }

    /// Whether events of the rule have the field.
    pub(super) fn compatible(
        &self,
        field: &FieldInfo,
        written: &str,
        place: Place,
    ) -> Result<(), Problem> {
        if field
            .event
            .as_ref()
            .is_none_or(|event| *event == self.event_type)
        {
            return Ok(());
        }
        let message = format!(
            "field '{written}' is not compatible with '{}' rules",
            self.event_type
        );
        Err(Problem::at(place, message))
    }
}

/// What is wrong with an action.
#[derive(Debug)]
pub(crate) struct Problem {
    at: Place,
    message: String,
    help: Option<String>,
    /// The expression that is wrong, and what is wrong in it.
    expression: Option<(String, Box<Error>)>,
}

impl Problem {
    pub(super) fn at(at: Place, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            help: None,
            expression: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn from_field(at: Place, (message, help): (String, Option<String>)) -> Self {
        Self {
            help,
            ..Self::at(at, message)
        }
    }

    pub(super) fn expression(at: Place, text: &str, error: Error) -> Self {
        Self {
            expression: Some((text.to_owned(), Box::new(error))),
            ..Self::at(at, "")
        }
    }

    /// The error for the report of a rule.
    pub(crate) fn locate(&self, rule: &str, file: File<'_>) -> LoadError {
        let context = format!("skipping invalid action in rule {rule}: ");
        match &self.expression {
            Some((text, error)) => {
                let context = format!("{context}{}", self.message);
                file.in_expression(self.at, text, &context, error)
            }
            None => LoadError {
                help: self.help.clone().or_else(|| hint(&self.message)),
                ..file.error(self.at, format!("{context}{}", self.message))
            },
        }
    }
}

/// What to do about mistakes that need no more than their message to tell.
fn hint(message: &str) -> Option<String> {
    let hints = [
        ("variable name is empty", "add `name`"),
        ("either 'value', 'field' or", "add one of them"),
        (
            "'default_value' and 'value'",
            "make them of one type, or leave one out",
        ),
        ("failed to infer type", "such as 0, \"\" or false"),
        (
            "only variables scoped",
            "add `scope: process`, or leave the key out",
        ),
        (
            "is an array and can only",
            "add `append: true`, or take one element: `field[0]`",
        ),
        ("cannot use index access", "leave the index out"),
        ("failed to create array index", "such as `[0]`"),
        (
            "not compatible with",
            "an action sees fields of its rule's event type and those of every event",
        ),
        (
            "incompatible types",
            "make `default_value` of the type of the expression",
        ),
        (
            "different types",
            "make `default_value` of the type of the field, or leave it out",
        ),
        (
            "cardinality mismatch",
            "add `append: true`, or make `default_value` a single value",
        ),
        (
            "append is not supported",
            "append works with numbers, texts and lists",
        ),
        ("must be an integer field", "such as `process.pid`"),
        (
            "must be a positive number",
            "the number of elements or holders to keep",
        ),
        ("must be a number of bytes", "such as 1000000"),
        (
            "'kill' action is disabled",
            "enforcement is switched off in the configuration",
        ),
        ("a valid signal", "such as `signal: SIGKILL`"),
        ("a valid BPF filter", "such as `filter: port 53`"),
        (
            "requires packet event type",
            "packets are not captured here",
        ),
        ("either 'process', 'mount'", "such as `process: true`"),
    ];
    let found = hints.iter().find(|(part, _)| message.contains(part));
    found.map(|(_, help)| (*help).to_owned())
}

/// Checks and compiles an action for a rule of one event type.
pub(crate) fn compile(raw: &RawAction, cx: &ActionContext<'_>) -> Result<Action, Problem> {
    let Some(kind) = raw.kind else {
        return Err(Problem::at(raw.at, "an action without kind"));
    };
    let filter = filter(raw, cx)?;
    let body = match kind {
        ActionKind::Set => ActionBody::Set(set::compile(raw, cx)?),
        ActionKind::Kill => body::kill(raw, cx)?,
        ActionKind::Hash => body::hash(raw, cx)?,
        ActionKind::Coredump => body::coredump(raw)?,
        ActionKind::Log => body::log(raw, cx)?,
        ActionKind::NetworkFilter => body::network_filter(raw, cx)?,
    };
    Ok(Action {
        kind,
        filter,
        body,
        source: raw.to_string(),
    })
}

fn filter(raw: &RawAction, cx: &ActionContext<'_>) -> Result<Option<Program>, Problem> {
    let Some(text) = &raw.filter else {
        return Ok(None);
    };
    let program = compile_condition(&text.value, &cx.scope()).map_err(|error| {
        let problem = Problem::expression(text.at, &text.value, error);
        Problem {
            message: "filter: ".to_owned(),
            ..problem
        }
    })?;
    match program.event_type() {
        Some(event) if event != cx.event_type => {
            let message = format!(
                "filter '{}' with event type `{event}` is not compatible with '{}' rules",
                text.value, cx.event_type
            );
            Err(Problem::at(text.at, message))
        }
        _ => Ok(Some(program)),
    }
}
