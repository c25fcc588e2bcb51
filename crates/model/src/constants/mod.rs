//! The names that rules may use for numbers.

use atalaya_secl::model::Constant;

/// A group of constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Its title.
    pub name: &'static str,
    /// The constants.
    pub all: &'static [(&'static str, i64)],
}

/// All groups.
pub const GROUPS: &[Group] = &[];

/// The constant with this name.
pub fn lookup(name: &str) -> Option<Constant> {
    match name {
        "true" => Some(Constant::Bool(true)),
        "false" => Some(Constant::Bool(false)),
        _ => GROUPS
            .iter()
            .flat_map(|group| group.all)
            .find(|(constant, _)| *constant == name)
            .map(|(_, value)| Constant::Int(*value)),
    }
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> {
    ["true", "false"].into_iter().chain(
        GROUPS
            .iter()
            .flat_map(|group| group.all)
            .map(|(name, _)| *name),
    )
}
