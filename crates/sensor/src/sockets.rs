//! Whose the sockets are that were there before anybody looked, from an iterator of the kernel.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;

use libbpf_rs::{Iter, MapCore, Object};

use crate::error::{Context, Error};
use crate::iterator;

/// The iterator, for current kernels and for those before 5.17; see `base.h`.
static CURRENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sockets.bpf.o"));
static LEGACY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sockets_legacy.bpf.o"));

/// What it fills.
const MAPS: [&str; 2] = ["socket_owners", "port_owners"];
/// The kernel ends a read after a million files that it has nothing to say of.
const READS: usize = 64;

/// Goes over all open files once, and fills the maps of `object`. Takes a tenth of a second, most of it for the kernel's type information.
pub(crate) fn scan(object: &Object) -> Result<(), Error> {
    scan_with(CURRENT, object).or_else(|_| scan_with(LEGACY, object))
}

fn scan_with(bytes: &[u8], shared: &Object) -> Result<(), Error> {
    let (_object, link) = iterator::attach(bytes, "sockets", |map, name| {
        let theirs = shared.maps().find(|theirs| theirs.name() == name);
        match theirs.filter(|_| MAPS.contains(&name)) {
            Some(theirs) => map.reuse_fd(theirs.as_fd()),
            None => map.set_autocreate(false),
        }
    })?;
    let mut iter = Iter::new(&link).context(|| "begin to iterate over sockets".into())?;
    for _ in 0..READS {
        match iter.read(&mut [0; 4096]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(Error::Load(format!("iterate over sockets: {error}"))),
        }
    }
    Ok(())
}
