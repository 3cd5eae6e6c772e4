//! A TLS server with a certificate of choice, which says nothing after the handshake.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

/// An `openssl s_server` on a free loopback port; ends when it is dropped.
#[derive(Debug)]
pub struct TlsListener {
    address: SocketAddr,
    child: Child,
}

impl TlsListener {
    /// Starts to listen with the certificate and key of a PEM file.
    ///
    /// # Errors
    ///
    /// When openssl is missing or does not listen.
    pub fn start(certificate_and_key: &Path) -> io::Result<Self> {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert"])
            .arg(certificate_and_key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(stdout).lines();
        // It says `ACCEPT 127.0.0.1:4711` when it is ready.
        let address = loop {
            let Some(line) = lines.next().transpose()? else {
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if let Some(Ok(address)) = line.strip_prefix("ACCEPT ").map(str::parse) {
                break address;
            }
        };
        // What it says of each connection must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { address, child })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
