//! Calls of sockets, in a network namespace of its own whose loopback is up.
//!
//! A step is `CALL[@ENTRY]=ARGUMENT,...`; the results of all are printed, a negative one is an errno. ENTRY: nothing for the
//! system call, `int80`, `socketcall` (the i386 call that is all of them), `uring`, `uring-async` (by a kernel worker), `uring-many` (an accept
//! that goes on), `x32`.
//! Descriptors that a step makes are numbered from 0, in the order they are made.
//!
//! ```text
//! socket=FAMILY,TYPE,PROTOCOL     connect=SOCKET,ADDRESS      bind=SOCKET,ADDRESS     accept=SOCKET[,FLAGS]
//! setsockopt=SOCKET,LEVEL,OPTION,VALUE                        listen=SOCKET           close=SOCKET
//! filter=SOCKET,CODE/JT/JF/K;...  attaches a packet filter
//! ```
//! ADDRESS: `4/IP/PORT`, `6/IP/PORT`, `u/PATH`, `a/NAME` (abstract), `f/FAMILY` (nothing but that), `0` (a null pointer), `p/SOCKET`
//! (the address that a socket is bound to).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::compat;
use crate::uring::{self, Entry, SQE_ASYNC};

const X32: i64 = 0x4000_0000;

/// Memory below 4 GiB, so that every entry can be given its addresses.
struct Low {
    base: *mut u8,
    used: usize,
}

impl Low {
    const SIZE: usize = 1 << 20;

    fn new() -> Self {
        // SAFETY: a fresh anonymous mapping, checked below.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
                -1,
                0,
            )
        };
        assert!(base != libc::MAP_FAILED, "no memory below 4 GiB");
        let base = base.cast();
        Self { base, used: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.used.next_multiple_of(16);
        assert!(at + bytes.len() <= Self::SIZE, "too much for the memory");
        self.used = at + bytes.len();
        // SAFETY: inside the mapping, by the assertion above.
        unsafe {
            let address = self.base.add(at);
            address.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            address as u64
        }
    }
}

struct Steps {
    memory: Low,
    made: Vec<i64>,
}

/// The numbers of a call: x86-64, i386, of socketcall(2), io_uring's operation.
struct Numbers {
    native: i64,
    compat: i64,
    packed: u64,
    operation: u8,
}

fn numbers(call: &str) -> Numbers {
    let (native, compat, packed, operation) = match call {
        "socket" => (libc::SYS_socket, 359, 1, 45),
        "bind" => (libc::SYS_bind, 361, 2, 56),
        "connect" => (libc::SYS_connect, 362, 3, 16),
        "listen" => (libc::SYS_listen, 363, 4, 57),
        "accept" => (libc::SYS_accept4, 364, 18, 13),
        "setsockopt" | "filter" => (libc::SYS_setsockopt, 366, 14, 46),
        other => panic!("not a call of sockets: {other}"),
    };
    Numbers {
        native,
        compat,
        packed,
        operation,
    }
}

/// Takes the steps and gives their results.
pub(crate) fn run(steps: &[&str]) -> String {
    own_network();
    let mut state = Steps {
        memory: Low::new(),
        made: Vec::new(),
    };
    let results: Vec<String> = steps
        .iter()
        .map(|step| state.step(step).to_string())
        .collect();
    results.join(" ")
}

/// Leaves the machine's network for an empty one, and sets its loopback up.
fn own_network() {
    // SAFETY: plain system calls on a socket of this function and a struct that outlives them.
    unsafe {
        assert_eq!(
            libc::unshare(libc::CLONE_NEWNET),
            0,
            "no network of its own"
        );
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        let done = libc::ioctl(socket, libc::SIOCSIFFLAGS, &request);
        libc::close(socket);
        assert_eq!(done, 0, "the loopback cannot be set up");
    }
}

impl Steps {
    fn step(&mut self, step: &str) -> i64 {
        let (call, arguments) = step.split_once('=').unwrap_or((step, ""));
        let (call, entry) = call.split_once('@').unwrap_or((call, ""));
        let words: Vec<&str> = arguments.split(',').collect();
        if call == "close" {
            // SAFETY: a descriptor that a step has made.
            return i64::from(unsafe { libc::close(self.socket(words[0]) as i32) });
        }
        let values = self.values(call, &words);
        let result = self.enter(call, entry, values);
        if (call == "socket" || call == "accept") && result >= 0 {
            self.made.push(result);
        }
        result
    }

    fn socket(&self, word: &str) -> u64 {
        let index: usize = word.parse().expect("the number of a socket");
        self.made[index] as u64
    }

    /// The arguments as the system call takes them.
    fn values(&mut self, call: &str, words: &[&str]) -> [u64; 5] {
        let number = |index: usize| -> u64 {
            let word = words.get(index).copied().unwrap_or("0");
            word.parse::<i64>()
                .unwrap_or_else(|_| panic!("not a number: {word}")) as u64
        };
        match call {
            "socket" => [number(0), number(1), number(2), 0, 0],
            "connect" | "bind" => {
                let socket = self.socket(words[0]);
                let (address, length) = self.address(words[1]);
                [socket, address, length, 0, 0]
            }
            "listen" => [self.socket(words[0]), 8, 0, 0, 0],
            "accept" => [self.socket(words[0]), 0, 0, number(1), 0],
            "setsockopt" => {
                let value = self.memory.put(&(number(3) as u32).to_ne_bytes());
                [self.socket(words[0]), number(1), number(2), value, 4]
            }
            "filter" => {
                let filter = self.filter(words[1]);
                [self.socket(words[0]), 1, 26, filter, 16] // SOL_SOCKET, SO_ATTACH_FILTER
            }
            other => panic!("not a step: {other}"),
        }
    }

