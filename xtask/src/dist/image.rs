//! An image for containers, written without a daemon: an OCI layout in one file, which `docker load`, `podman load`, `skopeo` and `ctr` take
//! (for Docker before 25 it has Docker's own table of contents besides). One layer: the programs, the libraries that they load, the three
//! commands of the self-test, policies, and the agent's user. There is no shell in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Parts, repository, stripped};
use crate::util::{command, output, run};

/// The user `atalaya` of the image, also as a number for `runAsUser`.
const AGENT: u32 = 10001;
/// What the self-test runs.
const COMMANDS: [&str; 3] = ["touch", "chmod", "chown"];
/// Directories besides those of files: name, mode, whether it is the agent's.
const DIRECTORIES: [(&str, u32, bool); 6] = [
    ("tmp", 0o1777, false),
    ("run/atalaya", 0o755, false),
    ("var/lib/atalaya", 0o711, false),
    ("var/log/atalaya", 0o750, true),
    ("proc", 0o555, false),
    ("sys", 0o555, false),
];
/// Where the bundle of certificates is, by distribution.
const CERTIFICATES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Makes the image and returns where it is. Needs root: files belong to users.
pub(crate) fn make(parts: &Parts) -> Result<PathBuf> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the image needs root: its files belong to users");
    }
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    fill(&tree, parts)?;
    let layout = scratch.path().join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;

    let layer = scratch.path().join("layer.tar");
    pack(&tree, &layer)?;
    let (layer_digest, layer_size) = store(&blobs, &fs::read(&layer)?)?;
    let config = config(parts, &layer_digest);
    let (config_digest, config_size) = store(&blobs, &serde_json::to_vec(&config)?)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": format!("sha256:{config_digest}"), "size": config_size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{layer_digest}"), "size": layer_size}],
    });
    let (digest, size) = store(&blobs, &serde_json::to_vec(&manifest)?)?;
    let reference = format!("atalaya:{}", parts.version);
    let write = |name: &str, value: &Value| fs::write(layout.join(name), value.to_string());
    write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))?;
    write(
        "index.json",
        &json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{digest}"), "size": size,
                "platform": {"os": "linux", "architecture": "amd64"},
                "annotations": {
                    "org.opencontainers.image.ref.name": &parts.version,
                    "io.containerd.image.name": format!("docker.io/library/{reference}"),
                },
            }],
        }),
    )?;
    write(
        "manifest.json",
        &json!([{
            "Config": format!("blobs/sha256/{config_digest}"),
            "RepoTags": [reference],
            "Layers": [format!("blobs/sha256/{layer_digest}")],
        }]),
    )?;
    let image = parts
        .output
        .join(format!("atalaya-{}-image.tar", parts.version));
    pack(&layout, &image)?;
    Ok(image)
}

fn config(parts: &Parts, layer: &str) -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/atalaya-entrypoint"],
            "Env": [
                "PATH=/usr/bin:/bin",
                "HOST_PROC=/host/proc",
                "HOST_SYS=/host/sys",
                // That of the first process: nothing more has to be mounted for it.
                "HOST_ROOT=/host/proc/1/root",
            ],
            "Volumes": {"/var/lib/atalaya": {}, "/var/log/atalaya": {}, "/run/atalaya": {}},
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": "atalaya",
                "org.opencontainers.image.description": "Runtime security for Linux, by eBPF",
                "org.opencontainers.image.version": &parts.version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        "history": [{"created_by": "cargo xtask dist", "comment": "all files"}],
    })
}

/// Writes the tree of files.
fn fill(tree: &Path, parts: &Parts) -> Result<()> {
    let bin = tree.join("usr/bin");
    fs::create_dir_all(&bin)?;
    let mut programs = Vec::new();
    for name in ["system-probe", "security-agent", "atalaya-entrypoint"] {
        let to = bin.join(name);
        stripped(&parts.program(name)?, &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        programs.push(to);
    }
    for name in COMMANDS {
        let found = ["/usr/bin", "/bin"]
            .map(|dir| Path::new(dir).join(name))
            .into_iter()
            .find(|path| path.exists())
            .with_context(|| format!("no {name} here"))?;
        copy(&found, &bin.join(name), 0o755)?;
        programs.push(found);
    }
    for library in libraries(&programs)? {
        let to = tree.join(library.strip_prefix("/")?);
        copy(&library, &to, 0o755)?;
    }
    // Distributions that have merged /usr name libraries by either way.
    for (name, mode, agents) in DIRECTORIES {
        let dir = tree.join(name);
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode))?;
        if agents {
            chown(&dir, Some(AGENT), Some(AGENT))?;
        }
    }
    for name in ["system-probe.yaml", "security-agent.yaml"] {
        let from = repository("deploy/package").join(name);
        copy(&from, &tree.join("etc/atalaya").join(name), 0o644)?;
    }
    let policies = tree.join("etc/atalaya/runtime-security.d");
    let default = repository("policies/default.policy");
    copy(&default, &policies.join("default.policy"), 0o644)?;
    let passwd = format!(
        "root:x:0:0:root:/root:/sbin/nologin\natalaya:x:{AGENT}:{AGENT}:Atalaya security-agent:/nonexistent:/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
    );
    let group = format!("root:x:0:\natalaya:x:{AGENT}:\nnogroup:x:65534:\n");
    fs::write(tree.join("etc/passwd"), passwd)?;
    fs::write(tree.join("etc/group"), group)?;
    if let Some(bundle) = CERTIFICATES.map(Path::new).into_iter().find(|p| p.exists()) {
        copy(
            bundle,
            &tree.join("etc/ssl/certs/ca-certificates.crt"),
            0o644,
        )?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// The shared libraries that programs load, the loader among them, by the names under which they are looked for.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for program in programs {
        let text = output(command("ldd").arg(program))?;
        for line in text.lines() {
            if line.contains("not found") {
                bail!("{}: {}", program.display(), line.trim());
            }
            // `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x…)`, or the loader: `/lib64/ld-linux-x86-64.so.2 (0x…)`.
            let mut words = line.split_whitespace();
            let path = words.find(|word| word.starts_with('/'));
            found.extend(path.map(PathBuf::from));
        }
    }
    Ok(found)
}

/// The same files give the same bytes, whenever and by whomever they are packed.
fn pack(tree: &Path, to: &Path) -> Result<()> {
    run(command("tar")
        .args([
            "--sort=name",
            "--mtime=@0",
            "--numeric-owner",
            "--format=gnu",
        ])
        .arg("-C")
        .arg(tree)
        .arg("-cf")
        .arg(to)
        .arg("."))
}

fn store(blobs: &Path, bytes: &[u8]) -> Result<(String, usize)> {
    let digest: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::write(blobs.join(&digest), bytes)?;
    Ok((digest, bytes.len()))
}
