//! `./dev fuzz`: every fuzz target for a bounded time.

use anyhow::{Context, Result, bail};

use crate::util::{cargo, output, root, run, say};

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds for each target.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Only this target.
    target: Option<String>,
}

/// What `fuzz` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    if output(cargo().args(["fuzz", "--version"])).is_err() {
        say("installing cargo-fuzz");
        run(cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let dir = root().join("fuzz");
    let listed = output(cargo().current_dir(&dir).args(["fuzz", "list"]))
        .context("cannot list the fuzz targets")?;
    let targets: Vec<&str> = listed
        .lines()
        .map(str::trim)
        .filter(|name| args.target.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    if targets.is_empty() {
        bail!(
            "no such fuzz target; there are: {}",
            listed.replace('\n', " ")
        );
    }
    for target in &targets {
        say(format!("{target}: {} s", args.seconds));
        // Sanitizers are unstable flags; they work all the same with the compiler that is pinned.
        let mut command = cargo();
        command
            .current_dir(&dir)
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run", target]);
        // What was found before, and what a person wrote to start from.
        let corpus = dir.join("corpus").join(target);
        std::fs::create_dir_all(&corpus)?;
        command.arg(&corpus);
        let seeds = dir.join("seeds").join(target);
        if seeds.is_dir() {
            command.arg(&seeds);
        }
        command.arg("--");
        let dictionary = dir.join(format!("{target}.dict"));
        if dictionary.is_file() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        run(command
            .arg(format!("-max_total_time={}", args.seconds))
            .args(["-rss_limit_mb=4096", "-timeout=10"]))?;
    }
    println!(
        "{} fuzz targets ran {} s each and found nothing",
        targets.len(),
        args.seconds
    );
    Ok(())
}
