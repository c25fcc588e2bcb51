//! Configuration files, the values in force, and policies.

use std::path::{Path, PathBuf};

use atalaya_config::{Config, KEYS};

use crate::read::{self, End};
use crate::{Plan, safe_name};

/// How much of a configuration or policy file is taken, and how many policy files.
const MAX_BYTES: u64 = 4 << 20;
const MAX_POLICIES: usize = 500;

/// Adds the files, the values in force of `program`, and the policies.
pub fn plan(plan: &mut Plan, program: &'static str, config: &Config, files: &[PathBuf]) {
    let sources = files.to_vec();
    plan.add("configuration files", move |sink| {
        for path in &sources {
            match read::file(path, MAX_BYTES, End::First) {
                Ok(content) => {
                    sink.file(&format!("etc/{}", file_name(path)), content);
                }
                Err(error) => {
                    sink.error(&error);
                }
            }
        }
        Ok(())
    });
    let in_force = in_force(config);
    plan.add("configuration in force", move |sink| {
        sink.file(&format!("{program}/config-in-force.yaml"), in_force);
        Ok(())
    });
    let dir = config.policies_dir.clone();
    plan.add("policies", move |sink| {
        let entries =
            std::fs::read_dir(&dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        if paths.len() > MAX_POLICIES {
            sink.error(&format!(
                "only {MAX_POLICIES} of the {} files of {} are here",
                paths.len(),
                dir.display()
            ));
        }
        for path in paths.iter().take(MAX_POLICIES) {
            match read::file(path, MAX_BYTES, End::First) {
                Ok(content) => {
                    sink.file(&format!("runtime-security.d/{}", file_name(path)), content);
                }
                Err(error) => {
                    sink.error(&error);
                }
            }
        }
        Ok(())
    });
    let mut places: Vec<PathBuf> = files.to_vec();
    places.extend(
        files
            .iter()
            .filter_map(|file| Some(file.parent()?.to_owned())),
    );
    places.extend([
        config.policies_dir.clone(),
        config.socket.clone(),
        config.spool_dir.clone(),
        config.events_file.clone(),
        config.run_path.clone(),
    ]);
    places.extend(config.socket.parent().map(Path::to_owned));
    plan.add("permissions", move |sink| {
        places.dedup();
        for dir in places.clone() {
            if dir.is_dir()
                && let Ok(entries) = std::fs::read_dir(&dir)
            {
                places.extend(
                    entries
                        .filter_map(|entry| Some(entry.ok()?.path()))
                        .take(100),
                );
            }
        }
        sink.file(
            &format!("{program}/permissions.log"),
            read::permissions(&places),
        );
        Ok(())
    });
}

fn file_name(path: &Path) -> String {
    safe_name(&path.file_name().unwrap_or_default().to_string_lossy())
}

/// Every key with its value, and its default where that is another one.
fn in_force(config: &Config) -> String {
    let mut text = String::new();
    for key in KEYS {
        let (value, default) = (key.value(config), key.default());
        let note = if value == default {
            String::new()
        } else {
            format!("# default: {default}\n")
        };
        text.push_str(&format!("{note}{}: {value}\n", key.name));
    }
    text
}

/// The variables of the environment that have a say, with their values; of the others nothing.
pub fn environment(
    scrubber: &atalaya_scrub::Scrubber,
    variables: impl Iterator<Item = (String, String)>,
) -> String {
    const NAMES: &[&str] = &[
        "PATH",
        "HOME",
        "USER",
        "SHELL",
        "LANG",
        "LC_ALL",
        "TZ",
        "TERM",
        "RUST_LOG",
        "RUST_BACKTRACE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NO_COLOR",
        "TMPDIR",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "CONTAINER",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
    ];
    let mut lines: Vec<String> = variables
        .filter(|(name, _)| {
            let upper = name.to_ascii_uppercase();
            ["DD_", "HOST_", "ATALAYA_"]
                .iter()
                .any(|prefix| upper.starts_with(prefix))
                || NAMES.contains(&upper.as_str())
        })
        .map(|(name, value)| {
            let value = scrubber.scrub_value(&name, &value);
            format!("{name}={}\n", value.replace('\n', "\\n"))
        })
        .collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_that_have_a_say_and_no_secret() {
        let variables = [
            ("DD_API_KEY", "hunter2"),
            ("DD_LOG_LEVEL", "debug"),
            ("MY_APP_THING", "private"),
            ("https_proxy", "http://bob:hunter2@proxy:3128"),
        ];
        let text = environment(
            &Default::default(),
            variables
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .into_iter(),
        );
        assert_eq!(
            text,
            "DD_API_KEY=********\nDD_LOG_LEVEL=debug\nhttps_proxy=http://bob:********@proxy:3128\n"
        );
    }
}
