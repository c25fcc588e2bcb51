//! The actions but `set`, checked.

use atalaya_secl::model::Constant;

use super::compile::{ActionContext, Problem};
use super::raw::{RawAction, Value};
use super::{
    ActionBody, ActionScope, CoreDumpAction, HashAction, KillAction, LogAction, LogLevel,
    NetworkFilterAction, NetworkPolicy,
};

pub(super) fn kill(action: &RawAction, cx: &ActionContext<'_>) -> Result<ActionBody, Problem> {
    if !cx.options.enforcement {
        return Err(Problem::at(action.at, "'kill' action is disabled globally"));
    }
    let Some(wanted) = action.text("signal") else {
        return Err(Problem::at(
            action.place("signal"),
            "a valid signal has to be specified to the 'kill' action",
        ));
    };
    let number = |name: &str| match cx.schema.constant(name) {
        Some(Constant::Int(number)) if name.starts_with("SIG") => i32::try_from(number).ok(),
        _ => None,
    };
    let Some(signal) = number(wanted) else {
        let problem = Problem::at(
            action.place("signal"),
            format!("unsupported signal '{wanted}'"),
        );
        let names = cx.schema.constant_names();
        let signals = names.iter().filter(|name| number(name).is_some());
        return Err(
            match atalaya_secl::nearest(wanted, signals.map(AsRef::as_ref)) {
                Some(name) => problem.help(format!("did you mean `{name}`?")),
                None => problem.help("the name of a signal, such as SIGKILL"),
            },
        );
    };
    let scopes = [
        ActionScope::Process,
        ActionScope::Container,
        ActionScope::Cgroup,
    ];
    Ok(ActionBody::Kill(KillAction {
        signal,
        name: wanted.to_owned(),
        scope: action_scope(action, &scopes)?,
        disable_container_disarmer: action.flag("disable_container_disarmer"),
        disable_executable_disarmer: action.flag("disable_executable_disarmer"),
    }))
}

pub(super) fn hash(action: &RawAction, cx: &ActionContext<'_>) -> Result<ActionBody, Problem> {
    let place = action.place("field");
    let field = match (action.text("field"), cx.event_type) {
        (Some(field), _) => field.to_owned(),
        (None, event @ ("open" | "exec")) => format!("{event}.file"),
        (None, event) => {
            let message = format!("`field` attribute is mandatory for '{event}' rules");
            return Err(Problem::at(place, message).help("such as `field: process.file`"));
        }
    };
    let Some(path) = cx.schema.field(&format!("{field}.path")) else {
        let message = format!("failed to get field '{field}': it is no file of an event");
        return Err(Problem::at(place, message).help("such as open.file or process.file"));
    };
    cx.compatible(&path, &field, place)?;
    let max_file_size = match action.value("max_file_size") {
        None | Some(Value::Int(0)) => None,
        Some(Value::Int(size)) if *size > 0 => u64::try_from(*size).ok(),
        Some(_) => {
            return Err(Problem::at(
                action.place("max_file_size"),
                "'max_file_size' must be a number of bytes",
            ));
        }
    };
    Ok(ActionBody::Hash(HashAction {
        field,
        path,
        max_file_size,
    }))
}

pub(super) fn coredump(action: &RawAction) -> Result<ActionBody, Problem> {
    let body = CoreDumpAction {
        process: action.flag("process"),
        mount: action.flag("mount"),
        dentry: action.flag("dentry"),
        no_compression: action.flag("no_compression"),
    };
    if !body.process && !body.mount && !body.dentry {
        return Err(Problem::at(
            action.at,
            "either 'process', 'mount' or 'dentry' must be specified",
        ));
    }
    Ok(ActionBody::CoreDump(body))
}

pub(super) fn log(action: &RawAction, cx: &ActionContext<'_>) -> Result<ActionBody, Problem> {
    let level = match action.text("level") {
        Some("debug") => LogLevel::Debug,
        Some("info") => LogLevel::Info,
        Some("warning") => LogLevel::Warning,
        Some("error") => LogLevel::Error,
        _ => {
            return Err(Problem::at(
                action.place("level"),
                "a valid log level must be specified to the 'log' action",
            )
            .help("debug, info, warning or error"));
        }
    };
    let message = action
        .text("message")
        .map_or_else(|| format!("Rule {} triggered", cx.rule_id), str::to_owned);
    Ok(ActionBody::Log(LogAction { level, message }))
}

pub(super) fn network_filter(
    action: &RawAction,
    cx: &ActionContext<'_>,
) -> Result<ActionBody, Problem> {
    let enabled = cx.options.event_types.as_ref();
    if enabled.is_some_and(|enabled| !enabled.contains("packet")) {
        return Err(Problem::at(
            action.at,
            "network_filter action requires packet event type",
        ));
    }
    let place = action.place("filter");
    let Some(filter) = action.text("filter") else {
        return Err(Problem::at(
            place,
            "a valid BPF filter must be specified to the 'network_filter' action",
        ));
    };
    if let Err(error) = atalaya_pcap::Filter::new(filter) {
        let message =
            format!("a valid BPF filter must be specified to the 'network_filter' action: {error}");
        let problem = Problem::at(place, message);
        return Err(match error.help {
            Some(help) => problem.help(help),
            None => problem,
        });
    }
    let policy = match action.text("policy") {
        Some("drop") => NetworkPolicy::Drop,
        Some("accept") => NetworkPolicy::Accept,
        other => {
            let message = format!("invalid policy '{}'", other.unwrap_or_default());
            return Err(Problem::at(action.place("policy"), message).help("drop or accept"));
        }
    };
    Ok(ActionBody::NetworkFilter(NetworkFilterAction {
        filter: filter.to_owned(),
        policy,
        scope: action_scope(action, &[ActionScope::Process, ActionScope::Cgroup])?,
    }))
}

/// Whom an action is about, of those it can be about.
fn action_scope(action: &RawAction, allowed: &[ActionScope]) -> Result<ActionScope, Problem> {
    let Some(text) = action.text("scope") else {
        return Ok(ActionScope::Process);
    };
    allowed
        .iter()
        .copied()
        .find(|scope| scope.name() == text)
        .ok_or_else(|| {
            let names: Vec<&str> = allowed.iter().map(|scope| scope.name()).collect();
            Problem::at(action.place("scope"), format!("invalid scope '{text}'"))
                .help(format!("one of {}", names.join(", ")))
        })
}
