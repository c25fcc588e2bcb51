//! `set`: which variable an action is about, of what type, and where the value comes from.

use std::net::IpAddr;
use std::time::Duration;

use atalaya_secl::compile_value;
use atalaya_secl::model::{OwnedValue, Schema, Type};

use super::compile::{ActionContext, Problem};
use super::fields::{find, type_name};
use super::raw::{RawAction, Value};
use super::{ActionScope, SetAction, SetValue};
use crate::variable::{VariableDef, VariableScopeKind, VariableTable};

/// The full name of the variable and whose it is, checked.
fn target(action: &RawAction) -> Result<(String, VariableScopeKind), Problem> {
    let Some(name) = action.text("name") else {
        return Err(Problem::at(action.place("name"), "variable name is empty"));
    };
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        let help = "letters, digits and `_`; the scope is a key of its own";
        return Err(Problem::at(
            action.place("name"),
            format!("invalid variable name '{name}'"),
        )
        .help(help));
    }
    let scope = match action.text("scope") {
        None => VariableScopeKind::Global,
        Some("process") => VariableScopeKind::Process,
        Some("container") => VariableScopeKind::Container,
        Some("cgroup") => VariableScopeKind::Cgroup,
        Some(other) => {
            return Err(
                Problem::at(action.place("scope"), format!("invalid scope '{other}'"))
                    .help("process, container, cgroup, or none for a global variable"),
            );
        }
    };
    let full = match scope.prefix() {
        "" => name.to_owned(),
        prefix => format!("{prefix}.{name}"),
    };
    Ok((full, scope))
}

/// Declares the variable of a `set` action, or checks that the action agrees with what is declared.
pub(crate) fn declare(
    action: &RawAction,
    table: &mut VariableTable,
    schema: &dyn Schema,
) -> Result<(), Problem> {
    let (name, scope) = target(action)?;
    let (sources, default) = (sources(action)?, default_of(action)?);
    for (flag, message) in [
        ("inherited", "can be marked as inherited"),
        ("scope_field", "can have a custom scope_field"),
    ] {
        let given = action.flag(flag) || action.text(flag).is_some();
        if given && scope != VariableScopeKind::Process {
            return Err(Problem::at(
                action.place(flag),
                format!("only variables scoped to process {message}"),
            ));
        }
    }
    for (what, taken) in [
        ("field", schema.field(&name).is_some()),
        ("constant", schema.constant(&name).is_some()),
    ] {
        if taken {
            let message = format!("variable '{name}' conflicts with {what}");
            return Err(Problem::at(action.place("name"), message).help("give it another name"));
        }
    }
    let size = match action.value("size") {
        Some(Value::Int(size)) if *size > 0 => usize::try_from(*size).ok(),
        None | Some(Value::Int(0)) => None,
        Some(_) => {
            return Err(Problem::at(
                action.place("size"),
                "'size' must be a positive number",
            ));
        }
    };
    let ttl = match action.value("ttl") {
        Some(Value::Int(nanos)) if *nanos > 0 => {
            u64::try_from(*nanos).ok().map(Duration::from_nanos)
        }
        _ => None,
    };
    let known = table.get(&name).map(|(_, def)| (def.ty, def.list));
    let (ty, list) = infer(action, &sources, default.as_ref(), known, schema)?;
    let private = action.flag("private");
    let Some(index) = table.index(&name) else {
        table.add(VariableDef {
            name,
            scope,
            ty,
            list,
            ttl,
            size,
            private,
            inherited: action.flag("inherited"),
            default: default.filter(|value| (value.ty(), value.is_list()) == (ty, list)),
        });
        return Ok(());
    };
    let Some(def) = table.defs.get_mut(index) else {
        return Ok(());
    };
    if (def.ty, def.list) != (ty, list) {
        let (old, new) = (type_name(def.ty, def.list), type_name(ty, list));
        let message = format!("conflicting types for variable '{name}': {old} != {new}");
        return Err(Problem::at(action.at, message)
            .help("all `set` actions of one variable must agree; or give this one another name"));
    }
    if def.private != private {
        let message = format!("conflicting private flag for variable '{name}'");
        return Err(Problem::at(action.place("private"), message)
            .help("give `private` in every `set` action of the variable, or in none"));
    }
    // What an action leaves open another one may say; the first to say it holds.
    def.ttl = def.ttl.or(ttl);
    def.size = def.size.or(size);
    def.inherited |= action.flag("inherited");
    Ok(())
}

