//! Whose session a process belongs to.
//!
//! - SSH: the server executes the user's shell with `SSH_CONNECTION` in its environment. Anybody can set that, so it counts only where the
//!   program before was the server: an executable that root owns, which root had started.
//! - Kubernetes: who calls `kubectl exec` is told to the container by a wrapper that is put before the command:
//!   `cws-instrumentation inject --session-type k8s --data '{"username": …}' -- COMMAND`. It counts only where the process came into the
//!   container from outside.
//! - Anything else that logs in: the session number of the audit system, which `pam_loginuid` begins.
//!
//! How an SSH client proved who it is stands in the server's log alone, a moment later: a thread looks there.

use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use atalaya_model::{Process, SessionKind, SshAuth, UserSession};
use rustc_hash::FxHashMap;

/// Names of the server's executables. Since OpenSSH 9.8 the part that runs sessions is one of its own.
const SERVERS: [&str; 3] = ["sshd", "sshd-session", "dropbear"];
/// Where it logs.
const LOGS: [&str; 2] = ["/var/log/auth.log", "/var/log/secure"];
/// What is read of the log's end.
const TAIL: u64 = 64 << 10;
/// How often and how long it is looked for.
const LOOKS: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(300);
/// Threads that look at once.
const LOOKING: usize = 8;
/// Logins that are remembered.
const LOGINS: usize = 1024;

/// Finds sessions, and keeps each once.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    logins: FxHashMap<(u32, u32), Weak<UserSession>>,
    looking: Arc<AtomicUsize>,
}

impl Sessions {
    /// The session of a process that has just executed something, where that begins one. `before` is the program that did it.
    pub(crate) fn begun_by(
        &mut self,
        process: &Process,
        before: Option<&Process>,
    ) -> Option<Arc<UserSession>> {
        let before = before?;
        let session = ssh(process, before).or_else(|| kubernetes(process, before))?;
        let session = Arc::new(session);
        if session.kind == SessionKind::Ssh {
            self.look_for_auth(&session);
        }
        Some(session)
    }

    /// The session of a login, by the number of the audit system and the user that logged in, unless what it has by its lineage says more.
    pub(crate) fn of_login(
        &mut self,
        inherited: Option<Arc<UserSession>>,
        login: u32,
        login_uid: u32,
    ) -> Option<Arc<UserSession>> {
        if matches!(login, 0 | u32::MAX) || login_uid == u32::MAX {
            return inherited;
        }
        match inherited {
            Some(known) if known.kind != SessionKind::Unknown || known.login == login => {
                Some(known)
            }
            _ => {
                let key = (login, login_uid);
                if let Some(known) = self.logins.get(&key).and_then(Weak::upgrade) {
                    return Some(known);
                }
                if self.logins.len() >= LOGINS {
                    self.logins.retain(|_, session| session.strong_count() > 0);
                }
                let session = Arc::new(UserSession {
                    login,
                    login_uid,
                    ..UserSession::default()
                });
                self.logins.insert(key, Arc::downgrade(&session));
                Some(session)
            }
        }
    }

