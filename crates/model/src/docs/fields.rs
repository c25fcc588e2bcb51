//! The page of the fields that all events have, and of what files and processes consist of.

use std::fmt::Write as _;

use super::{Described, Groups, HEAD, MADE, entry_row, row};
use crate::fields::Fields;
use crate::file::File;
use crate::legacy;
use crate::table::{Entry, Table};
use crate::types::{PACKET_TYPES, event_type};

const TYPES: &str = "## Types

What a field is decides what it can be compared with. Literals are told in [the rule language](../secl.md).

### bool

Stands alone (`process.is_kworker`, `!process.is_kworker`) or is compared by `==` and `!=` with `true` and `false`.

### int

A number of 64 bits with a sign: `==`, `!=`, `<`, `<=`, `>`, `>=`, `in [ … ]`, `not in [ … ]`; before that `+`, `-`, `&`, `|`, `^`.
Many numbers have names, which [constants](constants.md) lists; errors are negative. A field that is a time (ns since
the Unix epoch) is compared by `<`, `<=`, `>`, `>=` with an age: `process.created_at < 5s` is \"less than five seconds ago\".

### text

`==` and `!=` with a text, a pattern (`~\"a*\"`) or a regular expression (`r\"a.*\"`), `=~` and `!~` with a pattern, `in` and
`not in` with a list of those. In a pattern `*` stands for any characters. Upper and lower case differ.

### path

As text, but a pattern is a glob: `*` stays within one element of the path, and `**`, at the end only, stands for all that
is below. A literal must be an absolute path without `..`, `.` and `//`, and cannot be a regular expression.

### host name

As text, but upper and lower case are the same.

### extension

As text, with or without the dot: `\"sh\"` is `\".sh\"`.

### IP

`==` and `in` with an address or a network, `in`, `not in` and `allin` with a list of those. An address is in a network,
and a network overlaps another.

### Lists and elements

A condition on a list holds when it holds for any of its items; with `!=`, `not in`, `!~`, when it holds for all. `x[0]` is
the first item. The same is true of the fields **of each** element: of each ancestor, of each flow. `x.ancestors[A].y`
names the same element throughout a rule. `x.length` is how many there are.
";

/// What all events have, and what files and processes consist of, as markdown.
#[must_use]
pub fn fields_page(table: &Table) -> String {
    let groups = Groups::new();
    let mut page = format!(
        "# Fields\n\n{MADE}\n\nFields that rules on any event may name. Those of one event type are in [events](events.md). \
         A field that does not apply reads as 0, false, or empty. Times are nanoseconds since the Unix epoch.\n\n{TYPES}"
    );
    page.push_str("\n## Every event\n\n");
    page.push_str(HEAD);
    let event = |entry: &&Entry| entry.spec.name.starts_with("event.");
    for entry in table.entries().iter().filter(event) {
        entry_row(&mut page, entry);
    }
    processes(&mut page, table, &groups);
    files(&mut page, table, &groups);
    page.push_str("\n## Packets\n\nOf the events `dns`, `imds` and `packet`.");
    if PACKET_TYPES
        .iter()
        .all(|name| event_type(name).is_none_or(|event| event.kind.is_none()))
    {
        page.push_str(" **None of these is captured by this version.**");
    }
    page.push_str("\n\n");
    page.push_str(HEAD);
    for entry in table
        .entries()
        .iter()
        .filter(|e| !e.restricted_to.is_empty())
    {
        entry_row(&mut page, entry);
    }
    former_names(&mut page);
    page
}

/// The prefixes of processes, or of files, in the order of the table.
fn prefixes(table: &Table, groups: &Groups, processes: bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for entry in table.entries() {
        let prefix = match groups.place(table, &entry.spec.name) {
            Described::Process(prefix) if processes => prefix,
            Described::File(prefix) if !processes => prefix,
            _ => continue,
        };
        if !found.contains(&prefix) {
            found.push(prefix);
        }
    }
    found
}

fn processes(page: &mut String, table: &Table, groups: &Groups) {
    page.push_str(
        "\n## Processes\n\n`process` is the process that caused the event, `process.parent` the one it came from, \
         `process.ancestors` all that it came from, nearest first; `exec` and `exit` are `process` in events of those types. \
         These have the fields below:\n\n",
    );
    list(page, &prefixes(table, groups, true));
    page.push_str(
        "\nAn execution makes a new entry: the entry before it, of the same process with its former program, is its parent.\n\n\
         | field | type | what it is |\n| --- | --- | --- |\n| `file.*` | [file](#files) | The file that was executed: the script, \
         for a script. Matches the path, or name, of the symbolic link that the program was started by as well. |\n\
         | `interpreter.file.*` | [file](#files) | The interpreter, for a script. |\n",
    );
    let name = |entry: &Entry| entry.spec.name.strip_prefix("process.").map(str::to_owned);
    for entry in table.entries() {
        let of_process = Described::Process("process".to_owned());
        if groups.place(table, &entry.spec.name) != of_process {
            continue;
        }
        let Some(name) = name(entry) else { continue };
        if name.starts_with("file.") || name.starts_with("interpreter.") {
            continue;
        }
        row(page, &name, &entry.spec, entry.unavailable.as_deref());
    }
    page.push_str("| `ancestors.length` | [int](#int) | The number of ancestors; not of `parent` and `ancestors` themselves. |\n");
}

fn files(page: &mut String, table: &Table, groups: &Groups) {
    page.push_str(
        "\n## Files\n\nA file is the one that the kernel used, not the argument of the call: that is `….syscall.path`. Besides \
         `file` and `interpreter.file` of each process, these have the fields below:\n\n",
    );
    list(page, &prefixes(table, groups, false));
    page.push('\n');
    page.push_str(HEAD);
    File::describe(&mut |spec| {
        let reason = (!spec.unavailable.is_empty()).then_some(spec.unavailable);
        row(page, &spec.name, &spec, reason);
    });
}

fn list(page: &mut String, prefixes: &[String]) {
    for prefix in prefixes {
        let _ = writeln!(page, "- `{prefix}`");
    }
}

fn former_names(page: &mut String) {
    page.push_str(
        "\n## Former names\n\nNames of former versions of the language are understood everywhere.\n\n\
         | former name | name |\n| --- | --- |\n",
    );
    for (former, present) in legacy::all() {
        let _ = writeln!(page, "| `{former}` | `{present}` |");
    }
}
