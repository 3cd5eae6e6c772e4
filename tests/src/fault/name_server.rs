//! A DNS server that knows one service.

use std::{io, net::SocketAddr};

use tokio::{net::UdpSocket, task::JoinHandle};

use crate::rt;

const SRV: u16 = 33;
const TXT: u16 = 16;

/// What the server knows of one service.
#[derive(Clone, Debug)]
pub struct Service {
    /// The name that is asked for: `_mongodb._tcp.` and the host of the connection string.
    pub name: String,
    /// Hosts and ports of the SRV records.
    pub targets: Vec<(String, u16)>,
    /// The TXT record of the connection string's host.
    pub text: String,
}

/// A name server on a free loopback port, by datagrams; ends when it is dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Starts to answer.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(service: Service) -> io::Result<Self> {
        let socket = rt::outside_run(UdpSocket::bind("127.0.0.1:0")).await?;
        let address = socket.local_addr()?;
        let task = rt::outside().spawn(async move {
            let mut question = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut question).await {
                if let Some(answer) = answer(&question[..len], &service) {
                    // A lost answer is asked for again.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(Self { address, task })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a message with one question; `None` when it is none.
pub(crate) fn answer(question: &[u8], service: &Service) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    while *question.get(at)? != 0 {
        let end = at + 1 + usize::from(question[at]);
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(question.get(at + 1..end)?).to_lowercase());
        at = end;
    }
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    let mut records = Vec::new();
    if kind == SRV && name == service.name {
        for (host, port) in &service.targets {
            // Priority and weight come before the port.
            let mut data = vec![0, 0, 0, 0];
            data.extend(port.to_be_bytes());
            for label in host.split('.') {
                data.push(u8::try_from(label.len()).ok()?);
                data.extend(label.as_bytes());
            }
            data.push(0);
            records.push(data);
        }
    } else if kind == TXT && service.name.ends_with(&name) && !service.text.is_empty() {
        let mut data = vec![u8::try_from(service.text.len()).ok()?];
        data.extend(service.text.as_bytes());
        records.push(data);
    }
    let mut out = question.get(..2)?.to_vec();
    // An answer, without an error; then the counts of the four sections.
    out.extend([0x81, 0x80, 0, 1]);
    out.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
    out.extend([0; 4]);
    out.extend(question.get(12..at + 5)?);
    for data in records {
        // The owner is a pointer to the question's name; class IN; a minute to live.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
    }
    Some(out)
}
