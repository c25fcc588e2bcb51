//! Iterators of the kernel: programs that are run for each process, or each open file, when their descriptor is read.

use libbpf_rs::{Link, Object, ObjectBuilder, OpenMapMut};

use crate::error::{Context, Error};
use crate::log;

/// Loads and attaches the one iterator of an object. `what` it goes over is said in errors; `prepare` is shown each of the object's maps
/// before they are made.
pub(crate) fn attach(
    object: &[u8],
    what: &'static str,
    mut prepare: impl FnMut(&mut OpenMapMut<'_>, &str) -> libbpf_rs::Result<()>,
) -> Result<(Object, Link), Error> {
    log::clear();
    let mut builder = ObjectBuilder::default();
    let mut open = builder
        .open_memory(object)
        .context(|| format!("open the iterator over {what}"))?;
    for mut map in open.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        prepare(&mut map, &name).context(|| format!("prepare map {name}"))?;
    }
    let object = open
        .load()
        .map_err(|error| Error::Load(log::explain(&error)))?;
    let program = object
        .progs_mut()
        .next()
        .ok_or_else(|| Error::Load("the object has no iterator".into()))?;
    let link = program
        .attach()
        .context(|| format!("attach the iterator over {what}"))?;
    Ok((object, link))
}
