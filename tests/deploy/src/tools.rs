//! Programs of others, and commands that say what failed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atalaya_e2e::skip;

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("tests/deploy lies in the repository")
}

/// Cargo's target directory: for what is fetched or made once.
pub fn target_dir() -> PathBuf {
    let bin = atalaya_e2e::bin_dir();
    bin.parent().expect("target/PROFILE").to_owned()
}

/// Where a program is, by Debian's usual places: what comes first on the path of a test machine may be another.
pub fn installed(program: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
        .into_iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists())
}

/// The programs, or a skipped test.
pub fn all_installed<const N: usize>(programs: [&str; N]) -> Option<[PathBuf; N]> {
    let found = programs.map(installed);
    if let Some(missing) = found.iter().position(Option::is_none) {
        skip(&format!("{} is not installed", programs[missing]));
        return None;
    }
    Some(found.map(Option::unwrap_or_default))
}

/// Runs a command to its end. Its output, both streams together, is what it gives or why it failed.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let text = [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{command:?}: {}\n{text}", output.status))
    }
}

/// A Python with these wheels of PyPI, each `name==version`, made once below the target directory. `None`, and a skipped test, where there is
/// no Python or PyPI cannot be reached.
pub fn venv(name: &str, wheels: &[&str]) -> Option<PathBuf> {
    let dir = target_dir().join("tools").join(name);
    let python = dir.join("bin/python");
    let done = dir.join(wheels.join(",").replace('=', "-"));
    let made = lock(&target_dir().join("tools"), name).and_then(|_lock| {
        if done.exists() {
            return Ok(());
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--timeout", "60"])
            .args(wheels))?;
        std::fs::write(&done, "").map_err(|error| error.to_string())
    });
    match made {
        Ok(()) => Some(python),
        Err(why) => {
            skip(&format!("{}: {}", wheels.join(", "), last_line(&why)));
            None
        }
    }
}

/// Tests run side by side: one makes it, the others wait. Let go of with the file.
fn lock(dir: &Path, name: &str) -> Result<std::fs::File, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = std::fs::File::create(dir.join(format!("{name}.lock"))).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default()
}
