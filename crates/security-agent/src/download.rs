//! `runtime policy download`: gets a zip with policies from the account's server.

use std::io::{Cursor, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atalaya_api::Sanitized;
use atalaya_cli::ask::out;
use atalaya_cli::download::{Args, Source, errors_of};
use atalaya_config::Config;
use ureq::Agent;
use ureq::http::Uri;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer, and the largest policy in it.
const MOST: u64 = 32 << 20;
/// The policy that comes from the vendor.
const DEFAULT: &str = "default.policy";

/// Downloads, checks, writes.
pub(crate) fn run(config: &Config, args: &Args) -> Result<ExitCode> {
    ensure!(
        !config.api_key.is_empty(),
        "API key is empty (api_key, or DD_API_KEY)"
    );
    ensure!(
        !config.app_key.is_empty(),
        "application key is empty (app_key, or DD_APP_KEY)"
    );
    let url = address(config)?;
    eprintln!("Downloading policies from {}", Sanitized(&url));
    let zip = get(config, &url)?;
    let mut policies = unpack(&zip)?;
    policies.retain(|(name, _)| match args.source {
        Source::All => true,
        Source::Default => name == DEFAULT,
        Source::Custom => name != DEFAULT,
    });
    ensure!(!policies.is_empty(), "the answer has no such policy");
    if args.check {
        let (rules, errors) = check(&policies, config)?;
        for error in &errors {
            eprintln!("{error}\n");
        }
        if !errors.is_empty() {
            bail!(
                "{} errors in the policies; nothing was written",
                errors.len()
            );
        }
        eprintln!("{rules} rules, no errors");
    }
    write(&args.output_path, &policies)?;
    Ok(ExitCode::SUCCESS)
}

/// Where it is. Keys go over TLS only, but to this machine.
fn address(config: &Config) -> Result<String> {
    let text = match config.policies_download_url.as_str() {
        "" => format!(
            "https://api.{}/api/v2/remote_config/products/cws/policy/download",
            config.site
        ),
        url => url.to_owned(),
    };
    let name = "runtime_security_config.policies.download_url";
    let url: Uri = text
        .parse()
        .with_context(|| format!("{name} (or site) gives no address: {text:?}"))?;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme_str() {
        Some("https") => Ok(text),
        Some("http") if is_here => Ok(text),
        _ => bail!("{name} is {text:?}: keys are sent by https only, or by http to this machine"),
    }
}

fn get(config: &Config, url: &str) -> Result<Vec<u8>> {
    let file = Some(config.ca_file.as_str()).filter(|file| !file.is_empty());
    let tls = atalaya_flare::tls_config(file.map(Path::new)).map_err(anyhow::Error::msg)?;
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        // The keys are for this address.
        .max_redirects(0)
        .tls_config(tls)
        .build()
        .into();
    let answer = agent
        .get(url)
        .header("DD-API-KEY", config.api_key.reveal())
        .header("DD-APPLICATION-KEY", config.app_key.reveal())
        .header("DD-AGENT-VERSION", env!("CARGO_PKG_VERSION"))
        .header("Content-Type", "application/json")
        .call();
    let mut answer = answer.context("failed to download policies")?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(MOST).read_to_vec();
    let body = body.context("failed to download policies")?;
    if status.as_u16() != 200 {
        let text = String::from_utf8_lossy(&body);
        let short: String = text.trim().chars().take(300).collect();
        bail!(
            "failed to download policies: {short} (error code {})",
            status.as_u16()
        );
    }
    Ok(body)
}

/// The policies of the archive, by name. Directories in it do not matter, and no name leads anywhere.
fn unpack(zip: &[u8]) -> Result<Vec<(String, String)>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).context("the answer is no zip")?;
    let mut policies = Vec::new();
    let mut left = MOST;
    for at in 0..archive.len() {
        let entry = archive.by_index(at).context("the zip is damaged")?;
        let name = entry
            .name()
            .context("the zip is damaged")?
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        if entry.is_dir() || !name.ends_with(".policy") {
            continue;
        }
        let mut text = String::new();
        let read = entry
            .take(left + 1)
            .read_to_string(&mut text)
            .with_context(|| format!("{name:?} in the zip cannot be read"))?;
        left = left
            .checked_sub(read as u64)
            .context("the policies in the zip are larger than 32 MiB")?;
        policies.push((name, text));
    }
    policies.sort_by(|a, b| (a.0 != DEFAULT, &a.0).cmp(&(b.0 != DEFAULT, &b.0)));
    Ok(policies)
}

