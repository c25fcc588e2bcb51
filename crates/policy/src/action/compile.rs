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
                help: self.help.clone(),
                ..file.error(self.at, format!("{context}{}", self.message))
            },
        }
    }
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
