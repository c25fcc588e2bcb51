//! System calls that have no wrapper, or whose wrapper makes another call.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// An argument of a system call.
pub(crate) trait Argument {
    fn value(&self) -> i64;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            fn value(&self) -> i64 {
                *self as i64
            }
        }
    )*};
}
numbers!(i32, i64, u32, u64, usize);

impl<T> Argument for *const T {
    fn value(&self) -> i64 {
        *self as i64
    }
}

impl<T> Argument for *mut T {
    fn value(&self) -> i64 {
        *self as i64
    }
}

impl Argument for &CStr {
    fn value(&self) -> i64 {
        self.as_ptr() as i64
    }
}

impl Argument for &std::ffi::CString {
    fn value(&self) -> i64 {
        self.as_ptr() as i64
    }
}

impl Argument for &OwnedFd {
    fn value(&self) -> i64 {
        use std::os::fd::AsRawFd;
        i64::from(self.as_raw_fd())
    }
}

impl Argument for &std::fs::File {
    fn value(&self) -> i64 {
        use std::os::fd::AsRawFd;
        i64::from(self.as_raw_fd())
    }
}

/// A system call: what it returned.
pub(crate) fn call(number: i64, arguments: &[&dyn Argument]) -> io::Result<i64> {
    let mut a = [0; 6];
    for (to, from) in a.iter_mut().zip(arguments) {
        *to = from.value();
    }
    // SAFETY: each arm passes what its system call takes, and keeps alive what the arguments point to.
    let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A system call that returns a descriptor.
pub(crate) fn fd_of(number: i64, arguments: &[&dyn Argument]) -> io::Result<OwnedFd> {
    let fd = call(number, arguments)?;
    // SAFETY: a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A system call, in short: `sys!(SYS_openat, fd, c"name", 0)`.
macro_rules! sys {
    ($number:ident $(, $argument:expr)* $(,)?) => {
        $crate::raw::call(libc::$number, &[$(&$argument),*])
    };
}

/// The same for a call that returns a descriptor.
macro_rules! sys_fd {
    ($number:ident $(, $argument:expr)* $(,)?) => {
        $crate::raw::fd_of(libc::$number, &[$(&$argument),*])
    };
}

pub(crate) use {sys, sys_fd};
