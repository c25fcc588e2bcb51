//! `runtime network-namespace dump` and `runtime discarders dump`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::proto;
use clap::{ArgAction, Subcommand};

use crate::ask::{answer, connect, out};
use crate::dump_file;

/// `runtime network-namespace …`
#[derive(Subcommand, Debug)]
pub enum NetworkNamespace {
    /// Write the network namespaces, and who is at their interfaces, to a JSON file and to a graph
    Dump(Namespaces),
}

/// Arguments of `runtime network-namespace dump`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  security-agent runtime network-namespace dump\n  security-agent runtime network-namespace dump --snapshot-interfaces=false\n\n\
                  The graph is for `dot -Tsvg FILE`."
)]
pub struct Namespaces {
    /// With every interface of each namespace
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    snapshot_interfaces: bool,
}

/// `runtime discarders …`
#[derive(Subcommand, Debug)]
pub enum Discarders {
    /// Write what the kernel's filters hold to a JSON file: the values that rules ask for, and how many the kernel has. It keeps no
    /// discarders; everything that is not listed is rejected before it is sent
    #[command(after_help = "Examples:\n  security-agent runtime discarders dump")]
    Dump,
}

pub(crate) async fn namespaces(socket: &Path, args: &Namespaces) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let params = proto::DumpNetworkNamespaceParams {
        snapshot_interfaces: args.snapshot_interfaces,
    };
    let dumped = client.commands.dump_network_namespace(params).await;
    let dumped = dumped
        .map_err(|e| answer("cannot dump the network namespaces", &e))?
        .into_inner();
    let file = dump_file::write("network-namespace-dump", "json", &dumped.content)?;
    let graph = dump_file::write("network-namespace-dump", "dot", &dumped.graph)?;
    out(&format!(
        "Network namespace dump: {}\nNetwork namespace dump graph: {}\n",
        file.display(),
        graph.display()
    ));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn discarders(socket: &Path) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let dumped = client
        .commands
        .dump_discarders(proto::DumpDiscardersParams {})
        .await;
    let dumped = dumped
        .map_err(|e| answer("cannot dump the discarders", &e))?
        .into_inner();
    let file = dump_file::write("discarders-dump", "json", &dumped.content)?;
    out(&format!("Discarder dump file: {}\n", file.display()));
    Ok(ExitCode::SUCCESS)
}
