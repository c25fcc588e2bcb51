//! Policy files → the rules in force.
//!
//! [`RuleSet::load`] reads the `*.policy` files of a directory and the policies the agent brings itself, filters and merges
//! their rules and macros, compiles them against a [`atalaya_secl::model::Schema`] and sorts them into buckets by event
//! type. One bad rule, macro or file never takes the rest down: it is left out, and the [`LoadReport`] says where (file,
//! line and column), why, and what to do.
//!
//! The caller then asks, per event: [`RuleSet::evaluate`] which rules match, and [`RateLimiter::allow`] whether one may send
//! yet another event; and once per load: [`RuleSet::event_types`], [`RuleSet::fields`] and [`RuleSet::approvers`] for what the
//! rules need from the kernel.
#![forbid(unsafe_code)]

mod action;
mod approvers;
mod diff;
mod document;
mod explain;
mod filter;
mod fim;
mod limiter;
mod lint;
mod load;
mod locate;
mod merge;
mod options;
mod report;
mod rule;
mod ruleset;
mod source;
pub mod store;
pub mod testing;
mod variable;
mod yaml;

pub use action::{
    Action, ActionBody, ActionKind, ActionScope, CoreDumpAction, HashAction, KillAction, LogAction,
    LogLevel, NetworkFilterAction, NetworkPolicy, SetAction, SetValue,
};
pub use approvers::Approvers;
pub use atalaya_secl::Scratch;
pub use diff::{Failure, RuleChange, RuleSetDiff};
pub use explain::{Explanation, IndexKey, TermCost};
pub use limiter::{Bucket, DEFAULT_BURST, DEFAULT_PERIOD, MAX_TOKENS, RateLimiter};
pub use lint::LINT_CODES;
pub use options::{EMULATED_AGENT_VERSION, HostFacts, InternalPolicy, LoadOptions, Texts};
pub use report::{
    Counts, FilterType, Lint, LoadError, LoadReport, MacroReport, PolicyReport, RuleReport, Status,
};
pub use rule::{PolicyInfo, Rule};
pub use ruleset::RuleSet;
pub use store::MAX_TOTAL as VARIABLES_LIMIT;
pub use store::{Bound, NoScopes, Scopes, StoreStats, VariableStore, VariableValues};
pub use variable::{VariableDef, VariableScopeKind};
