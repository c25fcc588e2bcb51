//! The reference pages of events, fields and constants, made from the tables.

mod constants;
mod events;
mod fields;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use atalaya_secl::model::{TextKind, Type};

pub use constants::constants_page;
pub use events::events_page;
pub use fields::fields_page;

use crate::fields::{FieldSpec, Fields};
use crate::file::File;
use crate::process::Process;
use crate::table::{Entry, Root, Table};

const MADE: &str = "Made from the source; do not edit.";

/// Which fields belong to a file or a process and are said of all of them in one place.
struct Groups {
    files: BTreeSet<String>,
    processes: BTreeSet<String>,
}

/// Where a field is described.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Described {
    /// On its own.
    Here,
    /// With the files: the prefix of this one.
    File(String),
    /// With the processes: the prefix of this one.
    Process(String),
}

impl Groups {
    fn new() -> Self {
        let names = |describe: fn(&mut dyn FnMut(FieldSpec))| {
            let mut names = BTreeSet::new();
            describe(&mut |spec| {
                names.insert(spec.name);
            });
            names
        };
        Self {
            files: names(File::describe),
            processes: names(Process::describe),
        }
    }

    /// Where the field is described: the outermost process it is of, else the file.
    fn place(&self, table: &Table, name: &str) -> Described {
        let prefixes = || name.match_indices('.').map(|(dot, _)| name.split_at(dot));
        for (prefix, rest) in prefixes() {
            let is_process = table.id(&format!("{prefix}.caps_used")).is_some();
            if is_process && self.processes.contains(&rest[1..]) {
                return Described::Process(prefix.to_owned());
            }
        }
        for (prefix, rest) in prefixes() {
            let is_file = table.id(&format!("{prefix}.in_upper_layer")).is_some();
            if is_file && self.files.contains(&rest[1..]) {
                return Described::File(prefix.to_owned());
            }
        }
        Described::Here
    }
}

/// The head of a table of fields.
const HEAD: &str = "| field | type | what it is |\n| --- | --- | --- |\n";

/// A field's row, under the name that it has on this page.
fn row(page: &mut String, name: &str, spec: &FieldSpec, unavailable: Option<&str>) {
    let _ = write!(page, "| `{name}` | {} | {}", type_name(spec), spec.doc);
    if !spec.constants.is_empty() {
        let group = spec.constants;
        let _ = write!(page, " See [{group}](constants.md#{}).", anchor(group));
    }
    if let Some(reason) = unavailable {
        let _ = write!(page, " **Empty for now**: {reason}.");
    }
    page.push_str(" |\n");
}

/// The row of a field under its own name; of an event that is not captured it need not be said again that it is empty.
fn entry_row(page: &mut String, entry: &Entry) {
    let captured = entry.root != Root::Declared;
    let reason = entry.unavailable.as_deref().filter(|_| captured);
    row(page, &entry.spec.name, &entry.spec, reason);
}

/// The type, how it compares, and how many there are.
fn type_name(spec: &FieldSpec) -> String {
    let one = match (spec.ty, spec.text) {
        (Type::Bool, _) => "bool",
        (Type::Int, _) => "int",
        (Type::Ip, _) => "IP",
        (Type::String, TextKind::Plain) => "text",
        (Type::String, TextKind::Path) => "path",
        (Type::String, TextKind::DnsName) => "host name",
        (Type::String, TextKind::Extension) => "extension",
    };
    let what = format!("[{one}](fields.md#{})", anchor(one));
    let what = if spec.list {
        format!("list of {what}")
    } else {
        what
    };
    match spec.iterator {
        Some(_) => format!("{what}, of each"),
        None => what,
    }
}

/// The address of a heading.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace(' ', "-")
}
