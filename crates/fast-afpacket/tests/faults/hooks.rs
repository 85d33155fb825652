//! The functions of the C library that the library calls, each in a version that fails when a test has asked for it.
//!
//! What a program defines comes before what a shared library has, so the library is tried as it is, without a line for
//! it. [`with_fault`] arms the calling thread; all others, and this one otherwise, get what the C library does.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_long, c_uint, c_ulong, c_void};
use std::mem;

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call is not made, and says this.
    Errno(c_int),
    /// The call is made, with room for so many bytes of control messages in each message that is received.
    ShortControl(usize),
    /// The call is made, with room for so many bytes of data.
    ShortData(usize),
    /// Of several messages the call sends or receives one.
    One,
}

impl Fault {
    /// Whether a call can go wrong in this way.
    fn concerns(self, call: &str) -> bool {
        match self {
            Self::Errno(_) => true,
            Self::ShortControl(_) => matches!(call, "recvmsg" | "recvmmsg"),
            Self::ShortData(_) => matches!(call, "recvmsg" | "recvmmsg"),
            Self::One => matches!(call, "sendmmsg" | "recvmmsg"),
        }
    }
}

#[derive(Clone, Copy)]
struct Plan {
    fault: Fault,
    /// How many calls it concerns go well before.
    after: usize,
    /// The call that went wrong.
    struck: Option<&'static str>,
}

thread_local! {
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
}

/// Runs `work`, in which one call of this thread goes wrong: that behind so many others that might. Says which it was, if
/// there were so many.
pub(crate) fn with_fault<T>(fault: Fault, after: usize, work: impl FnOnce() -> T) -> (T, Option<&'static str>) {
    PLAN.set(Some(Plan { fault, after, struck: None }));
    let result = work();
    let plan = PLAN.take();
    (result, plan.and_then(|plan| plan.struck))
}

/// Runs `work` without faults, also within [`with_fault`].
pub(crate) fn without<T>(work: impl FnOnce() -> T) -> T {
    let plan = PLAN.take();
    let result = work();
    PLAN.set(plan);
    result
}

/// What this call is to do wrong, if it is the one.
fn due(call: &'static str) -> Option<Fault> {
    // A thread that is being torn down has no plan.
    let mut plan = PLAN.try_with(Cell::get).ok().flatten()?;
    if plan.struck.is_some() || !plan.fault.concerns(call) {
        return None;
    }
    let strikes = plan.after == 0;
    if strikes {
        plan.struck = Some(call);
    } else {
        plan.after -= 1;
    }
    PLAN.set(Some(plan));
    strikes.then_some(plan.fault)
}

fn set_errno(errno: c_int) {
    // SAFETY: it gives the address of this thread's errno, which is always there.
    let address = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { *address = errno };
}

/// The C library's own function.
fn original(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends with NUL. `RTLD_NEXT`: behind this program.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "{name:?}");
    found
}

/// Defines these functions: each does `before` with the fault that is due, if one is that the call is made with, and
/// calls what the C library has.
macro_rules! calls {
    ($($name:literal fn $function:ident($($argument:ident: $type:ty),*) -> $result:ty, or $failure:expr, $before:expr;)*) => {
        /// Their names.
        pub(crate) const HOOKED: &[&str] = &[$(stringify!($function)),*];

        $(
            /// # Safety
            ///
            /// That of the C library's.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $function($(mut $argument: $type),*) -> $result {
                let fault = due(stringify!($function));
                if let Some(Fault::Errno(errno)) = fault {
                    set_errno(errno);
                    return $failure;
                }
                if let Some(fault) = fault {
                    let change: fn(Fault, ($(&mut $type,)*)) = $before;
                    change(fault, ($(&mut $argument,)*));
                }
                type Function = unsafe extern "C" fn($($type),*) -> $result;
                // SAFETY: the function of that name has this signature, in C.
                let function: Function = unsafe { mem::transmute(original($name)) };
                // SAFETY: the caller's arguments, of which at most lengths have become shorter.
                unsafe { function($($argument),*) }
            }
        )*
    };
}

