//! Where an arm works, and how it ends.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why an arm did not do what it is for.
pub(crate) enum Stop {
    /// This kernel has not what it takes.
    Unavailable(String),
    /// It does not work.
    Failed(String),
}

/// How an arm ends.
pub(crate) type Done = Result<(), Stop>;

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<nix::Error> for Stop {
    fn from(error: nix::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<&str> for Stop {
    fn from(why: &str) -> Self {
        Self::Failed(why.to_owned())
    }
}

/// Tells what a step was, when it fails.
pub(crate) trait Step<T> {
    /// The step in a few words.
    fn step(self, what: &str) -> Result<T, Stop>;
    /// The same, where a kernel may not have it: a call that it does not know, forbids, or was built without.
    fn or_absent(self, what: &str) -> Result<T, Stop>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: &str) -> Result<T, Stop> {
        self.map_err(|error| Stop::Failed(format!("{what}: {}", error.into())))
    }

    fn or_absent(self, what: &str) -> Result<T, Stop> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            match error.raw_os_error() {
                Some(
                    libc::ENOSYS
                    | libc::EPERM
                    | libc::EOPNOTSUPP
                    | libc::ENODEV
                    | libc::EINVAL
                    | libc::ENOENT,
                ) => Stop::Unavailable(format!("{what}: {error}")),
                _ => Stop::Failed(format!("{what}: {error}")),
            }
        })
    }
}

/// The row's directory.
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn c(&self, name: &str) -> Result<CString, Stop> {
        c(self.path(name).as_os_str().as_bytes())
    }

    /// Makes the file that the row is about, and tells its inode.
    pub(crate) fn secret(&self, name: &str) -> Result<PathBuf, Stop> {
        let path = self.path(name);
        std::fs::write(&path, "secret").step("the file")?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).step("its mode")?;
        tell("inode", inode(&path)?);
        Ok(path)
    }

    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, Stop> {
        let path = self.path(name);
        std::fs::create_dir(&path).step("a directory")?;
        Ok(path)
    }
}

/// A text without a zero byte.
pub(crate) fn c(text: impl AsRef<[u8]>) -> Result<CString, Stop> {
    CString::new(text.as_ref()).map_err(|_| Stop::Failed("a zero byte in a text".to_owned()))
}

/// A fact for the suite.
pub(crate) fn tell(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}

/// The inode of what a path leads to.
pub(crate) fn inode(path: &Path) -> Result<u64, Stop> {
    Ok(std::fs::metadata(path).step("the file's inode")?.ino())
}

/// Opens a file that is there, for reading.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<File, Stop> {
    File::open(&path).step(&format!("opening {}", path.as_ref().display()))
}

/// Opens a file that is there, for writing.
pub(crate) fn write(path: impl AsRef<Path>) -> Result<File, Stop> {
    let file = OpenOptions::new().write(true).open(&path);
    file.step(&format!("opening {} to write", path.as_ref().display()))
}
