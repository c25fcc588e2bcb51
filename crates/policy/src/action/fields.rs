//! The fields that actions name.

use atalaya_secl::model::{FieldInfo, Schema, Type};
use atalaya_secl::nearest;

/// A field as an action names it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) info: FieldInfo,
    pub(super) index: Option<usize>,
}

impl Named {
    /// Whether it can have another number of values than one.
    pub(super) fn many(&self) -> bool {
        self.info.iterator.is_some() || self.info.list && self.index.is_none()
    }
}

/// A field, and what to do where it is none.
pub(super) fn find(written: &str, schema: &dyn Schema) -> Result<Named, (String, Option<String>)> {
    let (name, index) = match written
        .strip_suffix(']')
        .and_then(|inner| inner.rsplit_once('['))
    {
        Some((name, text)) => match text.parse::<usize>() {
            Ok(index) => (name, Some(index)),
            Err(_) => {
                let message = format!(
                    "failed to get field '{written}': failed to create array index accessor: `{text}` is no number"
                );
                return Err((message, None));
            }
        },
        None => (written, None),
    };
    let Some(info) = schema.field(name) else {
        let names = schema.field_names();
        let help = nearest(name, names.iter().map(AsRef::as_ref))
            .map(|known| format!("did you mean `{known}`?"));
        let message = format!("failed to get field '{written}': field `{name}` not found");
        return Err((message, help));
    };
    if index.is_some() && !info.list {
        let message = format!("field '{name}' is not an array, cannot use index access");
        return Err((message, None));
    }
    Ok(Named { info, index })
}

/// A type as messages write it.
pub(crate) fn type_name(ty: Type, list: bool) -> &'static str {
    match (ty, list) {
        (Type::Bool, false) => "bool",
        (Type::Int, false) => "int",
        (Type::String, false) => "string",
        (Type::Ip, false) => "ip",
        (Type::Bool, true) => "[]bool",
        (Type::Int, true) => "[]int",
        (Type::String, true) => "[]string",
        (Type::Ip, true) => "[]ip",
    }
}
