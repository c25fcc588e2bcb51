//! Whether the kernel still has what was put there. Root can open any map by its number and write to it, detach links that can be
//! detached, and switch off what hooks hang on; nothing refuses that, so it is looked for, and put right.
//!
//! Looked at are the maps that only user space writes. What programs write themselves (counters, calls that have begun) changes all the
//! time: for what goes wrong there are the sequence numbers of records, and the heartbeat.

use std::collections::{BTreeMap, BTreeSet};

use atalaya_model::capture::{Approvers, CAPTURE_KINDS, CaptureKind};
use libbpf_rs::query::LinkTypeInfo;
use libbpf_rs::{Link, MapCore, MapFlags};
use zerocopy::IntoBytes;

use crate::filters::{
    FilterMaps, FilterWords, name_key, name_value, number_key, path_key, path_value,
};
use crate::programs::Program;
use crate::sensor::{Sensor, syscall_table};
use crate::tier::Tier;

/// Something in the kernel was not as it had been left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What, and how.
    pub what: String,
    /// Why it could not be put right, if so.
    pub left: Option<String>,
}

/// What was put into the kernel besides the filters.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) settings: Vec<u8>,
    pub(crate) approvers: BTreeMap<CaptureKind, Approvers>,
    /// The number of the program that a link runs, by the program's name.
    links: BTreeMap<&'static str, u32>,
    /// The number of the program in a table of jumps, by table and key.
    jumps: BTreeMap<(String, [u8; 4]), u32>,
    /// Switches that were on when they were first looked at.
    switches: Option<BTreeSet<&'static str>>,
}

impl Written {
    pub(crate) fn note_link(&mut self, program: &'static str, link: &Link) {
        match link.info() {
            Ok(info) => self.links.insert(program, info.prog_id),
            // Before 5.15 a kprobe's is no link of its own.
            Err(_) => self.links.remove(program),
        };
    }
}

/// What hooks hang on, and in which tier.
const SWITCHES: [(&str, Tier); 2] = [
    ("/sys/kernel/debug/kprobes/enabled", Tier::Kprobe),
    ("/proc/sys/kernel/ftrace_enabled", Tier::Lsm),
];

/// What a map is to hold, and whether nothing else.
type Contents = (BTreeMap<Vec<u8>, Vec<u8>>, bool);

impl Sensor {
    /// The numbers of the maps.
    pub fn own_maps(&self) -> BTreeSet<u32> {
        let more = self.more.iter().map(|(object, _)| object);
        std::iter::once(&self.object)
            .chain(more)
            .flat_map(|object| object.maps())
            .filter_map(|map| map.info().ok())
            .map(|info| info.info.id)
            .collect()
    }

    /// Looks at all of it and puts right what is not as it was left.
    pub fn verify(&mut self) -> Vec<Damage> {
        if self.written.settings.is_empty() {
            return Vec::new(); // nothing was put there yet
        }
        let mut damages = Vec::new();
        for name in [
            "settings", "filters", "names", "paths", "numbers", "syscalls",
        ] {
            damages.extend(self.verify_map(name));
        }
        damages.extend(self.verify_jumps());
        damages.extend(self.verify_links());
        damages.extend(self.verify_switches());
        damages
    }

    fn verify_map(&self, name: &str) -> Option<Damage> {
        let (wanted, only) = self.contents(name);
        let map = self.map(name).ok()?;
        let mut wrong = 0;
        let mut left = None;
        for (key, value) in &wanted {
            // A map that cannot be read cannot be said to be wrong.
            let Ok(found) = map.lookup(key, MapFlags::ANY) else {
                continue;
            };
            if found.as_deref() != Some(value) {
                wrong += 1;
                if let Err(error) = self.update(name, key, value) {
                    left = Some(error.to_string());
                }
            }
        }
        let mut more = 0;
        if only {
            let strange = map.keys().filter(|key| !wanted.contains_key(key));
            for key in strange.collect::<Vec<_>>() {
                more += 1;
                self.delete(name, &key);
            }
        }
        (wrong + more > 0).then(|| Damage {
            what: format!("map {name}: {wrong} entries changed or deleted, {more} added"),
            left,
        })
    }

