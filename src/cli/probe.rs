//! `--health`: asks the server on this machine whether it is alive, for containers that have no curl.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(3);

/// Succeeds where the server that listens on `address` answers `GET /health/live` with 200.
///
/// # Errors
/// Where it does not, or not within three seconds.
pub fn is_alive(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&reachable(address), DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut start = [0u8; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut start)?;
    match start.ends_with(b" 200") {
        true => Ok(()),
        false => Err(io::Error::other("the server answers, but not that it is alive")),
    }
}

/// A server that listens everywhere is asked on the loopback interface.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn asked(answer: &'static [u8]) -> io::Result<()> {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0u8; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            request[..length].to_vec()
        });
        let asked = is_alive(address);
        assert!(server.join().unwrap().starts_with(b"GET /health/live HTTP/1.1\r\nHost: "));
        asked
    }

    #[test]
    fn only_200_is_alive() {
        asked(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        asked(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err();
        asked(b"").unwrap_err();
    }

    #[test]
    fn no_server_is_not_alive() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        is_alive(address).unwrap_err();
    }
}
