//! `flare`: an archive of what support needs to help, which a person can read before it is sent.

mod dialog;
mod gather;
mod interrupt;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use atalaya_api::Sanitized;
use atalaya_cli::Global;
use atalaya_cli::ask::out;
use atalaya_config::{Config, Program, Severity};
use atalaya_flare::{Archive, Destination, Finished, Upload, upload};
use atalaya_scrub::Scrubber;

use dialog::{Colour, Progress};

/// Arguments of `flare`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  security-agent flare                          ask for an e-mail address, collect, show, ask, send
  security-agent flare 123456 --email me@example.org
  security-agent flare --send --email me@example.org 123456
  security-agent flare --output /root/flares    where the archive is to be
  docker exec -it datadog-agent security-agent flare 123456
  kubectl exec -it POD -c security-agent -- security-agent flare 123456

Secrets are hidden in every file, and nothing is sent before you have agreed (or given --send).")]
pub(crate) struct Args {
    /// The support case it belongs to; a new one where none is given
    #[arg(value_name = "CASE_ID")]
    case_id: Option<String>,
    /// Your e-mail address; asked for where it is not given
    #[arg(long, short = 'e', value_name = "ADDRESS")]
    email: Option<String>,
    /// Send it without asking
    #[arg(long, short = 's')]
    send: bool,
    /// Do not ask the running programs, only collect what this command can read itself
    #[arg(long, short = 'l')]
    local: bool,
    /// Where the archive is to be: a directory, or a file that does not exist yet
    #[arg(long, short = 'o', value_name = "PATH")]
    output: Option<PathBuf>,
    /// Where to send it (flare.url)
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Collects, shows, asks and sends. 0: done, or not wanted; 1: it could not be made or sent.
pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode> {
    let colour = Colour(global.color());
    let loaded = global.load(Program::SecurityAgent)?;
    for problem in loaded
        .problems
        .iter()
        .filter(|p| p.severity >= Severity::Warning)
    {
        let line = format!("Config parsing warning: {problem}");
        eprintln!("{}", colour.warning(&atalaya_api::sanitize(&line)));
    }
    let config = &loaded.config;
    // What is wrong with the arguments is told before anything takes time.
    let case_id = args.case_id.as_deref().unwrap_or_default();
    let known = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    ensure!(
        case_id.len() <= 64 && case_id.chars().all(known),
        "`{case_id}` is no case id: letters, digits, `-` and `_`"
    );
    let to = destination(args, config)?;
    let place = place(args, config)?;
    interrupt::handle()?;
    let email = match (&to, &args.email) {
        (_, Some(email)) => email.trim().to_owned(),
        // Nobody will get it.
        (None, None) => String::new(),
        (Some(_), None) => match dialog::line("Please enter your email: ") {
            Ok(email) if !email.is_empty() => email,
            _ => bail!("Error reading email, please retry or contact support"),
        },
    };
    if !email.is_empty() {
        ensure!(is_address(&email), "`{email}` is no e-mail address");
    }

    let finished = build(args, config, &loaded.files, &place, colour)?;
    listing(&finished);
    let path = finished.path.display().to_string();
    let path = Sanitized(&path);
    let Some(to) = to else {
        out(&format!(
            "\n{path} is complete. There is no address to send it to: set flare.url, or api_key and site, or give --url.\n"
        ));
        return Ok(if args.send {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        });
    };
    out(&format!(
        "\n{path} is going to be uploaded to {}\n",
        Sanitized(to.host())
    ));
    if !args.send && !dialog::agreed("Are you sure you want to upload a flare? [y/N] ") {
        out(&format!("Aborting. (You can still use {path})\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let host = hostname(config);
    let what = Upload {
        to: &to,
        archive: &finished,
        api_key: config.api_key.reveal(),
        case_id,
        email: &email,
        version: env!("CARGO_PKG_VERSION"),
        hostname: &host,
        ca_file: Some(PathBuf::from(&config.ca_file)).filter(|file| !file.as_os_str().is_empty()),
    };
    let mut progress = Progress::new(finished.bytes);
    let sent = upload(
        &what,
        &mut |bytes| progress.at(bytes),
        &mut |failure, pause| {
            let failure = format!("{failure}; trying again in {} s", pause.as_secs());
            eprintln!("{}", colour.warning(&atalaya_api::sanitize(&failure)));
        },
    );
    progress.end();
    match sent {
        Ok(answer) => {
            for line in answer.lines() {
                out(&format!("{}\n", Sanitized(line)));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("{}", Sanitized(line));
            }
            eprintln!("The archive is kept: {path}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Makes the archive.
fn build(
    args: &Args,
    config: &Config,
    files: &[PathBuf],
    place: &Place,
    colour: Colour,
) -> Result<Finished> {
    let scrubber = Scrubber::new(&config.flare_stripped_keys);
    let failed = "The flare zipfile failed to be created";
    let mut archive = Archive::create(&place.dir, &hostname(config), scrubber).context(failed)?;
    interrupt::remove_at_end(Some(archive.part()));
    let gathered = gather::everything(&mut archive, config, files, args.local, colour);
    let finished = gathered
        .and_then(|()| Ok(archive.finish(&place.dir.join(&place.name))?))
        .context(failed)
        .context("--output names another place");
    interrupt::remove_at_end(None);
    finished.map_err(|error| {
        // The hint last.
        let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        anyhow::anyhow!("{} ({error})", causes.join(": "))
    })
}

/// Where it is sent: what the command line says, the configuration, the support of the site.
fn destination(args: &Args, config: &Config) -> Result<Option<Destination>> {
    let url = args.url.as_deref().unwrap_or(&config.flare_url);
    if !url.is_empty() {
        return Ok(Some(Destination::new(url)?));
    }
    if config.api_key.is_empty() || config.site.is_empty() {
        return Ok(None);
    }
    Ok(Some(Destination::of_site(
        &config.site,
        env!("CARGO_PKG_VERSION"),
    )?))
}

/// Where the archive is to be.
struct Place {
    dir: PathBuf,
    name: PathBuf,
}

fn place(args: &Args, config: &Config) -> Result<Place> {
    let now = jiff::Timestamp::now();
    let name =
        format!("atalaya-agent-{now:.0}-{}.zip", config.log_level.as_str()).replace(':', "-");
    let Some(path) = &args.output else {
        return Ok(Place {
            dir: std::env::temp_dir(),
            name: name.into(),
        });
    };
    if path.is_dir() {
        return Ok(Place {
            dir: path.clone(),
            name: name.into(),
        });
    }
    let name = path
        .file_name()
        .with_context(|| format!("{} names no file", path.display()))?;
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    ensure!(dir.is_dir(), "there is no directory {}", dir.display());
    ensure!(
        path.symlink_metadata().is_err(),
        "{} exists; it is not overwritten",
        path.display()
    );
    Ok(Place {
        dir: dir.to_owned(),
        name: name.into(),
    })
}

fn hostname(config: &Config) -> String {
    match config.hostname.as_str() {
        "" => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        name => name.to_owned(),
    }
}

/// Something before an `@` and something after it, in one word.
fn is_address(text: &str) -> bool {
    let parts = text.split_once('@');
    parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
        && text.len() <= 254
        && !text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "<>,;\"".contains(c))
}

/// What is in it: so that a person knows what is sent.
fn listing(finished: &Finished) {
    let mut text = format!(
        "{} ({} bytes, readable by its owner only) contains:\n",
        Sanitized(&finished.path.display().to_string()),
        finished.bytes
    );
    for entry in &finished.entries {
        text.push_str(&format!(
            "  {:>10}  {}\n",
            entry.bytes,
            Sanitized(&entry.name)
        ));
    }
    text.push_str("Read it before you send it: unzip -p ARCHIVE 'HOST/FILE'. Why something is missing is in flare_creation.log.\n");
    out(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["a@b", "me+x@example.org"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b@c",
            "<a@b>",
            "a@b\r\nX: y",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn without_a_key_or_an_address_it_goes_nowhere() {
        let args = |url: Option<&str>| Args {
            case_id: None,
            email: None,
            send: false,
            local: false,
            output: None,
            url: url.map(str::to_owned),
        };
        let config = Config::default();
        assert!(destination(&args(None), &config).is_ok_and(|to| to.is_none()));
        assert!(destination(&args(Some("http://h.example")), &config).is_err());
        let to = destination(&args(Some("https://h.example")), &config);
        assert!(to.is_ok_and(|to| to.is_some_and(|to| to.host() == "h.example")));
    }
}
