//! The bpf call with arguments that point to other memory.

const MAP_CREATE: i64 = 0;
const MAP_UPDATE_ELEM: i64 = 2;
const PROG_LOAD: i64 = 5;

pub(crate) fn call(command: i64, attributes: &[u8]) -> i64 {
    let (address, size) = (attributes.as_ptr(), attributes.len());
    // SAFETY: the kernel reads `size` bytes there; what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, address, size) };
    if result == -1 {
        return -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    result
}

pub(crate) fn put(attributes: &mut [u8], at: usize, bytes: &[u8]) {
    attributes[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An array of one number, which is then set.
pub(crate) fn map(name: &str) -> i64 {
    let mut attributes = [0; 72];
    for (at, word) in [(0, 2_u32), (4, 4), (8, 8), (12, 1)] {
        put(&mut attributes, at, &word.to_ne_bytes());
    }
    put(&mut attributes, 28, name.as_bytes());
    let map = call(MAP_CREATE, &attributes);
    if map < 0 {
        return map;
    }
    let (key, value) = (0_u32, 7_u64);
    let mut attributes = [0; 32];
    put(&mut attributes, 0, &(map as u32).to_ne_bytes());
    put(&mut attributes, 8, &(&raw const key as u64).to_ne_bytes());
    put(
        &mut attributes,
        16,
        &(&raw const value as u64).to_ne_bytes(),
    );
    call(MAP_UPDATE_ELEM, &attributes)
}

/// A socket filter that asks for the time and for a random number, and then says 0; `bad` reads past the stack first, which is refused.
pub(crate) fn program(name: &str, bad: bool) -> i64 {
    let helper = |number: u64| 0x85 | number << 32;
    let (zero, exit, past_the_stack) = (0xb7_u64, 0x95_u64, 0x8_a079_u64);
    let mut code = vec![helper(5), helper(7), zero, exit];
    if bad {
        code.insert(2, past_the_stack);
    }
    let license = c"GPL";
    let mut attributes = [0; 72];
    put(&mut attributes, 0, &1_u32.to_ne_bytes());
    put(&mut attributes, 4, &(code.len() as u32).to_ne_bytes());
    put(&mut attributes, 8, &(code.as_ptr() as u64).to_ne_bytes());
    put(
        &mut attributes,
        16,
        &(license.as_ptr() as u64).to_ne_bytes(),
    );
    put(&mut attributes, 48, name.as_bytes());
    call(PROG_LOAD, &attributes)
}
