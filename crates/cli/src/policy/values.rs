//! Values of variables that an event file gives.

use anyhow::{Result, bail};
use atalaya_policy::{Bound, RuleSet, SetAction, SetValue, VariableDef};
use atalaya_secl::model::{EventView, OwnedValue, Type};
use atalaya_secl::{VariableId, nearest};
use serde_json::Value;

/// Sets variables by name: `{"seen": ["a"], "process.marked": true}`.
pub(crate) fn set(
    bound: &mut Bound<'_>,
    event: &dyn EventView,
    rules: &RuleSet,
    given: &Value,
) -> Result<()> {
    let given = match given {
        Value::Object(given) => given,
        Value::Null => return Ok(()),
        _ => bail!("`variables` of the event file is not a map of names and values"),
    };
    for (name, value) in given {
        let defs = rules.variables();
        let Some(index) = defs.iter().position(|def| def.name == *name) else {
            let near = nearest(name, defs.iter().map(|def| def.name.as_str()));
            let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            bail!("no rule sets the variable `{name}`{near}");
        };
        let def = &defs[index];
        let Some(value) = of(def, value) else {
            bail!("the variable `{name}` is {}, not {value}", kind(def));
        };
        let action = SetAction {
            variable: VariableId(u32::try_from(index)?),
            value: SetValue::Static(value),
            append: false,
            scope_field: None,
        };
        if !bound.set(&action, event) {
            bail!(
                "the event has no {} that could have `{name}`",
                def.scope.prefix()
            );
        }
    }
    Ok(())
}

fn of(def: &VariableDef, value: &Value) -> Option<OwnedValue> {
    let texts = || -> Option<Vec<&str>> { value.as_array()?.iter().map(Value::as_str).collect() };
    Some(match (def.ty, def.list) {
        (Type::Bool, false) => OwnedValue::Bool(value.as_bool()?),
        (Type::Int, false) => OwnedValue::Int(value.as_i64()?),
        (Type::String, false) => OwnedValue::Str(value.as_str()?.to_owned()),
        (Type::Ip, false) => OwnedValue::Ip(value.as_str()?.parse().ok()?),
        (Type::Bool, true) => OwnedValue::BoolList(
            value
                .as_array()?
                .iter()
                .map(Value::as_bool)
                .collect::<Option<_>>()?,
        ),
        (Type::Int, true) => OwnedValue::IntList(
            value
                .as_array()?
                .iter()
                .map(Value::as_i64)
                .collect::<Option<_>>()?,
        ),
        (Type::String, true) => {
            OwnedValue::StrList(texts()?.into_iter().map(str::to_owned).collect())
        }
        (Type::Ip, true) => {
            let parsed = texts()?.into_iter().map(|text| text.parse().ok());
            OwnedValue::IpList(parsed.collect::<Option<_>>()?)
        }
    })
}

fn kind(def: &VariableDef) -> &'static str {
    match (def.ty, def.list) {
        (Type::Bool, false) => "true or false",
        (Type::Int, false) => "a number",
        (Type::String, false) => "text",
        (Type::Ip, false) => "an address",
        (Type::Bool, true) => "a list of booleans",
        (Type::Int, true) => "a list of numbers",
        (Type::String, true) => "a list of texts",
        (Type::Ip, true) => "a list of addresses",
    }
}
