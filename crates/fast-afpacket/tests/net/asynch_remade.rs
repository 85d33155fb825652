//! Tasks that wait while the interface is removed and made again.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use fast_afpacket::{AsyncPacketSocket, AsyncRxRing, ByFrame, FanoutGroup, FanoutMode, Interface, Options, TxKey};
use tokio::time::sleep;

use crate::asynch::{current_thread, open, ring_of_blocks, ring_of_frames, runtimes, soon};
use crate::lab::{self, Cable, leftovers, millis, number_in};
use crate::remade::{DUAL, filter, frame, make, remove};

crate::tests! {
    a_task_that_waits_goes_on;
    a_ring_of_a_task_goes_on;
    a_member_is_taken_back_and_rebound;
    closed_while_the_interface_is_gone;
    dropped_while_the_interface_is_gone;
}

fn options() -> Options {
    lab::options().filter(&filter(1)).follow_name(true)
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

async fn receive(socket: &AsyncPacketSocket) -> io::Result<u32> {
    let mut buf = [0; 64];
    socket.recv(&mut buf).await.map(|_| number_in(&buf))
}

/// A ring of either kind.
enum Ring {
    Blocks(AsyncRxRing),
    Frames(AsyncRxRing<ByFrame>),
}

impl Ring {
    fn both(options: impl Fn() -> Options, interface: &Interface) -> [Self; 2] {
        [Self::Blocks(ring_of_blocks(options(), interface)), Self::Frames(ring_of_frames(options(), interface))]
    }

    /// The number of the first frame that comes.
    async fn receive(&mut self) -> io::Result<u32> {
        match self {
            Self::Blocks(ring) => Ok(number_in(ring.next_block().await?.iter().next().unwrap().data())),
            Self::Frames(ring) => Ok(number_in(ring.next_frame().await?.frame().data())),
        }
    }

    fn returns(&self) -> u64 {
        match self {
            Self::Blocks(ring) => ring.get_ref().link_changes().returns,
            Self::Frames(ring) => ring.get_ref().link_changes().returns,
        }
    }

    /// Takes the ring back, binds it anew, and gives it to tasks once more.
    fn rebound(self) -> Self {
        match self {
            Self::Blocks(ring) => {
                let mut ring = ring.into_inner();
                ring.rebind().unwrap();
                Self::Blocks(AsyncRxRing::new(ring).unwrap())
            }
            Self::Frames(ring) => {
                let mut ring = ring.into_inner();
                ring.rebind().unwrap();
                Self::Frames(AsyncRxRing::new(ring).unwrap())
            }
        }
    }
}

/// Longer than between two looks at an interface that is gone.
async fn a_while() {
    sleep(millis(120)).await;
}

/// Nothing is done but to receive: the one task that waits finds the interface there and binds to it.
fn a_task_that_waits_goes_on() {
    for runtime in runtimes() {
        for dual in DUAL {
            let cable = Cable::new();
            runtime.block_on(soon(async {
                let socket = Arc::new(open(options().dual(dual), &cable.a));
                let receiver = Arc::clone(&socket);
                let receiving = tokio::spawn(async move {
                    let gone = errno(receive(&receiver).await);
                    (gone, [receive(&receiver).await.unwrap(), receive(&receiver).await.unwrap()])
                });
                sleep(millis(20)).await;
                remove();
                a_while().await;
                assert!(!receiving.is_finished() && socket.get_ref().link_state().is_gone());
                let [made, peer] = make();
                while socket.get_ref().link_changes().returns == 0 {
                    sleep(millis(1)).await;
                }
                assert_eq!(socket.get_ref().current_interface().unwrap(), made);
                let peer = open(lab::options(), &peer);
                for (number, wanted) in [(1, false), (2, true), (3, false), (4, true)] {
                    peer.send(&frame(number, wanted)).await.unwrap();
                }
                assert_eq!(receiving.await.unwrap(), (Some(libc::ENETDOWN), [2, 4]));
                socket.send_keyed(&frame(5, true), TxKey::new(5)).await.unwrap();
                assert_eq!(socket.recv_tx(&mut []).await.unwrap().key.value(), 5);
                let changes = socket.get_ref().link_changes();
                assert_eq!((changes.downs, changes.returns), (1, 1));
            }));
            remove();
        }
    }
}

fn a_ring_of_a_task_goes_on() {
    for runtime in runtimes() {
        let cable = Cable::new();
        runtime.block_on(soon(async {
            let receiving = Ring::both(options, &cable.a).map(|mut ring| {
                tokio::spawn(async move {
                    let gone = errno(ring.receive().await);
                    let number = ring.receive().await.unwrap();
                    (gone, number, ring)
                })
            });
            sleep(millis(20)).await;
            remove();
            a_while().await;
            assert!(receiving.iter().all(|task| !task.is_finished()));
            let [_, peer] = make();
            let peer = open(lab::options(), &peer);
            // What is sent before they are bound again, they do not get.
            while !receiving.iter().all(|task| task.is_finished()) {
                peer.send(&frame(7, true)).await.unwrap();
                sleep(millis(1)).await;
            }
            for task in receiving {
                let (gone, number, ring) = task.await.unwrap();
                assert_eq!((gone, number, ring.returns()), (Some(libc::ENETDOWN), 7, 1));
            }
        }));
        remove();
    }
}

/// Another socket has to take the place of a member's, which a runtime would not know of.
fn a_member_is_taken_back_and_rebound() {
    for dual in DUAL {
        let cable = Cable::new();
        current_thread().block_on(soon(async {
            let groups = [(); 3].map(|()| FanoutGroup::new(FanoutMode::Hash));
            let [of_sockets, of_blocks, of_frames] = &groups;
            let socket = open(options().dual(dual).fanout(of_sockets), &cable.a);
            let blocks = Ring::Blocks(ring_of_blocks(options().fanout(of_blocks), &cable.a));
            let mut rings = [blocks, Ring::Frames(ring_of_frames(options().fanout(of_frames), &cable.a))];
            remove();
            assert_eq!(errno(receive(&socket).await), Some(libc::ENETDOWN));
            for ring in &mut rings {
                assert_eq!(errno(ring.receive().await), Some(libc::ENETDOWN));
            }
            let [_, peer] = make();
            for _ in 0..2 {
                assert_eq!(receive(&socket).await.unwrap_err().kind(), ErrorKind::Unsupported);
                for ring in &mut rings {
                    assert_eq!(ring.receive().await.unwrap_err().kind(), ErrorKind::Unsupported);
                }
            }
            assert_eq!(socket.get_ref().link_changes().returns, 0);
            let socket = socket.into_inner();
            socket.rebind().unwrap();
            let socket = AsyncPacketSocket::new(socket).unwrap();
            let mut rings = rings.map(Ring::rebound);
            let peer = open(lab::options(), &peer);
            peer.send(&frame(7, true)).await.unwrap();
            // That it went down was said, and what is read first is the frame.
            assert_eq!(receive(&socket).await.unwrap(), 7);
            for ring in &mut rings {
                assert_eq!(ring.receive().await.unwrap(), 7);
            }
            socket.send_keyed(&frame(8, true), TxKey::new(8)).await.unwrap();
            assert_eq!(socket.recv_tx(&mut []).await.unwrap().key.value(), 8);
            assert!(socket.get_ref().link_changes().returns == 1 && rings.iter().all(|ring| ring.returns() == 1));
        }));
        remove();
    }
}

fn closed_while_the_interface_is_gone() {
    for dual in DUAL {
        let cable = Cable::new();
        current_thread().block_on(soon(async {
            let socket = Arc::new(open(options().dual(dual), &cable.a));
            let mut rings = Ring::both(options, &cable.a);
            let controls = rings.each_ref().map(|ring| match ring {
                Ring::Blocks(ring) => ring.control(),
                Ring::Frames(ring) => ring.control(),
            });
            remove();
            assert_eq!(errno(receive(&socket).await), Some(libc::ENETDOWN));
            for ring in &mut rings {
                assert_eq!(errno(ring.receive().await), Some(libc::ENETDOWN));
            }
            let closing = async {
                a_while().await;
                socket.get_ref().close();
                controls.iter().for_each(|control| control.close());
            };
            let [blocks, frames] = &mut rings;
            let (frame, stamp, block, held, ()) =
                tokio::join!(receive(&socket), socket.recv_tx(&mut []), blocks.receive(), frames.receive(), closing);
            let ended = [errno(frame), errno(stamp), errno(block), errno(held)];
            assert_eq!(ended, [Some(libc::ECONNABORTED); 4]);
            // Also when it is there again.
            make();
            assert_eq!(errno(receive(&socket).await), Some(libc::ECONNABORTED));
            assert_eq!(socket.get_ref().link_changes().returns, 0);
        }));
        remove();
    }
}

/// Nothing is left, and nothing binds to what is made later.
fn dropped_while_the_interface_is_gone() {
    let cable = Cable::new();
    let runtime = current_thread();
    let before = leftovers();
    runtime.block_on(soon(async {
        let socket = open(options(), &cable.a);
        let [mut blocks, mut frames] = Ring::both(options, &cable.a);
        remove();
        let tasks = [
            tokio::spawn(async move {
                assert_eq!(errno(receive(&socket).await), Some(libc::ENETDOWN));
                receive(&socket).await
            }),
            tokio::spawn(async move {
                assert_eq!(errno(blocks.receive().await), Some(libc::ENETDOWN));
                blocks.receive().await
            }),
            tokio::spawn(async move {
                assert_eq!(errno(frames.receive().await), Some(libc::ENETDOWN));
                frames.receive().await
            }),
        ];
        a_while().await;
        for task in tasks {
            assert!(!task.is_finished());
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }));
    lab::eventually("all is closed", || leftovers() == before);
    make();
    assert_eq!(leftovers(), before);
}
