//! What is made from the tree of commands itself: shell completions, man pages, the reference page.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

use crate::ask::out;

/// Arguments of the hidden command `completion`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  security-agent completion bash > /usr/share/bash-completion/completions/security-agent"
)]
pub struct Completion {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of the hidden command `reference`, which packages and the documentation are made with.
#[derive(clap::Args, Debug)]
pub struct Reference {
    /// Write man pages into this directory, one a command; without it the reference page goes to standard output
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
}

/// Prints what makes a shell complete the commands of the program.
///
/// # Errors
/// None at present.
pub fn completion(args: &Completion, mut command: Command) -> Result<ExitCode> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    out(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

/// Writes the man pages or prints the reference page.
///
/// # Errors
/// A page cannot be written.
pub fn reference(args: &Reference, mut command: Command) -> Result<ExitCode> {
    command.build();
    match &args.man {
        Some(dir) => man(&command, command.get_name(), dir)?,
        None => {
            let mut page = format!(
                "# {}\n\nEvery command, made from the program itself. Flags that all commands take are listed with the first.\n",
                command.get_name()
            );
            let name = command.get_name().to_owned();
            markdown(&mut command, &name, &mut page);
            out(&page);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn man(command: &Command, name: &str, dir: &Path) -> Result<()> {
    let page = clap_mangen::Man::new(command.clone()).title(name.replace(' ', "-"));
    let mut text = Vec::new();
    let path = dir.join(format!("{}.1", name.replace(' ', "-")));
    page.render(&mut text)
        .and_then(|()| std::fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    for sub in visible(command) {
        man(sub, &format!("{name} {}", sub.get_name()), dir)?;
    }
    Ok(())
}

fn markdown(command: &mut Command, name: &str, page: &mut String) {
    let help = command.render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "\n## `{name}`\n\n```text\n{}\n```\n",
        help.join("\n").trim()
    );
    let names: Vec<String> = visible(command)
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for sub in names {
        if let Some(command) = command.find_subcommand_mut(&sub) {
            markdown(command, &format!("{name} {sub}"), page);
        }
    }
}
