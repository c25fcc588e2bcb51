//! `set`: which variable an action is about, and of what type.

use std::time::Duration;

use atalaya_secl::model::{OwnedValue, Schema, Type};

use super::compile::Problem;
use super::fields::{find, type_name};
use super::raw::{RawAction, Value};
use crate::variable::{VariableDef, VariableScopeKind, VariableTable};

mod compile;
mod sources;

pub(super) use compile::compile;
use sources::{Sources, address, as_ip, default_of, literal, sources};

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
    let default = address(&sources, default, table, schema);
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