calls! {
    c"socket" fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int, or -1, |_, _| ();
    c"bind" fn bind(fd: c_int, address: *const libc::sockaddr, len: c_uint) -> c_int, or -1, |_, _| ();
    c"getsockname" fn getsockname(fd: c_int, address: *mut libc::sockaddr, len: *mut c_uint) -> c_int, or -1, |_, _| ();
    c"setsockopt" fn setsockopt(fd: c_int, level: c_int, option: c_int, value: *const c_void, len: c_uint) -> c_int,
        or -1, |_, _| ();
    c"getsockopt" fn getsockopt(fd: c_int, level: c_int, option: c_int, value: *mut c_void, len: *mut c_uint) -> c_int,
        or -1, |_, _| ();
    c"sendto" fn sendto(
        fd: c_int, data: *const c_void, len: usize, flags: c_int, address: *const libc::sockaddr, address_len: c_uint
    ) -> isize, or -1, |_, _| ();
    c"sendmsg" fn sendmsg(fd: c_int, message: *const libc::msghdr, flags: c_int) -> isize, or -1, |_, _| ();
    c"sendmmsg" fn sendmmsg(fd: c_int, messages: *mut libc::mmsghdr, count: c_uint, flags: c_int) -> c_int,
        or -1, |_, (_, _, count, _)| *count = 1;
    c"recvmsg" fn recvmsg(fd: c_int, message: *mut libc::msghdr, flags: c_int) -> isize,
        or -1, |fault, (_, message, _)| shorten(fault, *message);
    c"recvmmsg" fn recvmmsg(
        fd: c_int, messages: *mut libc::mmsghdr, count: c_uint, flags: c_int, timeout: *mut libc::timespec
    ) -> c_int, or -1, |fault, (_, messages, count, _, _)| match fault {
        Fault::One => *count = 1,
        fault => shorten(fault, messages.cast()),
    };
    c"ioctl" fn ioctl(fd: c_int, operation: c_ulong, argument: *mut c_void) -> c_int, or -1, |_, _| ();
    c"mmap" fn mmap(address: *mut c_void, len: usize, access: c_int, flags: c_int, fd: c_int, offset: c_long) -> *mut c_void,
        or libc::MAP_FAILED, |_, _| ();
    c"madvise" fn madvise(address: *mut c_void, len: usize, advice: c_int) -> c_int, or -1, |_, _| ();
    c"ppoll" fn ppoll(
        fds: *mut libc::pollfd, count: libc::nfds_t, timeout: *const libc::timespec, mask: *const libc::sigset_t
    ) -> c_int, or -1, |_, _| ();
    c"eventfd" fn eventfd(value: c_uint, flags: c_int) -> c_int, or -1, |_, _| ();
    c"epoll_create1" fn epoll_create1(flags: c_int) -> c_int, or -1, |_, _| ();
    c"epoll_ctl" fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut c_void) -> c_int, or -1, |_, _| ();
    c"epoll_wait" fn epoll_wait(epoll: c_int, events: *mut c_void, count: c_int, timeout: c_int) -> c_int, or -1, |_, _| ();
    c"recv" fn recv(fd: c_int, data: *mut c_void, len: usize, flags: c_int) -> isize, or -1, |_, _| ();
    c"dup3" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int, or -1, |_, _| ();
    c"setns" fn setns(fd: c_int, kind: c_int) -> c_int, or -1, |_, _| ();
    c"timerfd_create" fn timerfd_create(clock: c_int, flags: c_int) -> c_int, or -1, |_, _| ();
    c"timerfd_settime" fn timerfd_settime(
        fd: c_int, flags: c_int, times: *const c_void, former: *mut c_void
    ) -> c_int, or -1, |_, _| ();
    c"if_nameindex" fn if_nameindex() -> *mut c_void, or std::ptr::null_mut(), |_, _| ();
}

/// Leaves this message less room.
fn shorten(fault: Fault, message: *mut libc::msghdr) {
    // SAFETY: the library calls with a header of its own, which the C library and the kernel are to write.
    let message = unsafe { &mut *message };
    match fault {
        Fault::ShortControl(len) => message.msg_controllen = message.msg_controllen.min(len),
        Fault::ShortData(len) if message.msg_iovlen > 0 => {
            // SAFETY: there is at least one vector, which is the caller's and lives as long as the header.
            let vector = unsafe { &mut *message.msg_iov };
            vector.iov_len = vector.iov_len.min(len);
        }
        _ => {}
    }
}