    fn address(&mut self, text: &str) -> (u64, u64) {
        let mut bytes = Vec::new();
        let words: Vec<&str> = text.splitn(3, '/').collect();
        match words[..] {
            ["4", ip, port] => {
                bytes.extend(2_u16.to_ne_bytes());
                bytes.extend(port.parse::<u16>().expect("a port").to_be_bytes());
                bytes.extend(ip.parse::<Ipv4Addr>().expect("an address").octets());
                bytes.resize(16, 0);
            }
            ["6", ip, port] => {
                bytes.extend(10_u16.to_ne_bytes());
                bytes.extend(port.parse::<u16>().expect("a port").to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(ip.parse::<Ipv6Addr>().expect("an address").octets());
                bytes.resize(28, 0);
            }
            ["u", ..] => {
                bytes.extend(1_u16.to_ne_bytes());
                bytes.extend(&text.as_bytes()[2..]);
                bytes.push(0);
            }
            ["a", name] => {
                bytes.extend(1_u16.to_ne_bytes());
                bytes.push(0);
                bytes.extend(name.as_bytes());
            }
            ["f", family] => {
                bytes.extend(family.parse::<u16>().expect("a family").to_ne_bytes());
                bytes.resize(if family == "16" { 12 } else { 16 }, 0);
            }
            ["p", socket] => {
                bytes.resize(128, 0);
                let mut length = 128;
                // SAFETY: a buffer of the length that is given.
                let done = unsafe {
                    libc::getsockname(
                        self.socket(socket) as i32,
                        bytes.as_mut_ptr().cast(),
                        &raw mut length,
                    )
                };
                assert_eq!(done, 0, "the socket has no address");
                bytes.truncate(length as usize);
            }
            ["0"] => return (0, 16),
            _ => panic!("not an address: {text}"),
        }
        (self.memory.put(&bytes), bytes.len() as u64)
    }

    /// A `struct sock_fprog` and its instructions.
    fn filter(&mut self, text: &str) -> u64 {
        let mut code = Vec::new();
        let lines: Vec<&str> = text.split(';').collect();
        for line in &lines {
            let parts: Vec<u32> = line
                .split('/')
                .map(|part| part.parse().expect("a number of an instruction"))
                .collect();
            code.extend((parts[0] as u16).to_ne_bytes());
            code.extend([parts[1] as u8, parts[2] as u8]);
            code.extend(parts[3].to_ne_bytes());
        }
        let code = self.memory.put(&code);
        let mut program = (lines.len() as u64).to_ne_bytes().to_vec();
        program.extend(code.to_ne_bytes());
        self.memory.put(&program)
    }

    fn enter(&mut self, call: &str, entry: &str, values: [u64; 5]) -> i64 {
        let numbers = numbers(call);
        match entry {
            "" => native(numbers.native, values),
            "x32" => native(
                X32 | if numbers.native == libc::SYS_setsockopt {
                    541
                } else {
                    numbers.native
                },
                values,
            ),
            "int80" => compat::enter(numbers.compat, values),
            "socketcall" => {
                let packed: Vec<u8> = values
                    .iter()
                    .flat_map(|value| (*value as u32).to_ne_bytes())
                    .collect();
                let packed = self.memory.put(&packed);
                compat::enter(102, [numbers.packed, packed, 0, 0, 0])
            }
            "uring" | "uring-async" | "uring-many" => {
                let mut operation = operation(call, values);
                operation.opcode = numbers.operation;
                match entry {
                    "uring-async" => operation.flags = SQE_ASYNC,
                    "uring-many" => operation.ioprio = 1, // IORING_ACCEPT_MULTISHOT
                    _ => {}
                }
                uring::submit(operation)
            }
            other => panic!("not an entry: {other}"),
        }
    }
}

/// The arguments where io_uring has them.
fn operation(call: &str, values: [u64; 5]) -> Entry {
    let [a, b, c, d, e] = values;
    match call {
        "socket" => Entry {
            fd: a as i32,
            off: b,
            len: c as u32,
            ..Entry::default()
        },
        "connect" | "bind" => Entry {
            fd: a as i32,
            addr: b,
            off: c,
            ..Entry::default()
        },
        "accept" => Entry {
            fd: a as i32,
            op_flags: d as u32,
            ..Entry::default()
        },
        // SOCKET_URING_OP_SETSOCKOPT: level and option share a field, the length lies in the place of file_index.
        "setsockopt" | "filter" => Entry {
            fd: a as i32,
            off: 3,
            addr: b & 0xffff_ffff | c << 32,
            rest: [e << 32, d, 0],
            ..Entry::default()
        },
        other => panic!("not an operation: {other}"),
    }
}

fn native(number: i64, values: [u64; 5]) -> i64 {
    let [a, b, c, d, e] = values;
    // SAFETY: the test chooses the call; addresses are of memory that lives as long as the process.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result == -1 {
        return -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    result
}