/// Where the value comes from: a field before an expression before a value.
enum Sources<'a> {
    Field(&'a str),
    Expression(&'a str),
    Value(&'a Value),
}

fn sources(action: &RawAction) -> Result<Sources<'_>, Problem> {
    if let Some(field) = action.text("field") {
        return Ok(Sources::Field(field));
    }
    if let Some(expression) = action.text("expression") {
        return Ok(Sources::Expression(expression));
    }
    action.value("value").map(Sources::Value).ok_or_else(|| {
        Problem::at(
            action.at,
            "either 'value', 'field' or 'expression' must be specified",
        )
    })
}

/// The `default_value`; a `value` beside a field or expression is one as well.
fn default_of(action: &RawAction) -> Result<Option<OwnedValue>, Problem> {
    let read = |key: &str| {
        action
            .parameter(key)
            .map(|found| literal(&found.value, action))
            .transpose()
    };
    let (value, default) = (read("value")?, read("default_value")?);
    if let (Some(value), Some(default)) = (&value, &default)
        && (value.ty(), value.is_list()) != (default.ty(), default.is_list())
    {
        let (a, b) = (
            type_name(value.ty(), value.is_list()),
            type_name(default.ty(), default.is_list()),
        );
        let message = format!("'default_value' and 'value' must be of the same type ({a} != {b})");
        return Err(Problem::at(action.place("default_value"), message));
    }
    let beside = action.text("field").is_some() || action.text("expression").is_some();
    Ok(default.or(value.filter(|_| beside)))
}

/// A value as it stands in the YAML.
fn literal(value: &Value, action: &RawAction) -> Result<OwnedValue, Problem> {
    let name = action.text("name").unwrap_or_default();
    let items = match value {
        Value::Bool(value) => return Ok(OwnedValue::Bool(*value)),
        Value::Int(value) => return Ok(OwnedValue::Int(*value)),
        Value::Text(text) => return Ok(OwnedValue::Str(text.clone())),
        Value::List(items) => items,
    };
    let unsupported = |item: &Value| {
        let ty = match item {
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Text(_) => "string",
            Value::List(_) => "list",
        };
        let message = format!("unsupported item type '{ty}' for array '{name}'");
        Problem::at(action.at, message).help("texts or numbers, all of one type")
    };
    match items.first() {
        None => {
            let message = format!("unable to infer item type for '{name}'");
            Err(Problem::at(action.at, message).help("an empty list has no type"))
        }
        Some(Value::Text(_)) => items
            .iter()
            .map(|item| match item {
                Value::Text(text) => Ok(text.clone()),
                other => Err(unsupported(other)),
            })
            .collect::<Result<_, _>>()
            .map(OwnedValue::StrList),
        Some(Value::Int(_)) => items
            .iter()
            .map(|item| match item {
                Value::Int(value) => Ok(*value),
                other => Err(unsupported(other)),
            })
            .collect::<Result<_, _>>()
            .map(OwnedValue::IntList),
        Some(other) => Err(unsupported(other)),
    }
}

/// The type that the action gives its variable.
fn infer(
    action: &RawAction,
    sources: &Sources<'_>,
    default: Option<&OwnedValue>,
    known: Option<(Type, bool)>,
    schema: &dyn Schema,
) -> Result<(Type, bool), Problem> {
    let name = action.text("name").unwrap_or_default();
    let append = action.flag("append");
    let (ty, list) = match sources {
        Sources::Value(value) => {
            let value = literal(value, action)?;
            match known {
                // YAML has no addresses: a text is one where the variable is.
                Some((Type::Ip, _)) if as_ip(&value).is_some() => (Type::Ip, value.is_list()),
                _ => (value.ty(), value.is_list()),
            }
        }
        Sources::Field(field) => {
            let place = action.place("field");
            let found = find(field, schema).map_err(|error| Problem::from_field(place, error))?;
            if found.many() && !append {
                let message = format!(
                    "field '{field}' is an array and can only be used with 'append: yes' in set action for variable '{name}'"
                );
                return Err(Problem::at(place, message));
            }
            if let Some(default) = default {
                let (a, b) = (default.ty(), found.info.ty);
                if a != b && !(b == Type::Ip && as_ip(default).is_some()) {
                    let (a, b) = (type_name(a, false), type_name(b, false));
                    let message = format!(
                        "value and field have different types for variable '{name}' ({a} != {b})"
                    );
                    return Err(Problem::at(place, message));
                }
                if default.is_list() && !append {
                    let message =
                        format!("value and field cardinality mismatch for variable '{name}'");
                    return Err(Problem::at(place, message));
                }
            }
            (found.info.ty, found.many())
        }
        Sources::Expression(_) => match default {
            Some(value) => (value.ty(), value.is_list()),
            None => {
                let message = format!(
                    "failed to infer type for variable '{name}', please set 'default_value'"
                );
                return Err(Problem::at(action.place("expression"), message));
            }
        },
    };
    if !append || list {
        return Ok((ty, list));
    }
    // One value is added: to a list, or to a scalar that is there already.
    match known {
        Some((known, false)) if known == ty && matches!(ty, Type::Int | Type::String) => {
            Ok((ty, false))
        }
        Some((known, false)) if known == ty => {
            let message = format!(
                "append is not supported for variable '{name}' of type {}",
                type_name(ty, false)
            );
            Err(Problem::at(action.place("append"), message))
        }
        _ => Ok((ty, true)),
    }
}

/// A text, or list of texts, as addresses.
fn as_ip(value: &OwnedValue) -> Option<OwnedValue> {
    let one = |text: &String| {
        text.parse()
            .ok()
            .or_else(|| Some(text.parse::<IpAddr>().ok()?.into()))
    };
    match value {
        OwnedValue::Str(text) => one(text).map(OwnedValue::Ip),
        OwnedValue::StrList(texts) => texts
            .iter()
            .map(one)
            .collect::<Option<_>>()
            .map(OwnedValue::IpList),
        _ => None,
    }
}

/// The action for a rule of a certain event type. Its variable is declared.
pub(super) fn compile(action: &RawAction, cx: &ActionContext<'_>) -> Result<SetAction, Problem> {
    let (name, _) = target(action)?;
    let Some((variable, def)) = cx.variables.get(&name) else {
        let message = format!("variable '{name}' is not declared");
        return Err(Problem::at(action.at, message));
    };
    let default = default_of(action)?;
    let value = match sources(action)? {
        Sources::Value(value) => {
            let value = literal(value, action)?;
            let address = as_ip(&value).filter(|_| def.ty == Type::Ip);
            SetValue::Static(address.unwrap_or(value))
        }
        Sources::Field(written) => {
            let place = action.place("field");
            let found =
                find(written, cx.schema).map_err(|error| Problem::from_field(place, error))?;
            cx.compatible(&found.info, written, place)?;
            SetValue::Field {
                field: found.info,
                index: found.index,
            }
        }
        Sources::Expression(text) => {
            let place = action.place("expression");
            let program = compile_value(text, &cx.scope())
                .map_err(|error| Problem::expression(place, text, error))?;
            if let Some(event) = program.event_type()
                && event != cx.event_type
            {
                let message = format!(
                    "expression '{text}' with event type `{event}` is not compatible with '{}' rules",
                    cx.event_type
                );
                return Err(Problem::at(place, message));
            }
            let (ty, list) = (program.ty(), program.is_list());
            let scalar_default = default.as_ref().is_some_and(|value| !value.is_list());
            if ty != def.ty || list && scalar_default && !action.flag("append") {
                let message = format!(
                    "incompatible types: expression returns {} but default_value is {}",
                    type_name(ty, list),
                    default.as_ref().map_or_else(
                        || type_name(def.ty, def.list),
                        |value| type_name(value.ty(), value.is_list())
                    )
                );
                return Err(Problem::at(place, message));
            }
            SetValue::Expression(program)
        }
    };
    Ok(SetAction {
        variable,
        value,
        append: action.flag("append"),
        scope_field: scope_field(action, cx)?,
    })
}

fn scope_field(
    action: &RawAction,
    cx: &ActionContext<'_>,
) -> Result<Option<atalaya_secl::model::FieldInfo>, Problem> {
    let Some(written) = action.text("scope_field") else {
        return Ok(None);
    };
    let place = action.place("scope_field");
    let found = find(written, cx.schema).map_err(|error| Problem::from_field(place, error))?;
    if found.info.ty != Type::Int || found.many() {
        let message = format!("scope_field '{written}' must be an integer field with a pid");
        return Err(Problem::at(place, message));
    }
    cx.compatible(&found.info, written, place)?;
    Ok(Some(found.info))
}

/// Whom an action is about, of those it can be about.
pub(super) fn action_scope(
    action: &RawAction,
    allowed: &[ActionScope],
) -> Result<ActionScope, Problem> {
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
