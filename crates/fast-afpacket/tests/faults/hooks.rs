//! The functions of the C library that the library calls, each in a version that fails when a test has asked for it.
//!
//! What a program defines comes before what a shared library has, so the library is tried as it is, without a line for
//! it. [`with_fault`] arms the calling thread and its helper; all others, and these otherwise, get what the C library does.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_long, c_uint, c_ulong, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{mem, ptr};

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

struct Plan {
    fault: Fault,
    /// How many calls it concerns go well before.
    after: usize,
    /// The call that went wrong.
    struck: Option<&'static str>,
}

/// What is to go wrong in the one test that runs.
static PLAN: Mutex<Option<Plan>> = Mutex::new(None);

/// Whether calls can go wrong at this moment.
static IS_ACTIVE: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this is the thread that [`with_fault`] was called on.
    static IS_SUBJECT: Cell<bool> = const { Cell::new(false) };
}

/// The thread that the library starts to enter another network namespace: it works for the one that waits for it.
const HEIR: &[u8] = b"netns\0";

/// Whether this thread has that name. Asked of the kernel: the standard library may be about to make the thread known to
/// itself.
fn is_heir() -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes sixteen bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(HEIR)
}

fn plan() -> MutexGuard<'static, Option<Plan>> {
    PLAN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work`, in which one call of this thread goes wrong, or of one that it has work for it in another network namespace:
/// that behind so many others that might. Says which it was, if there were so many.
pub(crate) fn with_fault<T>(fault: Fault, after: usize, work: impl FnOnce() -> T) -> (T, Option<&'static str>) {
    *plan() = Some(Plan { fault, after, struck: None });
    IS_SUBJECT.set(true);
    let result = within(work);
    IS_SUBJECT.set(false);
    let plan = plan().take();
    (result, plan.and_then(|plan| plan.struck))
}

/// Runs `work` without faults, also within [`with_fault`].
pub(crate) fn without<T>(work: impl FnOnce() -> T) -> T {
    while_active(false, work)
}

/// Runs `work` with the fault, also within [`without`].
pub(crate) fn within<T>(work: impl FnOnce() -> T) -> T {
    while_active(true, work)
}

fn while_active<T>(active: bool, work: impl FnOnce() -> T) -> T {
    let before = IS_ACTIVE.swap(active, Ordering::SeqCst);
    let result = work();
    IS_ACTIVE.store(before, Ordering::SeqCst);
    result
}

/// What this call is to do wrong, if it is the one.
fn due(call: &'static str) -> Option<Fault> {
    // A thread that is being torn down has no plan.
    let is_subject = IS_ACTIVE.load(Ordering::SeqCst).then(|| IS_SUBJECT.try_with(Cell::get).ok()).flatten()?;
    if !is_subject && !is_heir() {
        return None;
    }
    let mut plan = plan();
    let plan = plan.as_mut()?;
    if plan.struck.is_some() || !plan.fault.concerns(call) {
        return None;
    }
    if plan.after > 0 {
        plan.after -= 1;
        return None;
    }
    plan.struck = Some(call);
    Some(plan.fault)
}

fn errno() -> c_int {
    // SAFETY: it gives the address of this thread's errno, which is always there.
    let address = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { *address }
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
    c"adjtimex" fn adjtimex(time: *mut c_void) -> c_int, or -1, |_, _| ();
    c"sigfillset" fn sigfillset(set: *mut libc::sigset_t) -> c_int, or -1, |_, _| ();
    c"pthread_sigmask" fn pthread_sigmask(
        how: c_int, set: *const libc::sigset_t, former: *mut libc::sigset_t
    ) -> c_int, or errno(), |_, _| ();
    c"if_nameindex" fn if_nameindex() -> *mut c_void, or ptr::null_mut(), |_, _| ();
}

/// Says an errno if this call `is_ours` and is to fail.
fn refused(call: &'static str, is_ours: bool) -> bool {
    match is_ours.then(|| due(call)).flatten() {
        Some(Fault::Errno(errno)) => {
            set_errno(errno);
            true
        }
        _ => false,
    }
}

/// `fcntl(2)`, of which only duplicating a descriptor goes wrong: that is the standard library's work for ours.
///
/// # Safety
///
/// That of the C library's. The argument is passed on, also where there is none.
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, operation: c_int, argument: c_long) -> c_int {
    type Function = unsafe extern "C" fn(c_int, c_int, c_long) -> c_int;
    if refused("fcntl", operation == libc::F_DUPFD_CLOEXEC) {
        return -1;
    }
    // SAFETY: the function of that name takes one argument behind these two at most, of this size, in a register.
    let function: Function = unsafe { mem::transmute(original(c"fcntl")) };
    // SAFETY: the caller's arguments.
    unsafe { function(fd, operation, argument) }
}

/// `syscall(2)`, of which only membarrier(2) goes wrong: with others the standard library makes threads wait, also for what
/// is locked here.
///
/// # Safety
///
/// That of the C library's. As many arguments as any call has are passed on, whatever is in them.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    type Function = unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;
    static ORIGINAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    if refused("syscall", n == libc::SYS_membarrier) {
        return -1;
    }
    let mut found = ORIGINAL.load(Ordering::Relaxed);
    if found.is_null() {
        found = original(c"syscall");
        ORIGINAL.store(found, Ordering::Relaxed);
    }
    // SAFETY: the function of that name takes so many arguments of this size at most, in registers.
    let function: Function = unsafe { mem::transmute(found) };
    // SAFETY: the caller's arguments.
    unsafe { function(n, a, b, c, d, e, f) }
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
