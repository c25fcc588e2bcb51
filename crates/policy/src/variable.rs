//! The variables that `set` actions create: their names and types. Until actions are carried out every variable is unset and
//! has the zero value of its type.

use atalaya_secl::model::{EventView, Schema, Type, Value};
use atalaya_secl::{VariableId, VariableInfo, VariableScope, Variables};
use rustc_hash::FxHashMap;

use crate::action::{Action, Parameter};

/// The declared variables.
#[derive(Debug, Clone, Default)]
pub(crate) struct VariableTable {
    by_name: FxHashMap<String, usize>,
    types: Vec<(Type, bool)>,
}

impl VariableTable {
    /// Declares the variable of a `set` action.
    pub(crate) fn declare(&mut self, action: &Action, schema: &dyn Schema) -> Result<(), String> {
        let name = match action.text("name") {
            None | Some("") => return Err("variable name is empty".to_owned()),
            Some(name) => name,
        };
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(format!("invalid variable name '{name}'"));
        }
        let full = match action.text("scope") {
            None | Some("") => name.to_owned(),
            Some(scope @ ("process" | "container" | "cgroup")) => format!("{scope}.{name}"),
            Some(scope) => return Err(format!("invalid scope '{scope}'")),
        };
        if schema.field(&full).is_some() {
            return Err(format!("variable '{full}' conflicts with field"));
        }
        if schema.constant(&full).is_some() {
            return Err(format!("variable '{full}' conflicts with constant"));
        }
        let (ty, list) = infer(action, name, schema)?;
        match self.by_name.get(&full) {
            Some(&index) if self.types.get(index) != Some(&(ty, list)) => {
                Err(format!("conflicting types for variable '{full}'"))
            }
            Some(_) => Ok(()),
            None => {
                self.by_name.insert(full, self.types.len());
                self.types.push((ty, list));
                Ok(())
            }
        }
    }
}

fn infer(action: &Action, name: &str, schema: &dyn Schema) -> Result<(Type, bool), String> {
    let append = action.flag("append");
    let default = action.parameter("default_value").and_then(parameter_type);
    if let Some(value) = action.parameter("value") {
        let (ty, list) = parameter_type(value)
            .ok_or_else(|| format!("unable to infer item type for '{name}'"))?;
        return match default {
            Some((other, _)) if other != ty => Err(format!(
                "'default_value' and 'value' must be of the same type ({other:?} != {ty:?})"
            )),
            _ => Ok((ty, list || append)),
        };
    }
    if let Some(field) = action.text("field") {
        let (base, indexed) = match field
            .strip_suffix(']')
            .and_then(|inner| inner.rsplit_once('['))
        {
            Some((base, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => (base, true),
            _ => (field, false),
        };
        let info = schema
            .field(base)
            .ok_or_else(|| format!("failed to get field '{field}': it does not exist"))?;
        let many = (info.list || info.iterator.is_some()) && !indexed;
        if many && !append {
            let message =
                "is an array and can only be used with 'append: true' in set action for variable";
            return Err(format!("field '{field}' {message} '{name}'"));
        }
        return Ok((info.ty, append));
    }
    if action.text("expression").is_some() {
        let (ty, list) = default.ok_or_else(|| {
            format!("failed to infer type for variable '{name}', please set 'default_value'")
        })?;
        return Ok((ty, list || append));
    }
    Err("either 'value', 'field' or 'expression' must be specified".to_owned())
}

fn parameter_type(parameter: &Parameter) -> Option<(Type, bool)> {
    Some(match parameter {
        Parameter::Bool(_) => (Type::Bool, false),
        Parameter::Int(_) => (Type::Int, false),
        Parameter::Text(_) => (Type::String, false),
        Parameter::List(items) => (parameter_type(items.first()?)?.0, true),
    })
}

impl VariableScope for VariableTable {
    fn variable(&self, name: &str) -> Option<VariableInfo> {
        let index = *self.by_name.get(name)?;
        let (ty, list) = *self.types.get(index)?;
        Some(VariableInfo {
            id: VariableId(u32::try_from(index).ok()?),
            ty,
            list,
        })
    }

    fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }
}

impl Variables for VariableTable {
    fn get(&self, id: VariableId, _: &dyn EventView) -> Value<'_> {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        match self.types.get(index) {
            Some((Type::Bool, false)) => Value::Bool(false),
            Some((Type::Int, false)) => Value::Int(0),
            Some((Type::String, false)) => Value::Str("".into()),
            // An address has no zero value that an event could not have: a list without members equals nothing.
            Some((Type::Ip, _)) | None => Value::IpList([].as_slice().into()),
            Some((Type::Bool, true)) => Value::BoolList([].as_slice().into()),
            Some((Type::Int, true)) => Value::IntList([].as_slice().into()),
            Some((Type::String, true)) => Value::StrList([].as_slice().into()),
        }
    }
}
