//! Argument vectors: `["--password", "x"]`, `["mysql", "-px"]`.

use crate::{MASK, Scrubber, known, names};

/// A flag whose value is the next argument.
pub(crate) fn is_secret_flag(scrubber: &Scrubber, arg: &str) -> bool {
    let name = arg.trim_start_matches('-');
    arg.starts_with('-')
        && !name.is_empty()
        && !arg.contains(['=', ':', ' '])
        // Switches that take no value, or that of a file.
        && !["stdin", "file", "path", "prompt", "env"].iter().any(|end| name.ends_with(end))
        && scrubber.is_secret(name)
}

/// The flag of this program that takes a password, in the same argument or as the next one.
fn own_flag(program: &str) -> Option<&'static str> {
    let name = program.rsplit('/').next().unwrap_or(program);
    Some(match name {
        "mysql" | "mariadb" | "mysqldump" | "mysqladmin" | "mysqlimport" | "sshpass" | "mongo"
        | "mongosh" | "mongodump" | "useradd" | "usermod" | "docker" | "podman" | "nerdctl"
        | "sqlcmd" => "-p",
        "redis-cli" => "-a",
        "ldapsearch" | "ldapadd" | "ldapmodify" | "ldapdelete" | "ldapwhoami" | "ldappasswd" => {
            "-w"
        }
        "curl" | "wget" | "smbclient" => "-u",
        _ => return None,
    })
}

pub(crate) fn scrub(scrubber: &Scrubber, args: &[&str], depth: usize) -> Vec<String> {
    let own = args.first().and_then(|program| own_flag(program));
    // `docker run -p 80:80` is no password.
    let own = own.filter(|_| {
        let name = args.first().and_then(|program| program.rsplit('/').next());
        !matches!(name, Some("docker" | "podman" | "nerdctl")) || args.get(1) == Some(&"login")
    });
    let mut next_is_secret = false;
    args.iter()
        .enumerate()
        .map(|(index, arg)| {
            if std::mem::take(&mut next_is_secret)
                && !arg.starts_with("--")
                && !names::is_harmless("", arg)
            {
                return MASK.to_owned();
            }
            if index > 0
                && let Some(flag) = own
                && let Some(value) = arg
                    .strip_prefix(flag)
                    .or_else(|| arg.strip_prefix("-U").filter(|_| flag == "-u"))
                && !arg.starts_with("--")
            {
                if value.is_empty() {
                    // `mysql -p` asks for it.
                    next_is_secret = !args[0]
                        .rsplit('/')
                        .next()
                        .is_some_and(|name| name.starts_with("my") || name == "mariadb");
                    return (*arg).to_owned();
                }
                return format!("{}{MASK}", &arg[..arg.len() - value.len()]);
            }
            // As a whole, because there may be spaces in it.
            if let Some((name, value)) = arg.split_once(['=', ':'])
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
                && scrubber.is_secret(name)
                && !names::is_harmless(name, value)
            {
                return format!("{}{}", &arg[..=name.len()], known::mask(value));
            }
            next_is_secret = is_secret_flag(scrubber, arg)
                || (own == Some("-u") && matches!(*arg, "--user" | "--proxy-user"));
            scrubber.inner(arg, depth + 1)
        })
        .collect()
}
