//! An address that neither accepts nor refuses connections.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::rt;

/// More than the shortest queue of any system holds.
const CONNECTIONS_MAX: usize = 64;

/// A listener whose queue is full: the system drops what else arrives.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Makes one; `None` when this system's queue does not become full.
    ///
    /// # Errors
    ///
    /// When the port is in use.
    pub async fn start(ip: IpAddr, port: u16) -> io::Result<Option<Self>> {
        rt::outside_run(async move {
            let socket = match ip {
                IpAddr::V4(_) => TcpSocket::new_v4()?,
                IpAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.bind(SocketAddr::new(ip, port))?;
            let listener = socket.listen(0)?;
            let address = listener.local_addr()?;
            let mut queued = Vec::new();
            while queued.len() < CONNECTIONS_MAX {
                let connect = TcpStream::connect(address);
                match tokio::time::timeout(Duration::from_millis(100), connect).await {
                    Ok(connected) => queued.push(connected?),
                    Err(_) => {
                        return Ok(Some(Self {
                            address,
                            _listener: listener,
                            _queued: queued,
                        }));
                    }
                }
            }
            Ok(None)
        })
        .await
    }

    /// Where nothing answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
