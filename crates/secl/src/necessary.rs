//! What an event must have for a rule to match: sound over-approximations that can be tested before the rule is evaluated,
//! in the kernel.

/// What is known of the events that a rule can match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Necessary {
    /// Nothing: any event may match.
    Unknown,
    /// An event that matches satisfies at least one of these. Without any, the rule can never match.
    AnyOf(Vec<Condition>),
}

/// One condition on a file event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The file. For events with two files (rename, link) either may be meant.
    pub target: Target,
    /// The flags of an open, of which at least one must be set; 0 stands for no condition.
    pub flags: u32,
}

/// Which file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any file: the condition is on the flags alone.
    Any,
    /// The file with this absolute path.
    Path(String),
    /// A file whose last path element is this.
    Basename(String),
    /// A file in this directory (`/` for the root, else without a slash at the end).
    Directory {
        /// The directory.
        path: String,
        /// Anywhere below it, not only directly in it.
        recursive: bool,
    },
}
