//! The loopback interface of a new network namespace, which is down until somebody brings it up. Programs of one container
//! talk to each other over it: dask's scheduler and workers, Jupyter's kernels.

use std::io::{self, Read};

use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK` and `NETLINK_ROUTE` (netlink(7)).
const NETLINK: (i32, i32) = (16, 0);
/// `RTM_NEWLINK` (rtnetlink(7)).
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST` and `NLM_F_ACK`.
const REQUEST_AND_ACK: u16 = 1 | 4;
/// `NLMSG_ERROR`, which is also the type of an acknowledgement.
const ERROR: u16 = 2;
/// Loopback is the first interface of every network namespace.
const INDEX: i32 = 1;
/// `IFF_UP`.
const UP: u32 = 1;
/// Bytes of the header of a message, and of the message sent here.
const HEADER: usize = 16;
const LENGTH: usize = 32;

/// Brings it up.
///
/// # Errors
/// When the kernel refuses, as it does outside of a namespace of one's own.
pub fn bring_up() -> io::Result<()> {
    let socket = Socket::new(Domain::from(NETLINK.0), Type::RAW, Some(Protocol::from(NETLINK.1)))?;
    socket.send(&message())?;
    let mut answer = [0; 1024];
    let length = (&socket).read(&mut answer)?;
    acknowledged(&answer[..length])
}

fn message() -> Vec<u8> {
    let mut message = Vec::with_capacity(LENGTH);
    message.extend((LENGTH as u32).to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    // Sequence number and port; family, padding and kind of the interface.
    message.extend([0; 12]);
    message.extend(INDEX.to_ne_bytes());
    // What the flags are to be, and which of them are to change.
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message
}

/// An acknowledgement is an error of number 0.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let code = answer.get(HEADER..HEADER + 4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    match (kind, code) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_as_long_as_it_says() {
        assert_eq!(message().len(), LENGTH);
    }

    #[test]
    fn an_answer_is_an_acknowledgement_or_an_error() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = vec![0; HEADER + 4];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[HEADER..].copy_from_slice(&code.to_ne_bytes());
            acknowledged(&bytes)
        };
        assert!(answer(ERROR, 0).is_ok());
        assert_eq!(answer(ERROR, -1).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(answer(3, 0).is_err() && acknowledged(b"short").is_err());
    }
}