/// Loads them as system-probe would.
fn check(policies: &[(String, String)], config: &Config) -> Result<(usize, Vec<String>)> {
    let dir = private_dir()?;
    let result = (|| {
        let mut paths = Vec::new();
        for (at, (name, text)) in policies.iter().enumerate() {
            // By number: two of one name in different directories of the zip are two.
            let path = dir.join(format!("{at}-{}", plain(name)));
            std::fs::write(&path, text).context("cannot write to the temporary directory")?;
            paths.push(path);
        }
        errors_of(&paths, config)
    })();
    // What is left behind is in the temporary directory.
    let _ = std::fs::remove_dir_all(&dir);
    result
}

/// A name without what a file system or a terminal could take for something else.
fn plain(name: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars().filter(is_plain).collect()
}

fn private_dir() -> Result<PathBuf> {
    use std::hash::{BuildHasher, Hasher};
    use std::os::unix::fs::DirBuilderExt;
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let dir = std::env::temp_dir().join(format!("atalaya-policies-{random:016x}"));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// To standard output, to a file, or each to a file of its own in a directory.
fn write(path: &Path, policies: &[(String, String)]) -> Result<()> {
    if path.as_os_str().is_empty() || path == Path::new("-") {
        // As documents of one stream, each with its name.
        for (at, (name, text)) in policies.iter().enumerate() {
            let mark = if at == 0 { "" } else { "---\n" };
            out(&format!("{mark}# {}\n{}\n", plain(name), text.trim_end()));
        }
        return Ok(());
    }
    if path.is_dir() {
        for (name, text) in policies {
            replace(&path.join(plain(name)), text)?;
        }
    } else {
        let [(_, text)] = policies else {
            bail!(
                "there are {} policies ({}): give --output-path a directory, or take one with --source",
                policies.len(),
                policies
                    .iter()
                    .map(|(name, _)| plain(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        };
        replace(path, text)?;
    }
    Ok(())
}

/// The file is there as a whole, or as it was.
fn replace(path: &Path, text: &str) -> Result<()> {
    let dir = path
        .parent()
        .filter(|d| !d.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().context("--output-path names no file")?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let new = dir.join(hidden);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written.with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("Wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            writer
                .start_file(*name, zip::write::SimpleFileOptions::default())
                .unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn names_of_an_archive_lead_nowhere() {
        let zip = archive(&[
            ("../../etc/evil.policy", "rules: []"),
            ("/abs/b.policy", "x"),
            ("readme.txt", "no"),
            ("default.policy", "d"),
        ]);
        let names: Vec<_> = unpack(&zip)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["default.policy", "b.policy", "evil.policy"]);
        assert!(unpack(b"no zip").is_err());
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &unpack(&zip).unwrap()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        let error = write(&dir.path().join("one"), &unpack(&zip).unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("give --output-path a directory"),
            "{error}"
        );
    }

    #[test]
    fn a_zip_bomb_is_refused() {
        let large = "#".repeat(33 << 20);
        let zip = archive(&[("default.policy", &large)]);
        assert!(zip.len() < 1 << 20);
        let error = format!("{:#}", unpack(&zip).unwrap_err());
        assert!(error.contains("larger than 32 MiB"), "{error}");
    }

    #[test]
    fn keys_are_sent_by_tls_only_or_to_this_machine() {
        let with = |url: &str| {
            address(&Config {
                policies_download_url: url.to_owned(),
                ..Config::default()
            })
        };
        assert_eq!(
            with("").unwrap(),
            "https://api.datadoghq.com/api/v2/remote_config/products/cws/policy/download"
        );
        for good in [
            "https://x.example/p",
            "http://127.0.0.1:1/p",
            "http://[::1]/p",
        ] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in [
            "http://x.example/p",
            "ftp://127.0.0.1/",
            "nonsense",
            "http://127.0.0.1.evil.example/",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
