//! Variables: names that rules set and read. Their values live outside the language, behind two traits.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::model::{EventView, Type, Value};

/// A variable, as the scope numbers it. Opaque to the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableId(pub u32);

/// What the compiler must know of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariableInfo {
    /// The number to ask [`Variables`] with.
    pub id: VariableId,
    /// The type of the value or of each element.
    pub ty: Type,
    /// Whether the value is a list.
    pub list: bool,
}

/// The variables that exist, for the compiler.
pub trait VariableScope {
    /// Looks a variable up by its full name (`process.x`, `x`).
    fn variable(&self, name: &str) -> Option<VariableInfo>;
    /// Every name, for suggestions.
    fn names(&self) -> Vec<String>;
}

/// The values of variables, for the evaluator.
pub trait Variables {
    /// The value that the variable has for this event; the zero value of its type where it is unset.
    fn get(&self, id: VariableId, event: &dyn EventView) -> Value<'_>;

    /// The value of `${builtins.uuid4}`: a fresh one for each call.
    fn uuid4(&self) -> String {
        // Every RandomState has its own keys, from the system's randomness; two hashes make 128 bits.
        let half = || RandomState::new().build_hasher().finish();
        let bits = (u128::from(half()) << 64) | u128::from(half());
        let bits = bits & !(0xf << 76) | 4 << 76;
        let bits = bits & !(0b11 << 62) | 0b10 << 62;
        let hex = format!("{bits:032x}");
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }
}

/// No variable but the predefined ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVariables;

impl VariableScope for NoVariables {
    fn variable(&self, _: &str) -> Option<VariableInfo> {
        None
    }
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Variables for NoVariables {
    fn get(&self, _: VariableId, _: &dyn EventView) -> Value<'_> {
        Value::Int(0)
    }
}

/// What an evaluation has beside the event.
#[derive(Clone, Copy)]
pub struct EvalContext<'a> {
    /// The time at which the event is looked at, in nanoseconds on the clock of the event's time fields. One for the whole
    /// evaluation.
    pub now_ns: u64,
    /// The values of variables.
    pub variables: &'a dyn Variables,
}
