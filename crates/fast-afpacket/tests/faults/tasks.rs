//! Calls of tasks, which wait with descriptors of their own.
//!
//! The fault strikes while a call is polled: what the runtime does between is tokio's, and it bears less.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;

use fast_afpacket::{AsyncPacketSocket, AsyncRxRing, Interface, Options, RingShape, Timestamping, TxKey};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::hooks::{self, Fault};
use crate::lab::{self, Cable, bind, frame, ip, millis, number_in, options};
use crate::{ERRORS, Reported as _, at_each_of, leftovers};

/// Runs a call, whose system calls go wrong.
async fn armed<F: Future>(call: F) -> F::Output {
    let mut call = pin!(call);
    timeout(millis(20_000), poll_fn(|cx| hooks::within(|| call.as_mut().poll(cx)))).await.unwrap()
}

/// [`again`](crate::again), for calls of tasks.
async fn again<T>(fault: Fault, told: &mut bool, mut call: impl AsyncFnMut() -> io::Result<T>) -> T {
    match armed(call()).await {
        Ok(value) => value,
        Err(error) => {
            error.check(fault);
            assert!(!std::mem::replace(told, true), "one fault, two errors");
            armed(call()).await.unwrap()
        }
    }
}

/// Waits for what does not come.
async fn in_vain<T>(call: impl Future<Output = io::Result<T>>) -> io::Result<()> {
    timeout(millis(3), call).await.map_or(Ok(()), |result| result.map(drop))
}

fn open(options: Options, interface: &Interface) -> AsyncPacketSocket {
    AsyncPacketSocket::new(options.bind(interface).unwrap()).unwrap()
}

/// The next stamp's key. None if a refusal has left it open whose number that is, and the stamp was counted for it.
async fn stamped(socket: &AsyncPacketSocket) -> io::Result<Option<u32>> {
    loop {
        if let Ok(report) = timeout(millis(20), socket.recv_tx(&mut [])).await {
            return report.map(|report| Some(report.key.value()));
        }
        if hooks::without(|| socket.get_ref().stats().unwrap().unattributed) > 0 {
            return Ok(None);
        }
    }
}

pub(crate) fn test() {
    try_tasks(false);
}

pub(crate) fn counted() {
    try_tasks(true);
}

fn try_tasks(count_keys: bool) {
    let cable = Cable::new();
    ip("link add vc type veth peer name vd");
    let down = Interface::by_name("vc").unwrap();
    let peer = bind(options().dual(true), &cable.b);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut number = 0;
    let expected = ["fcntl", "epoll_create1", "epoll_ctl", "timerfd_create", "timerfd_settime", "recvmsg"];
    // But for EAGAIN: whoever waits for an edge believes that there is nothing.
    at_each_of(&expected, &[ERRORS[1], ERRORS[3]], |fault| {
        let (mut told, before) = (false, leftovers());
        let told = &mut told;
        hooks::without(|| {
            runtime.block_on(async {
                let stamping = options().timestamping(Timestamping::TX_SOFTWARE).count_keys(count_keys);
                let socket = open(stamping.dual(true), &cable.a);
                number += 1;
                again(fault, told, async || in_vain(socket.recv_tx(&mut [])).await).await;
                again(fault, told, async || socket.send_keyed(&frame(number), TxKey::new(number)).await).await;
                let stamped = again(fault, told, async || stamped(&socket).await).await;
                assert!(stamped == Some(number) || stamped.is_none() && !socket.get_ref().granted().own_keys);
                assert_eq!(peer.recv(&mut [0; 64]).unwrap().len, 60);
                peer.send(&frame(number)).unwrap();
                let received = again(fault, told, async || {
                    let mut buf = [0; 64];
                    socket.recv(&mut buf).await.map(|_| number_in(&buf))
                });
                assert_eq!(received.await, number);
                let mut ring =
                    AsyncRxRing::new(options().rx_ring(&cable.a, RingShape::throughput().blocks(2)).unwrap()).unwrap();
                peer.send(&frame(number)).unwrap();
                let received = again(fault, told, async || {
                    let block = ring.next_block().await?;
                    Ok(block.iter().map(|frame| number_in(frame.data())).collect::<Vec<_>>())
                });
                assert_eq!(received.await, [number]);
                // What is down, a task looks at now and then.
                let waiting = open(options(), &down);
                let first = again(fault, told, async || match waiting.recv(&mut []).await {
                    Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(()),
                    Err(error) => Err(error),
                    Ok(meta) => panic!("{meta:?}"),
                });
                first.await;
                again(fault, told, async || in_vain(waiting.recv(&mut [])).await).await;
            });
            // They are closed on threads of their own.
            lab::eventually("all is closed", || leftovers() == before);
        });
        *told
    });
}
