//! What a thread of a test may not do: capabilities that it drops, system calls that a seccomp filter refuses it.

use std::io;
use std::mem::offset_of;
use std::thread;

pub(crate) const CAP_NET_ADMIN: u32 = 12;
pub(crate) const CAP_NET_RAW: u32 = 13;
pub(crate) const CAP_SYS_ADMIN: u32 = 21;

/// Runs `work` on a thread in the same namespaces that has given these capabilities up.
pub(crate) fn without<T: Send>(capabilities: &[u32], work: impl FnOnce() -> T + Send) -> T {
    let drop_and_work = || {
        capabilities.iter().for_each(|&number| drop_capability(number));
        work()
    };
    thread::scope(|scope| scope.spawn(drop_and_work).join().unwrap())
}

/// Runs `work` on a thread in the same namespaces that has no capability at all.
pub(crate) fn without_any<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let all: Vec<u32> = (0..64).collect();
    without(&all, work)
}

/// `struct __user_cap_header_struct` and two of `struct __user_cap_data_struct`, of linux/capability.h.
fn drop_capability(number: u32) {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: both pointers are to memory of the size that this version has.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    let (word, bit) = (number as usize / 32, number % 32);
    let [effective, permitted, _] = &mut sets[word];
    *effective &= !(1 << bit);
    *permitted &= !(1 << bit);
    // SAFETY: as above; the kernel reads them.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// A system call that is refused: its number, which arguments it has to have, and what it fails with. 0 is a success that
/// does nothing.
pub(crate) struct Refused<'a> {
    pub(crate) call: libc::c_long,
    pub(crate) arguments: &'a [(usize, u32)],
    pub(crate) errno: i32,
}

/// Runs `work` on a thread that is refused a system call by a seccomp filter.
pub(crate) fn refusing<T: Send>(refused: &Refused<'_>, work: impl FnOnce() -> T + Send) -> T {
    let filter = program(refused);
    let install_and_work = || {
        install(&filter);
        work()
    };
    thread::scope(|scope| scope.spawn(install_and_work).join().unwrap())
}

/// If the call and all arguments are the ones: the errno. Otherwise: go on.
fn program(refused: &Refused<'_>) -> Vec<libc::sock_filter> {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    let argument_at = |index: usize| offset_of!(libc::seccomp_data, args) + 8 * index + low_half;
    let number = u32::try_from(refused.call).unwrap();
    let mut wanted = vec![(offset_of!(libc::seccomp_data, nr), number)];
    wanted.extend(refused.arguments.iter().map(|&(index, value)| (argument_at(index), value)));
    let mut filter = Vec::new();
    for (done, (offset, value)) in wanted.iter().enumerate() {
        // Behind what is left of the comparisons, and behind the refusal.
        let to_the_end = u8::try_from(2 * (wanted.len() - done - 1) + 1).unwrap();
        filter.push(libc::sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: u32::try_from(*offset).unwrap() });
        filter.push(libc::sock_filter { code: JUMP_EQUAL, jt: 0, jf: to_the_end, k: *value });
    }
    let errno = libc::SECCOMP_RET_ERRNO | u32::try_from(refused.errno).unwrap();
    filter.push(libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: errno });
    filter.push(libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW });
    filter
}

/// For the calling thread and those that it starts.
fn install(filter: &[libc::sock_filter]) {
    let len = u16::try_from(filter.len()).unwrap();
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: no memory is passed.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    let pointer: *const libc::sock_fprog = &program;
    // SAFETY: the pointer is to a live program with its true length, which the kernel copies.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, pointer) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}
