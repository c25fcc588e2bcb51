//! The action for a rule of a certain event type.

use atalaya_secl::compile_value;
use atalaya_secl::model::{FieldInfo, Type};

use super::super::compile::{ActionContext, Problem};
use super::super::fields::{find, type_name};
use super::super::raw::RawAction;
use super::super::{SetAction, SetValue};
use super::{Sources, as_ip, default_of, literal, sources, target};

/// The action for a rule of a certain event type. Its variable is declared.
pub(in super::super) fn compile(
    action: &RawAction,
    cx: &ActionContext<'_>,
) -> Result<SetAction, Problem> {
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
            if found.info.name == "event.rule.tags" {
                // The event does not have them: the rule does.
                let program = compile_value(written, &cx.scope())
                    .map_err(|error| Problem::expression(place, written, error))?;
                SetValue::Expression(program)
            } else {
                SetValue::Field {
                    field: found.info,
                    index: found.index,
                }
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

fn scope_field(action: &RawAction, cx: &ActionContext<'_>) -> Result<Option<FieldInfo>, Problem> {
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
