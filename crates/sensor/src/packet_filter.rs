//! The filters of packets in the kernel: one generated program, exchanged when the rules change, and what actions want dropped.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use atalaya_model::capture::{PacketFilters, PacketOrders, PacketSubject};
use atalaya_pcap::{Filter, Instruction, Link, Maps, Verdict, router};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use zerocopy::IntoBytes;

use crate::error::{Context, Error};
use crate::layout::{PacketOrders as OrdersValue, PacketSubject as SubjectKey};
use crate::packets::no_settings;
use crate::sensor::Sensor;

const SCOPE_PROCESS: u32 = 1;
const SCOPE_CGROUP: u32 = 2;

/// The program in force. The array in the kernel keeps the program; this keeps it from being made again.
#[derive(Debug)]
pub(crate) struct InForce {
    filters: PacketFilters,
    /// The array that it was put into: classifiers that are loaded anew have another.
    map: u32,
}

/// What has packets dropped, for whoever decides that.
#[derive(Debug)]
pub struct PacketActions(MapHandle);

impl PacketActions {
    /// What is done from here on to the packets of somebody. Nothing (`PacketOrders::default()`) removes them.
    ///
    /// # Errors
    /// The table is full (8192), or the kernel says no.
    pub fn set(&self, subject: PacketSubject, orders: PacketOrders) -> Result<(), Error> {
        let key = match subject {
            PacketSubject::Process(pid, start_low) => SubjectKey {
                id: pid.into(),
                start_low,
                scope: SCOPE_PROCESS,
            },
            PacketSubject::Cgroup(id) => SubjectKey {
                id,
                start_low: 0,
                scope: SCOPE_CGROUP,
            },
        };
        if orders == PacketOrders::default() {
            // There may be none.
            let _ = self.0.delete(key.as_bytes());
            return Ok(());
        }
        let value = OrdersValue {
            drop: orders.drop,
            accept: orders.accept,
        };
        self.0
            .update(key.as_bytes(), value.as_bytes(), MapFlags::ANY)
            .context(|| format!("have packets of {subject:?} dropped"))
    }
}

impl Sensor {
    /// What has packets dropped; `None` while there are no classifiers. To be asked for again after each [`Sensor::apply`].
    pub fn packet_actions(&self) -> Option<PacketActions> {
        let map = self.packet_map("packet_actions")?;
        MapHandle::try_from(&map).ok().map(PacketActions)
    }

    /// Packets go through these filters from here on. The new program takes the place of the old one between two packets.
    pub(crate) fn set_filters(&mut self, filters: &PacketFilters) -> Result<(), Error> {
        let Some(array) = self.packet_map("packet_filters") else {
            self.filters = None;
            return Ok(());
        };
        let map = array.info().map_or(0, |info| info.info.id);
        let is_same = |known: &InForce| known.map == map && known.filters == *filters;
        if self.filters.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let compiled = compile(filters);
        if !compiled.is_empty() {
            let fd = |name: &str| -> Result<OwnedFd, Error> {
                let map = self
                    .packet_map(name)
                    .ok_or_else(|| Error::Load(format!("there is no map {name}")))?;
                let fd = map.as_fd().try_clone_to_owned();
                fd.map_err(|error| Error::Load(format!("the map {name}: {error}")))
            };
            let (verdict, after) = (fd("packet_verdict")?, fd("packet_after")?);
            let maps = Maps {
                verdict: verdict.as_raw_fd(),
                programs: after.as_raw_fd(),
            };
            let mut programs = Vec::new();
            for link in [Link::Ethernet, Link::RawIp] {
                let made: Vec<_> = compiled.iter().map(|(f, verdict)| (f, *verdict)).collect();
                let router = router(&made, link, maps).map_err(|e| Error::Load(e.to_string()))?;
                programs.push(load(c"packet_filters", &router.instructions)?);
            }
            for (at, program) in (0u32..).zip(&programs) {
                let fd = program.as_raw_fd();
                self.update_packets("packet_filters", &at.to_ne_bytes(), &fd.to_ne_bytes())?;
            }
        }
        let mut settings = self.packet_settings().unwrap_or_else(no_settings);
        settings.filters = (!compiled.is_empty()).into();
        self.update_packets("packet_settings", &0u32.to_ne_bytes(), settings.as_bytes())?;
        if compiled.is_empty() {
            for at in 0..2u32 {
                // There may be none.
                let _ = array.delete(&at.to_ne_bytes());
            }
        }
        self.filters = Some(InForce {
            filters: filters.clone(),
            map,
        });
        Ok(())
    }
}

/// Each filter once, with the bits of all who ask for it.
fn compile(filters: &PacketFilters) -> Vec<(Filter, Verdict)> {
    let mut texts: Vec<&String> = filters.rules.keys().chain(filters.actions.keys()).collect();
    texts.sort_unstable();
    texts.dedup();
    let compiled = texts.into_iter().filter_map(|text| {
        let mut verdict = Verdict::default();
        if let Some(number) = filters.rules.get(text)
            && let Some(word) = verdict.rules.get_mut(*number as usize / 64)
        {
            *word |= 1 << (number % 64);
        }
        if let Some(number) = filters.actions.get(text) {
            verdict.actions |= 1 << (number % 64);
        }
        match Filter::new(text) {
            Ok(filter) => Some((filter, verdict)),
            Err(error) => {
                // The policy took it: that is where errors are told.
                tracing::warn!(%error, filter = text.as_str(), "a packet filter does not compile");
                None
            }
        }
    });
    compiled.collect()
}

/// Loads a program of traffic control.
#[allow(
    unsafe_code,
    reason = "libbpf-rs loads programs of objects only, not generated ones"
)]
pub(crate) fn load(name: &std::ffi::CStr, insns: &[Instruction]) -> Result<OwnedFd, Error> {
    let bytes: Vec<[u8; 8]> = insns.iter().map(|insn| insn.to_bytes()).collect();
    let attempt = |log: &mut [u8]| -> RawFd {
        let mut options = libbpf_sys::bpf_prog_load_opts {
            sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
            ..Default::default()
        };
        if !log.is_empty() {
            options.log_level = 1;
            options.log_size = log.len() as u32;
            options.log_buf = log.as_mut_ptr().cast();
        }
        // SAFETY: the instructions are 8 bytes each, as many as is said; the names end in a zero, the options and the log live
        // until it returns.
        unsafe {
            libbpf_sys::bpf_prog_load(
                libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
                name.as_ptr(),
                c"Dual BSD/GPL".as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len() as _,
                &raw mut options,
            )
        }
    };
    let fd = attempt(&mut []);
    if fd >= 0 {
        // SAFETY: a new descriptor that nothing else owns.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let errno = std::io::Error::from_raw_os_error(-fd);
    let mut log = vec![0; 1 << 16];
    let second = attempt(&mut log);
    if second >= 0 {
        // SAFETY: as above.
        return Ok(unsafe { OwnedFd::from_raw_fd(second) });
    }
    let text = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = text.trim_end_matches(['\0', '\n']).lines().collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or(&[]);
    Err(Error::Load(format!(
        "the kernel refuses the program of the packet filters: {errno}: {}",
        last.join(" / ")
    )))
}

#[cfg(test)]
#[path = "packet_filter_tests.rs"]
mod tests;
