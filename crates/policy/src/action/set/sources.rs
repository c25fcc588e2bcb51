//! Where the value of a variable comes from, and the values that stand in the YAML.

use std::net::IpAddr;

use atalaya_secl::model::{OwnedValue, Schema, Type};
use atalaya_secl::{MacroSet, Scope, compile_value};

use super::super::compile::Problem;
use super::super::fields::type_name;
use super::super::raw::{RawAction, Value};
use crate::variable::VariableTable;

/// Where the value comes from: a field before an expression before a value.
pub(super) enum Sources<'a> {
    Field(&'a str),
    Expression(&'a str),
    Value(&'a Value),
}

pub(super) fn sources(action: &RawAction) -> Result<Sources<'_>, Problem> {
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
pub(super) fn default_of(action: &RawAction) -> Result<Option<OwnedValue>, Problem> {
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
pub(super) fn literal(value: &Value, action: &RawAction) -> Result<OwnedValue, Problem> {
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

/// A text, or list of texts, as addresses.
pub(super) fn as_ip(value: &OwnedValue) -> Option<OwnedValue> {
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

/// The default value of an expression that yields addresses, as an address: YAML has none.
pub(super) fn address(
    sources: &Sources<'_>,
    default: Option<OwnedValue>,
    table: &VariableTable,
    schema: &dyn Schema,
) -> Option<OwnedValue> {
    let Sources::Expression(text) = sources else {
        return default;
    };
    let Some(found) = default.as_ref().and_then(as_ip) else {
        return default;
    };
    let macros = MacroSet::default();
    let scope = Scope {
        variables: table,
        ..Scope::new(schema, &macros)
    };
    match compile_value(text, &scope) {
        Ok(program) if program.ty() == Type::Ip => Some(found),
        _ => default,
    }
}
