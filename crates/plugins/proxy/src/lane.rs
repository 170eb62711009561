//! What bytes rest in between a read and a write: a small buffer at first, a pipe in the kernel for bulk traffic.

use std::io;

use tokio::net::TcpStream;

#[cfg(target_os = "linux")]
pub(crate) use linux::Pipe;
#[cfg(not(target_os = "linux"))]
pub(crate) use none::Pipe;

/// Enough for a web page's pieces; thousands of connections that are mostly idle should cost little memory.
const SMALL: usize = 16 * 1024;

/// For bulk traffic where no pipe is to be had.
const LARGE: usize = 128 * 1024;

/// After this many full buffers in a row a direction is bulk traffic, after as many nearly empty ones it is not any more.
const STREAK: u32 = 16;

/// One direction's bytes on their way. Filled only when empty.
pub(crate) struct Lane {
    hold: Hold,
    streak: u32,
}

enum Hold {
    Buffer { bytes: Box<[u8]>, from: usize, to: usize },
    Pipe(Pipe),
}

impl Hold {
    fn buffer(size: usize) -> Self {
        Self::Buffer { bytes: vec![0; size].into_boxed_slice(), from: 0, to: 0 }
    }
}

impl Lane {
    pub(crate) fn new() -> Self {
        Self { hold: Hold::buffer(SMALL), streak: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match &self.hold {
            Hold::Buffer { from, to, .. } => from == to,
            Hold::Pipe(pipe) => pipe.held() == 0,
        }
    }

    /// Whether it holds on to something that others could use better if nothing comes.
    pub(crate) fn is_wide(&self) -> bool {
        match &self.hold {
            Hold::Buffer { bytes, .. } => bytes.len() > SMALL,
            Hold::Pipe(_) => true,
        }
    }

    /// Goes back to the small buffer. Only when empty.
    pub(crate) fn narrow(&mut self) {
        *self = Self::new();
    }

    /// Takes bytes from a socket, at most `most`. 0 is the end; "would block" means to wait until it is readable.
    pub(crate) fn fill(&mut self, socket: &TcpStream, most: usize) -> io::Result<usize> {
        let (filled, full) = match &mut self.hold {
            Hold::Buffer { bytes, from, to } => {
                let most = most.min(bytes.len());
                let filled = socket.try_read(bytes.get_mut(..most).unwrap_or_default())?;
                (*from, *to) = (0, filled);
                (filled, filled == bytes.len())
            }
            Hold::Pipe(pipe) => match pipe.fill(socket, most) {
                Err(error) if is_impossible(&error) => {
                    self.hold = Hold::buffer(LARGE);
                    return self.fill(socket, most);
                }
                filled => (filled?, false),
            },
        };
        let towards_change = if self.is_wide() { filled < SMALL } else { full };
        self.streak = if towards_change { self.streak + 1 } else { 0 };
        Ok(filled)
    }

    /// Gives bytes to a socket, at most `most`. "Would block" means to wait until it is writable.
    pub(crate) fn drain(&mut self, socket: &TcpStream, most: usize) -> io::Result<usize> {
        match &mut self.hold {
            Hold::Buffer { bytes, from, to } => {
                let end = (*to).min(from.saturating_add(most));
                let given = socket.try_write(bytes.get(*from..end).unwrap_or_default())?;
                *from += given;
                Ok(given)
            }
            Hold::Pipe(pipe) => pipe.drain(socket, most),
        }
    }

    /// Widens or narrows as the traffic of late suggests. Only when empty.
    pub(crate) fn adapt(&mut self) {
        if self.streak < STREAK {
            return;
        }
        self.streak = 0;
        self.hold = if self.is_wide() {
            Hold::buffer(SMALL)
        } else {
            Pipe::open().map_or_else(|| Hold::buffer(LARGE), Hold::Pipe)
        };
    }
}

/// Whether these sockets, this kernel or its sandbox know no pipes: nothing was moved, and a buffer still does.
fn is_impossible(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
    use tokio::io::Interest;
    use tokio::net::TcpStream;
    use tokio::sync::{Semaphore, SemaphorePermit};

    /// Moves bytes from socket to socket by reference, within the kernel (splice(2)): a third less work per byte than reading
    /// and writing them, and the most that may be under way after a suspension.
    pub(crate) struct Pipe {
        read: OwnedFd,
        write: OwnedFd,
        held: usize,
        _place: SemaphorePermit<'static>,
    }

    const SIZE: usize = 512 * 1024;

    /// A user without privileges has 64 MiB for pipes by default (`/proc/sys/fs/pipe-user-pages-soft`).
    static PLACES: Semaphore = Semaphore::const_new(96);

    impl Pipe {
        pub(crate) fn open() -> Option<Self> {
            let place = PLACES.try_acquire().ok()?;
            let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            // Refused beyond the user's share: a smaller one is no better than a buffer.
            fcntl_setpipe_size(&write, SIZE).ok()?;
            Some(Self { read, write, held: 0, _place: place })
        }

        pub(crate) const fn held(&self) -> usize {
            self.held
        }

        pub(crate) fn fill(&mut self, socket: &TcpStream, most: usize) -> io::Result<usize> {
            // The pipe is empty, so "would block" can only be the socket's.
            let filled = socket.try_io(Interest::READABLE, || {
                Ok(splice(socket, None, &self.write, None, most.min(SIZE), FLAGS)?)
            })?;
            self.held = filled;
            Ok(filled)
        }

        pub(crate) fn drain(&mut self, socket: &TcpStream, most: usize) -> io::Result<usize> {
            let given = socket.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.read, None, socket, None, most.min(self.held), FLAGS)?)
            })?;
            self.held -= given;
            Ok(given)
        }
    }

    const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::io;

    use tokio::net::TcpStream;

    /// There is none here.
    pub(crate) enum Pipe {}

    impl Pipe {
        pub(crate) const fn open() -> Option<Self> {
            None
        }

        pub(crate) const fn held(&self) -> usize {
            match *self {}
        }

        pub(crate) fn fill(&mut self, _: &TcpStream, _: usize) -> io::Result<usize> {
            match *self {}
        }

        pub(crate) fn drain(&mut self, _: &TcpStream, _: usize) -> io::Result<usize> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn bulk_traffic_widens_a_lane_and_a_trickle_narrows_it_again_without_a_byte_lost() {
        let ((mut program, from), (to, mut destination)) = (connected().await, connected().await);
        let mut lane = Lane::new();
        let mut seen_wide = false;
        let piece: Vec<u8> = (0..SMALL * 4).map(|index| u8::try_from(index % 251).unwrap()).collect();
        let bulk = std::iter::repeat_n(&piece[..], 16);
        let trickle = std::iter::repeat_n(&piece[..10], 20);
        for sent in bulk.chain(trickle) {
            program.write_all(sent).await.unwrap();
            let mut passed = 0;
            while passed < sent.len() {
                from.readable().await.unwrap();
                match lane.fill(&from, usize::MAX) {
                    Ok(filled) => passed += filled,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => panic!("{error}"),
                }
                while !lane.is_empty() {
                    to.writable().await.unwrap();
                    let _ = lane.drain(&to, 5_000);
                }
                lane.adapt();
                seen_wide |= lane.is_wide();
            }
            let mut got = vec![0; sent.len()];
            destination.read_exact(&mut got).await.unwrap();
            assert!(got == sent);
        }
        assert!(seen_wide);
        assert!(!lane.is_wide());
    }

    #[tokio::test]
    async fn a_lane_takes_no_more_than_it_may_and_tells_the_end() {
        let ((mut program, from), (to, mut destination)) = (connected().await, connected().await);
        program.write_all(b"hello").await.unwrap();
        program.shutdown().await.unwrap();
        let narrow = Lane::new();
        let wide = Pipe::open().map(|pipe| Lane { hold: Hold::Pipe(pipe), streak: 0 });
        for mut lane in [Some(narrow), wide].into_iter().flatten() {
            from.readable().await.unwrap();
            assert_eq!(lane.fill(&from, 2).unwrap(), 2);
            to.writable().await.unwrap();
            assert_eq!(lane.drain(&to, 1).unwrap(), 1);
            assert!(!lane.is_empty());
            assert_eq!(lane.drain(&to, usize::MAX).unwrap(), 1);
            assert!(lane.is_empty());
        }
        let mut lane = Lane::new();
        while lane.fill(&from, 2).unwrap() > 0 {}
        drop(to);
        let mut got = String::new();
        destination.read_to_string(&mut got).await.unwrap();
        assert!("hello".starts_with(&got) && got.len() >= 2, "{got}");
    }
}
