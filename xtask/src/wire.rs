//! A blocking OP_MSG client, just enough to set servers up.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bson::Document;

use crate::{Context, Failure, Result, process};

const OP_MSG: i32 = 2013;
/// Section kind 0 after four bytes of flags.
const BODY_OFFSET: usize = 5;
const MESSAGE_LEN_MAX: usize = 48_000_000;

/// A connection to a server on the loopback interface.
#[derive(Debug)]
pub struct Wire {
    channel: Channel,
    next_id: i32,
}

#[derive(Debug)]
enum Channel {
    Plain(TcpStream),
    /// TLS through `openssl s_client`, so that the harness shares no TLS code with the client.
    Tls {
        program: Child,
        input: ChildStdin,
        output: ChildStdout,
    },
}

impl Wire {
    /// Connects without TLS.
    ///
    /// # Errors
    ///
    /// When nothing listens there.
    pub fn connect(port: u16, patience: Duration) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, patience)
            .context(|| format!("cannot connect to {address}"))?;
        let set = stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .and_then(|()| stream.set_nodelay(true));
        set.context(|| format!("cannot set the options of the socket to {address}"))?;
        Ok(Self {
            channel: Channel::Plain(stream),
            next_id: 1,
        })
    }

    /// Connects with TLS, with a client certificate, through the openssl program.
    ///
    /// # Errors
    ///
    /// When openssl cannot be started. A refused connection shows at the first command.
    pub fn connect_tls(port: u16, certificates: &Path) -> Result<Self> {
        let mut command = Command::new("openssl");
        command
            .args([
                "s_client",
                "-quiet",
                "-connect",
                &format!("127.0.0.1:{port}"),
                "-CAfile",
            ])
            .arg(certificates.join("ca.pem"))
            .arg("-cert")
            .arg(certificates.join("client.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut program = command
            .spawn()
            .map_err(|error| process::missing(&command, &error))?;
        let (Some(input), Some(output)) = (program.stdin.take(), program.stdout.take()) else {
            return Err(Failure::new("openssl s_client has no pipes"));
        };
        Ok(Self {
            channel: Channel::Tls {
                program,
                input,
                output,
            },
            next_id: 1,
        })
    }

    /// Runs a command and returns its reply, whether or not it is `ok`.
    ///
    /// # Errors
    ///
    /// When the connection fails or the reply is not a document.
    pub fn send(&mut self, database: &str, mut command: Document) -> Result<Document> {
        command.insert("$db", database);
        let body = command
            .to_vec()
            .context(|| "cannot encode the command".to_owned())?;
        let len = i32::try_from(16 + BODY_OFFSET + body.len())
            .map_err(|_| Failure::new("the command is too long"))?;
        let mut message = Vec::with_capacity(16 + BODY_OFFSET + body.len());
        for field in [len, self.next_id, 0, OP_MSG, 0] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        message.push(0);
        message.extend_from_slice(&body);
        self.next_id += 1;
        self.write(&message)
            .context(|| "cannot write the command".to_owned())?;
        self.receive()
    }

    /// Runs a command on `admin` and fails unless the reply is `ok`.
    ///
    /// # Errors
    ///
    /// As [`Wire::send`], and with the server's error message.
    pub fn admin(&mut self, command: Document) -> Result<Document> {
        self.run("admin", command)
    }

    /// Runs a command and fails unless the reply is `ok`.
    ///
    /// # Errors
    ///
    /// As [`Wire::send`], and with the server's error message.
    pub fn run(&mut self, database: &str, command: Document) -> Result<Document> {
        let name = command.keys().next().cloned().unwrap_or_default();
        let reply = self.send(database, command)?;
        if is_true(&reply, "ok") {
            return Ok(reply);
        }
        let message = reply.get_str("errmsg").unwrap_or("no message");
        Err(Failure::new(format!("{name}: {message}")))
    }

    fn receive(&mut self) -> Result<Document> {
        let mut header = [0; 16];
        self.read(&mut header)
            .context(|| "cannot read the reply".to_owned())?;
        let [a, b, c, d, ..] = header;
        let len = usize::try_from(i32::from_le_bytes([a, b, c, d])).unwrap_or(0);
        if !(16 + BODY_OFFSET..=MESSAGE_LEN_MAX).contains(&len) {
            return Err(Failure::new(format!(
                "the reply has an impossible length: {len}"
            )));
        }
        let mut body = vec![0; len - 16];
        self.read(&mut body)
            .context(|| "cannot read the reply".to_owned())?;
        Document::from_reader(&body[BODY_OFFSET..]).context(|| "cannot decode the reply".to_owned())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.channel {
            Channel::Plain(stream) => stream.write_all(bytes),
            Channel::Tls { input, .. } => input.write_all(bytes).and_then(|()| input.flush()),
        }
    }

    fn read(&mut self, out: &mut [u8]) -> std::io::Result<()> {
        match &mut self.channel {
            Channel::Plain(stream) => stream.read_exact(out),
            Channel::Tls { output, .. } => output.read_exact(out),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Channel::Tls { program, .. } = &mut self.channel {
            // It may have ended by itself; there is nothing to do about either failure.
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// Whether a field is true, as servers write it: a bool or any number.
#[must_use]
pub fn is_true(document: &Document, field: &str) -> bool {
    use bson::Bson;
    match document.get(field) {
        Some(Bson::Boolean(value)) => *value,
        Some(Bson::Double(value)) => *value != 0.0,
        Some(Bson::Int32(value)) => *value != 0,
        Some(Bson::Int64(value)) => *value != 0,
        _ => false,
    }
}
