//! `runtime process-cache dump`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::proto;

use crate::ask::{answer, connect, out};
use crate::dump_file;

/// `runtime process-cache …`
#[derive(clap::Subcommand, Debug)]
pub enum ProcessCache {
    /// Write the process tree to a file
    Dump(Args),
}

/// Arguments of `runtime process-cache dump`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Form of the file
    #[arg(long, value_enum, default_value_t = DumpFormat::Dot)]
    format: DumpFormat,
    /// With the arguments of each process
    #[arg(long)]
    with_args: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DumpFormat {
    Dot,
    Json,
}

/// Writes the process tree to a new file that only its owner can read.
pub(crate) async fn dump(socket: &Path, args: &Args) -> Result<ExitCode> {
    let extension = match args.format {
        DumpFormat::Dot => "dot",
        DumpFormat::Json => "json",
    };
    let params = proto::DumpProcessCacheParams {
        with_args: args.with_args,
        format: extension.to_owned(),
        pid: 0,
    };
    let mut client = connect(socket).await?;
    let dumped = client.commands.dump_process_cache(params).await;
    let content = dumped
        .map_err(|e| answer("cannot dump the process cache", &e))?
        .into_inner()
        .content;
    let path = dump_file::write("process-cache-dump", extension, &content)?;
    out(&format!("Process dump file: {}\n", path.display()));
    Ok(ExitCode::SUCCESS)
}
