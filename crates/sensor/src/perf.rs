//! Records through perf buffers: for kernels without the ring buffer (5.8), or that refuse it. One buffer a CPU, so that order between CPUs
//! is not given by the way they come.

use std::sync::{Arc, Mutex, PoisonError};

use libbpf_rs::{MapHandle, PerfBuffer, PerfBufferBuilder};

use crate::error::{Context, Error};

/// A CPU's buffer holds at least one record of the greatest size, and a few.
const SMALLEST_PAGES: usize = 32;
const PAGE: usize = 4096;

/// A way by which records come.
pub(crate) enum Inlet {
    /// A ring buffer; the reader opens it.
    Ring(MapHandle),
    /// Perf buffers, opened already: what is written before is lost.
    Perf(PerfInlet),
}

/// The perf buffers of all CPUs.
pub(crate) struct PerfInlet {
    buffer: PerfBuffer<'static>,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl PerfInlet {
    /// Opens them with `bytes` for all CPUs together.
    pub(crate) fn open(map: &MapHandle, bytes: u32) -> Result<Self, Error> {
        let cpus = libbpf_rs::num_possible_cpus().context(|| "count the CPUs".into())?;
        let pages = (bytes as usize / PAGE / cpus.max(1))
            .max(SMALLEST_PAGES)
            .next_power_of_two();
        let taken: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let buffer = PerfBufferBuilder::new(map)
            .pages(pages)
            .sample_cb({
                let taken = Arc::clone(&taken);
                move |_, sample: &[u8]| {
                    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                    taken.push(record(sample).to_vec());
                }
            })
            // What found no place has been counted where it was sent, by kind and cgroup, and is a gap of the sequence numbers besides.
            .lost_cb(|cpu, count| tracing::debug!("perf buffer of CPU {cpu}: {count} records lost"))
            .build()
            .context(|| "open the perf buffers".into())?;
        Ok(Self { buffer, taken })
    }

    /// Gives what is there now.
    pub(crate) fn take(&self, each: impl FnMut(&[u8])) {
        if let Err(error) = self.buffer.consume() {
            tracing::warn!("reading the perf buffers: {error}");
        }
        let taken = std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner));
        taken.iter().map(Vec::as_slice).for_each(each);
    }
}

/// The record of a sample: the kernel pads samples, and a record says its own size.
fn record(sample: &[u8]) -> &[u8] {
    sample
        .get(4..8)
        .and_then(|size| size.try_into().ok())
        .map(|size| u32::from_ne_bytes(size) as usize)
        .and_then(|size| sample.get(..size))
        .unwrap_or(sample)
}

#[cfg(test)]
mod tests {
    use super::record;

    #[test]
    fn padding_is_cut_off() {
        let mut sample = [0u8; 20];
        sample[4] = 12;
        assert_eq!(record(&sample).len(), 12);
        sample[4] = 200;
        assert_eq!(record(&sample).len(), 20);
        assert_eq!(record(&[1, 2]).len(), 2);
    }
}