    fn look_for_auth(&self, session: &UserSession) {
        let Some(ip) = session.ssh_client_ip.map(|ip| ip.addr()) else {
            return;
        };
        if self.looking.fetch_add(1, Ordering::Relaxed) >= LOOKING {
            self.looking.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (port, auth) = (session.ssh_client_port, Arc::clone(&session.ssh_auth));
        let looking = Arc::clone(&self.looking);
        let spawned = std::thread::Builder::new()
            .name("ssh-log".to_owned())
            .spawn(move || {
                look(&LOGS.map(PathBuf::from), ip, port, &auth);
                looking.fetch_sub(1, Ordering::Relaxed);
            });
        if spawned.is_err() {
            self.looking.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A number for a session: who began it, and when.
fn number(process: &Process) -> u64 {
    let began = process.fork_time.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Numbers of rules are signed.
    (began ^ u64::from(process.pid)) >> 1
}

fn ssh(process: &Process, before: &Process) -> Option<UserSession> {
    let is_server = |node: &Process| SERVERS.contains(&node.image.file.name());
    if !is_server(before) || is_server(process) || before.image.file.uid != 0 {
        return None;
    }
    // The part that runs as the user was forked by the part that root started.
    let is_roots = std::iter::once(before)
        .chain(before.ancestors())
        .take_while(|node| is_server(node))
        .any(|node| node.creds.euid == 0);
    if !is_roots {
        return None;
    }
    let (ip, port) = connection(process.image.env("SSH_CONNECTION")?)?;
    Some(UserSession {
        kind: SessionKind::Ssh,
        ssh_session_id: number(process),
        ssh_client_ip: Some(ip.into()),
        ssh_client_port: port,
        ..UserSession::default()
    })
}

/// Client and port of `CLIENT PORT SERVER PORT`.
fn connection(text: &str) -> Option<(IpAddr, u16)> {
    let mut words = text.split(' ');
    let ip = words.next()?;
    // A scope follows a link-local address.
    let ip = ip.split('%').next()?.parse().ok()?;
    Some((ip, words.next()?.parse().ok()?))
}

fn kubernetes(process: &Process, before: &Process) -> Option<UserSession> {
    let image = &process.image;
    let from_outside =
        process.container.is_some() && process.container_id() != before.container_id();
    let words = image.args();
    if image.file.name() != "cws-instrumentation"
        || !from_outside
        || words.first().is_none_or(|word| word != "inject")
    {
        return None;
    }
    let option = |name: &str| {
        let own = words.iter().take_while(|word| *word != "--");
        let mut own = own.skip_while(move |word| !word.starts_with(name));
        match own.next()?.strip_prefix(name)? {
            "" => own.next().map(String::as_str),
            joined => joined.strip_prefix('='),
        }
    };
    if option("--session-type") != Some("k8s") {
        return None;
    }
    let data: serde_json::Value = serde_json::from_str(option("--data")?).ok()?;
    let text = |name: &str| data.get(name).and_then(serde_json::Value::as_str);
    let groups = data.get("groups").and_then(serde_json::Value::as_array);
    Some(UserSession {
        kind: SessionKind::Kubernetes,
        k8s_session_id: number(process),
        k8s_username: text("username")?.to_owned(),
        k8s_uid: text("uid").unwrap_or_default().to_owned(),
        k8s_groups: groups
            .into_iter()
            .flatten()
            .filter_map(|group| Some(group.as_str()?.to_owned()))
            .collect(),
        ..UserSession::default()
    })
}

/// Looks until the log tells, or it is hopeless.
fn look(logs: &[PathBuf], ip: IpAddr, port: u16, auth: &OnceLock<SshAuth>) {
    for _ in 0..LOOKS {
        let found = logs
            .iter()
            .filter_map(|log| tail(log))
            .find_map(|text| accepted(&text, ip, port));
        if let Some(found) = found {
            let _ = auth.set(found); // nobody else sets it
            return;
        }
        std::thread::sleep(BETWEEN);
    }
}

fn tail(log: &Path) -> Option<String> {
    let file = std::fs::File::open(log).ok()?;
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let begin = meta.len().saturating_sub(TAIL);
    let mut bytes = vec![0; usize::try_from(meta.len() - begin).ok()?];
    file.read_exact_at(&mut bytes, begin).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `Accepted METHOD for USER from IP port PORT ssh2: TYPE FINGERPRINT`, the last that fits. The user's name is what the client said: only
/// what stands after the last ` from ` is the server's word.
fn accepted(text: &str, ip: IpAddr, port: u16) -> Option<SshAuth> {
    text.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("]: Accepted ")?;
        let (method, rest) = rest.split_once(" for ")?;
        let (_, from) = rest.rsplit_once(" from ")?;
        let mut words = from.split(' ');
        let client: IpAddr = words.next()?.parse().ok()?;
        let has_port = words.next()? == "port" && words.next()?.parse() == Ok(port);
        if client != ip || !has_port {
            return None;
        }
        let fingerprint = words.nth(2).unwrap_or_default();
        Some(SshAuth {
            method: match method {
                "password" | "keyboard-interactive/pam" => 1,
                "publickey" => 2,
                _ => 0,
            },
            public_key: if method == "publickey" {
                fingerprint.to_owned()
            } else {
                String::new()
            },
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use atalaya_model::{Container, File, Image};

    fn node(path: &str, euid: u32, argv: &[&str], env: &str, parent: Option<&Process>) -> Process {
        let mut process = Process {
            pid: 7,
            image: Arc::new(Image {
                file: File {
                    path: path.to_owned(),
                    known: true,
                    ..File::default()
                },
                argv: argv.iter().map(|word| (*word).to_owned()).collect(),
                envp: vec![env.to_owned()],
                ..Image::default()
            }),
            ..Process::default()
        };
        process.creds.euid = euid;
        process.set_parent(parent.map(|parent| Arc::new(parent.clone())));
        process
    }

    const CONNECTION: &str = "SSH_CONNECTION=192.0.2.7 50022 192.0.2.1 22";

    #[test]
    fn a_shell_that_the_ssh_server_starts_begins_a_session() {
        let mut sessions = Sessions::default();
        let server = node("/usr/sbin/sshd", 0, &[], "", None);
        let users = node("/usr/sbin/sshd", 1000, &[], "", Some(&server));
        let shell = node("/bin/bash", 1000, &[], CONNECTION, Some(&users));
        let session = sessions.begun_by(&shell, Some(&users)).unwrap();
        assert_eq!(session.kind, SessionKind::Ssh);
        assert_eq!(
            session.ssh_client_ip.unwrap().addr().to_string(),
            "192.0.2.7"
        );
        assert_eq!(session.ssh_client_port, 50022);
        assert!(session.ssh_session_id > 0);
    }

    #[test]
    fn an_environment_alone_is_no_session() {
        let mut sessions = Sessions::default();
        let shell = node("/bin/bash", 0, &[], "", None);
        let program = node("/bin/x", 0, &[], CONNECTION, Some(&shell));
        assert!(sessions.begun_by(&program, Some(&shell)).is_none());
        // Something of the user's own that has the name, and the server without a connection.
        let fake = node("/home/u/sshd", 1000, &[], "", None);
        let program = node("/bin/x", 1000, &[], CONNECTION, Some(&fake));
        assert!(sessions.begun_by(&program, Some(&fake)).is_none());
        let server = node("/usr/sbin/sshd", 0, &[], "", None);
        for env in ["A=b", "SSH_CONNECTION=", "SSH_CONNECTION=x 1 y 2"] {
            let program = node("/bin/x", 0, &[], env, Some(&server));
            assert!(sessions.begun_by(&program, Some(&server)).is_none());
        }
    }

    #[test]
    fn a_kubectl_exec_is_told_by_its_wrapper() {
        let mut sessions = Sessions::default();
        let runtime = node("/usr/sbin/runc", 0, &[], "", None);
        let data = r#"{"username":"jo@example.org","uid":"u-1","groups":["dev","ops"],"extra":{}}"#;
        for argv in [
            [
                "x",
                "inject",
                "--session-type",
                "k8s",
                "--data",
                data,
                "--",
                "sh",
            ]
            .to_vec(),
            [
                "x",
                "inject",
                "--session-type=k8s",
                &format!("--data={data}"),
                "--",
                "sh",
            ]
            .to_vec(),
        ] {
            let mut wrapper = node("/d/cws-instrumentation", 0, &argv, "", Some(&runtime));
            assert!(sessions.begun_by(&wrapper, Some(&runtime)).is_none());
            wrapper.container = Some(Arc::new(Container {
                id: "c".repeat(64),
                ..Container::default()
            }));
            let session = sessions.begun_by(&wrapper, Some(&runtime)).unwrap();
            assert_eq!(session.k8s_username, "jo@example.org");
            assert_eq!(
                (session.k8s_uid.as_str(), session.k8s_groups.len()),
                ("u-1", 2)
            );
            // From inside the container anybody could say so.
            let mut inside = runtime.clone();
            inside.container.clone_from(&wrapper.container);
            assert!(sessions.begun_by(&wrapper, Some(&inside)).is_none());
        }
    }

    #[test]
    fn logins_are_told_by_the_audit_system() {
        let mut sessions = Sessions::default();
        assert!(sessions.of_login(None, u32::MAX, 1000).is_none());
        assert!(sessions.of_login(None, 0, 1000).is_none());
        let session = sessions.of_login(None, 3, 1000).unwrap();
        assert_eq!((session.login, session.login_uid), (3, 1000));
        let again = sessions.of_login(None, 3, 1000).unwrap();
        assert!(Arc::ptr_eq(&session, &again));
        let other = sessions.of_login(Some(session), 4, 1001).unwrap();
        assert_eq!(other.login, 4);
        let ssh = Arc::new(UserSession {
            kind: SessionKind::Ssh,
            ..UserSession::default()
        });
        let kept = sessions.of_login(Some(Arc::clone(&ssh)), 4, 1001).unwrap();
        assert!(Arc::ptr_eq(&ssh, &kept));
    }

    #[test]
    fn the_log_tells_how_the_client_proved_who_it_is() {
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        let log = "\
Nov 23 10:00:00 h sshd[1]: Accepted password for jo from 192.0.2.7 port 50021 ssh2\n\
2026-11-23T10:00:01+00:00 h sshd[2]: Accepted publickey for jo from 192.0.2.7 port 50022 ssh2: ED25519 SHA256:abc\n\
Nov 23 10:00:02 h sshd[3]: Failed password for a from 192.0.2.7 port 50023 ssh2 from 192.0.2.9 port 1 ssh2\n";
        let of = |port| accepted(log, ip, port).map(|auth| (auth.name(), auth.public_key));
        assert_eq!(of(50021), Some(("password", String::new())));
        assert_eq!(of(50022), Some(("public_key", "SHA256:abc".to_owned())));
        assert_eq!(of(50023), None);
        assert_eq!(accepted(log, "192.0.2.8".parse().unwrap(), 50022), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.log");
        std::fs::write(&path, log).unwrap();
        let auth = OnceLock::new();
        look(&[dir.path().join("none"), path], ip, 50022, &auth);
        assert_eq!(auth.get().unwrap().method, 2);
    }
}