    fn contents(&self, name: &str) -> Contents {
        let FilterMaps {
            filters,
            names,
            paths,
            numbers,
        } = &self.maps;
        let bytes = |bytes: &[u8]| bytes.to_vec();
        match name {
            "settings" => {
                let only = (bytes(&0u32.to_le_bytes()), self.written.settings.clone());
                (BTreeMap::from([only]), false)
            }
            "filters" => {
                let none = vec![0; size_of::<crate::layout::Filter>()];
                let filter = |kind: u32| {
                    let words = filters.get(&kind).map(FilterWords::to_layout);
                    words.map_or_else(|| none.clone(), |words| bytes(words.as_bytes()))
                };
                let kinds = CAPTURE_KINDS.iter().map(|kind| *kind as u32);
                let all = kinds.map(|kind| (bytes(&kind.to_le_bytes()), filter(kind)));
                (all.collect(), false)
            }
            "names" => {
                let all = names.iter().map(|((kind, role, name), value)| {
                    let key = name_key(*kind, *role, name);
                    (bytes(key.as_bytes()), bytes(name_value(*value).as_bytes()))
                });
                (all.collect(), true)
            }
            "paths" => {
                let all = paths.iter().map(|((kind, hash, len), value)| {
                    let key = path_key(*kind, *hash, *len);
                    (bytes(key.as_bytes()), bytes(path_value(*value).as_bytes()))
                });
                (all.collect(), true)
            }
            "numbers" => {
                let all = numbers
                    .iter()
                    .map(|key| (bytes(number_key(*key).as_bytes()), vec![1]));
                (all.collect(), true)
            }
            _ => {
                let all = syscall_table(&self.maps).into_iter();
                let all = all
                    .map(|(number, shape)| (bytes(&number.to_le_bytes()), bytes(shape.as_bytes())));
                (all.collect(), false)
            }
        }
    }

    /// Notes which program the kernel has now found behind a jump.
    pub(crate) fn note_jumps(&mut self, program: &Program, map: &str, needed: bool) {
        for kind in &program.kinds {
            let key = (*kind as u32).to_ne_bytes();
            let found = self.jump(map, key).filter(|_| needed);
            let at = (map.to_owned(), key);
            match found {
                Some(number) => self.written.jumps.insert(at, number),
                None => self.written.jumps.remove(&at),
            };
        }
    }

    fn jump(&self, map: &str, key: [u8; 4]) -> Option<u32> {
        let value = self.map(map).ok()?.lookup(&key, MapFlags::ANY).ok()??;
        Some(u32::from_ne_bytes(*value.first_chunk()?))
    }

    fn verify_jumps(&mut self) -> Option<Damage> {
        let wrong = self.written.jumps.iter();
        let wrong = wrong.filter(|((map, key), number)| self.jump(map, *key) != Some(**number));
        let wrong = wrong.count();
        (wrong > 0).then(|| Damage {
            what: format!(
                "{wrong} programs were taken out of the table of jumps, or others put there"
            ),
            left: self.attach_again(),
        })
    }

    fn verify_links(&mut self) -> Option<Damage> {
        let lost: Vec<&'static str> = self
            .links
            .iter()
            .filter(|(name, link)| {
                let Some(number) = self.written.links.get(*name) else {
                    return false;
                };
                link.info().is_ok_and(|info| {
                    let is_detached =
                        matches!(&info.info, LinkTypeInfo::Cgroup(group) if group.cgroup_id == 0);
                    is_detached || info.prog_id != *number
                })
            })
            .map(|(name, _)| *name)
            .collect();
        if lost.is_empty() {
            return None;
        }
        for name in &lost {
            self.links.remove(name);
        }
        Some(Damage {
            what: format!("detached: {}", lost.join(", ")),
            left: self.attach_again(),
        })
    }

    fn attach_again(&mut self) -> Option<String> {
        let approvers = self.written.approvers.clone();
        self.attach(&approvers).err().map(|error| error.to_string())
    }

    fn verify_switches(&mut self) -> Vec<Damage> {
        let tier = self.choice.tier;
        let is_off =
            |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
        let own = SWITCHES.iter().filter(|(_, of)| *of == tier);
        let own: Vec<&'static str> = own.map(|(path, _)| *path).collect();
        let on = self.written.switches.get_or_insert_with(|| {
            let on = own.iter().filter(|path| !is_off(path));
            on.copied().collect()
        });
        let off = on.iter().filter(|path| is_off(path));
        off.map(|path| Damage {
            what: format!("{path} was set to 0: no hook of this tier is called"),
            left: std::fs::write(path, "1")
                .err()
                .map(|error| error.to_string()),
        })
        .collect()
    }
}
