//! Landlock: which files a program may still open and write, and which ports it may use, whatever its user may.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};

use crate::Outcome;

/// The newest version of the interface whose rights were thought through here. What later kernels add is not restricted.
const KNOWN: ABI = ABI::V6;

/// What remains allowed. Everything else is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Files, and all below directories, that may be read. Those that do not exist are passed over.
    pub read: Vec<PathBuf>,
    /// Directories below which files may be read, made, written, renamed and removed.
    pub write: Vec<PathBuf>,
    /// Ports that may be listened on (TCP, kernel 6.7 and newer); 0 is one that the kernel chooses.
    pub listen: Vec<u16>,
    /// Whether abstract unix sockets of others may be connected to (kernel 6.12 and newer).
    pub abstract_sockets: bool,
}

/// Restricts the calling thread, and all that it starts from now on, to these rules. Nothing may be executed, no TCP connection made, and
/// no process outside be sent a signal.
///
/// # Errors
/// The kernel has Landlock and refuses the rules. A kernel without it is no error, see [`Outcome`].
pub fn restrict(rules: &Rules) -> Result<Outcome, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut scope = BitFlags::from(Scope::Signal);
    if !rules.abstract_sockets {
        scope |= Scope::AbstractUnixSocket;
    }
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(scope)?
        .create()?;
    for path in &rules.read {
        if let Ok(fd) = PathFd::new(path) {
            // A file has no entries; asking for them would be an error.
            let access = if path.is_dir() {
                read
            } else {
                BitFlags::from(AccessFs::ReadFile)
            };
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    // Neither devices, which only root could make, nor what is executed.
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir;
    for path in &rules.write {
        if let Ok(fd) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, write))?;
        }
    }
    for port in &rules.listen {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    let status = ruleset.restrict_self()?;
    Ok(outcome(status.ruleset, &status.landlock))
}

fn outcome(ruleset: RulesetStatus, kernel: &LandlockStatus) -> Outcome {
    let version = match kernel {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
            ..
        } => kernel_abi.unwrap_or(*effective_abi as i32),
        LandlockStatus::NotEnabled => {
            return Outcome::Absent("Landlock is switched off in this kernel".into());
        }
        _ => return Outcome::Absent("this kernel has no Landlock".into()),
    };
    match ruleset {
        RulesetStatus::FullyEnforced => Outcome::Enforced(format!("ABI {version}")),
        RulesetStatus::PartiallyEnforced => Outcome::Partly(format!(
            "ABI {version}: {}",
            if version < 4 {
                "files only"
            } else {
                "files and TCP, no scopes"
            }
        )),
        RulesetStatus::NotEnforced => Outcome::Absent("this kernel enforces none of it".into()),
    }
}
