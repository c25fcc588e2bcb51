//! JSON → values.

use std::net::IpAddr;

use atalaya_secl::model::{Constant, FieldInfo, OwnedValue, Type};
use ipnet::IpNet;
use serde_json::Value;

use super::{Given, ValueError};
use crate::constants;

/// The value of a field; one for each element where it is under an iterator.
pub(super) fn given(name: &str, json: &Value, info: &FieldInfo) -> Result<Given, ValueError> {
    if info.iterator.is_none() {
        return Ok(Given::One(value(name, json, info)?));
    }
    let items = items(json).iter().map(|item| value(name, item, info));
    Ok(Given::Each(items.collect::<Result<_, _>>()?))
}

/// The items of a list; a single value is a list of one.
fn items(json: &Value) -> &[Value] {
    match json {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

fn value(name: &str, json: &Value, info: &FieldInfo) -> Result<OwnedValue, ValueError> {
    if !info.list {
        return scalar(name, json, info.ty);
    }
    let scalars = items(json).iter().map(|item| scalar(name, item, info.ty));
    let scalars: Vec<OwnedValue> = scalars.collect::<Result<_, _>>()?;
    let mut list = OwnedValue::zero(info.ty, true);
    for item in scalars {
        match (&mut list, item) {
            (OwnedValue::BoolList(list), OwnedValue::Bool(item)) => list.push(item),
            (OwnedValue::IntList(list), OwnedValue::Int(item)) => list.push(item),
            (OwnedValue::StrList(list), OwnedValue::Str(item)) => list.push(item),
            (OwnedValue::IpList(list), OwnedValue::Ip(item)) => list.push(item),
            _ => return Err(wrong(name, json, info.ty)),
        }
    }
    Ok(list)
}

fn scalar(name: &str, json: &Value, ty: Type) -> Result<OwnedValue, ValueError> {
    let found = match (ty, json) {
        (Type::Bool, Value::Bool(value)) => Some(OwnedValue::Bool(*value)),
        (Type::Int, Value::Number(number)) => number
            .as_i64()
            // As in captured events: numbers without a sign wrap.
            .or_else(|| number.as_u64().map(u64::cast_signed))
            .map(OwnedValue::Int),
        (Type::Int, Value::String(text)) => return constants_of(name, text).map(OwnedValue::Int),
        (Type::String, Value::String(text)) => Some(OwnedValue::Str(text.clone())),
        (Type::Ip, Value::String(text)) => network(text).map(OwnedValue::Ip),
        _ => None,
    };
    found.ok_or_else(|| wrong(name, json, ty))
}

/// The value of constants joined by `|`.
fn constants_of(name: &str, text: &str) -> Result<i64, ValueError> {
    let mut bits = 0;
    for constant in text.split('|').map(str::trim) {
        let bit = || i64::from_str_radix(constant.strip_prefix("0x")?, 16).ok();
        let named = match constants::lookup(constant) {
            Some(Constant::Int(value)) => Some(value),
            _ => bit(),
        };
        let Some(value) = named else {
            let message = format!("`{name}` is a number, and `{constant}` is no constant");
            return Err(ValueError::new(name, message));
        };
        bits |= value;
    }
    Ok(bits)
}

fn network(text: &str) -> Option<IpNet> {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(|| address(text))
}

fn wrong(name: &str, json: &Value, ty: Type) -> ValueError {
    let wanted = match ty {
        Type::Bool => "true or false",
        Type::Int => "a whole number",
        Type::String => "text",
        Type::Ip => "an address or a network",
    };
    ValueError::new(name, format!("`{name}` is {wanted}, not {json}"))
}
