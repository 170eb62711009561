//! How many bytes lie in a TCP socket's queues.
//!
//! A meter at each end of a connection must show the same number when the connection breaks. What a program wrote is not
//! what its peer received: megabytes may lie in between. The operating system knows:
//! - [`unacknowledged`]: bytes that were written to the socket and that the peer's system has not acknowledged;
//! - [`unread`]: bytes that arrived (and were acknowledged) and that nobody has read yet.
//!
//! So `written - unacknowledged` at one end and `read + unread` at the other count the same bytes.
//!
//! ```
//! use std::io::{Read as _, Write as _};
//! use std::net::{TcpListener, TcpStream};
//!
//! # fn main() -> std::io::Result<()> {
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let mut near = TcpStream::connect(listener.local_addr()?)?;
//! let (mut far, _) = listener.accept()?;
//! near.write_all(b"hello")?;
//! far.read_exact(&mut [0; 2])?;
//! assert_eq!(privatix_socket_queue::unread(&far)?, 3);
//! # Ok(()) }
//! ```
#![cfg(unix)]

use std::io;
use std::os::fd::AsFd;

/// Bytes that arrived on a TCP socket and wait to be read.
///
/// # Errors
/// What the system says, e.g. for a descriptor that is no socket.
pub fn unread(socket: impl AsFd) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(socket)?)
}

/// Bytes written to a TCP socket that the peer's system has not acknowledged. After the writing half was shut down, the
/// end of the stream counts as one more until it is acknowledged. Once the connection was reset the number stays what it
/// was then.
///
/// # Errors
/// What the system says, e.g. for a descriptor that is no socket. [`Unsupported`](io::ErrorKind::Unsupported) on systems
/// other than Linux.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<u64> {
    imp::unacknowledged(socket.as_fd())
}

/// The part of [`unacknowledged`] that has not been sent yet: it has not left this machine.
///
/// # Errors
/// As [`unacknowledged`].
pub fn unsent(socket: impl AsFd) -> io::Result<u64> {
    imp::unsent(socket.as_fd())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::ffi::c_int;
    use std::io;
    use std::os::fd::BorrowedFd;

    use rustix::ioctl::{Getter, Opcode, ioctl};

    /// tcp(7) calls it SIOCOUTQ; the value is the terminals' TIOCOUTQ on every architecture.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "requests have 32 bits, whatever type a C library gives them"
    )]
    const OUTPUT_QUEUE: Opcode = libc::TIOCOUTQ as Opcode;

    /// SIOCOUTQNSD of `linux/sockios.h`, the same on every architecture.
    const OUTPUT_QUEUE_NOT_SENT: Opcode = 0x894B;

    pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u64> {
        // SAFETY: as `count` asks: tcp(7) for sockets, ioctl_tty(2) for terminals.
        #[expect(unsafe_code, reason = "no safe interface to this request exists")]
        unsafe {
            count::<OUTPUT_QUEUE>(socket)
        }
    }

    pub(super) fn unsent(socket: BorrowedFd<'_>) -> io::Result<u64> {
        // SAFETY: as `count` asks: the kernel's `tcp_ioctl` answers SIOCOUTQNSD as it answers SIOCOUTQ.
        #[expect(unsafe_code, reason = "no safe interface to this request exists")]
        unsafe {
            count::<OUTPUT_QUEUE_NOT_SENT>(socket)
        }
    }

    /// Asks for a number of bytes.
    ///
    /// # Safety
    /// `REQUEST` must write one `int` through its argument and read nothing from it, on every descriptor that accepts it.
    #[expect(unsafe_code, reason = "no safe interface to these requests exists")]
    unsafe fn count<const REQUEST: Opcode>(socket: BorrowedFd<'_>) -> io::Result<u64> {
        // SAFETY: the request is as the caller promises; `Getter` passes a pointer to an uninitialised `c_int` and reads it
        // only after success; the descriptor is open, as it is borrowed.
        let queued = unsafe { ioctl(socket, Getter::<REQUEST, c_int>::new()) }?;
        Ok(u64::try_from(queued).unwrap_or(0)) // never negative
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::io;
    use std::os::fd::BorrowedFd;

    pub(super) fn unacknowledged(_: BorrowedFd<'_>) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn unsent(_: BorrowedFd<'_>) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn what_left_one_end_is_what_arrived_at_the_other_even_when_nobody_reads() {
        let (mut near, far) = connected();
        near.set_nonblocking(true).unwrap();
        let (mut written, piece) = (0, vec![7; 65_536]);
        while let Ok(more) = near.write(&piece) {
            written += more as u64;
        }
        assert!(written > 65_536);
        // The writer is blocked and its peer's window closed: nothing is under way, once the last acknowledgement came.
        let agree = || written - unacknowledged(&near).unwrap() == unread(&far).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !agree() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(agree(), "{written}: {:?}, {:?}", unacknowledged(&near), unread(&far));
        assert!(unacknowledged(&near).unwrap() > 0);
        // Nothing was sent into the closed window.
        assert_eq!(unsent(&near).unwrap(), unacknowledged(&near).unwrap());

        // Cut by the reader, both ends still know what arrived, and agree.
        far.shutdown(Shutdown::Both).unwrap();
        let arrived = unread(&far).unwrap();
        drop(far);
        near.set_nonblocking(false).unwrap();
        while let Ok(more) = near.write(&piece) {
            written += more as u64;
        }
        assert_eq!(written - unacknowledged(&near).unwrap(), arrived);
    }

    #[test]
    fn a_descriptor_that_is_no_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(unacknowledged(&file).is_err() && unsent(&file).is_err());
    }
}
