//! One client's connection.

use std::io::{self, IoSlice};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::replies::{Answer, Replies};

/// Longer requests are read in pieces and thrown away: what they ask for stands at their start.
const BUFFER: usize = 64 * 1024;
const HEADER_LEN: usize = 16;
const MESSAGE_LEN_MAX: usize = 48_000_000;
/// Shorter replies are copied, so that one buffer is sent.
const COPIED_MAX: usize = 16 * 1024;

/// Answers requests until the client is gone.
pub(crate) async fn serve(mut stream: TcpStream, replies: &Replies) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    let mut out = Vec::new();
    loop {
        let len = loop {
            let len = request_len(&buffer[..filled])?;
            if len.is_some_and(|len| filled >= len.min(BUFFER)) {
                break len.unwrap_or(0);
            }
            filled += read(&mut stream, &mut buffer[filled..]).await?;
        };
        let request_id = buffer[4..8].to_vec();
        let answer = replies.answer(len, &buffer[..filled.min(len)]);
        if filled >= len {
            buffer.copy_within(len..filled, 0);
            filled -= len;
        } else {
            let mut rest = len - filled;
            while rest > 0 {
                let end = rest.min(BUFFER);
                rest -= read(&mut stream, &mut buffer[..end]).await?;
            }
            filled = 0;
        }
        let reply = match answer {
            Answer::Reply(reply) => reply,
            Answer::Late(reply, time) => {
                // Its request came whole, so the next bytes, or the end, come only when it gives
                // up waiting.
                if let Ok(more) = timeout(time, read(&mut stream, &mut buffer[filled..])).await {
                    filled += more?;
                }
                reply
            }
            Answer::Nothing => continue,
        };
        send(&mut stream, reply, &request_id, &mut out).await?;
    }
}

/// The length of the request that was begun, once it is known.
fn request_len(bytes: &[u8]) -> io::Result<Option<usize>> {
    if bytes.len() < HEADER_LEN {
        return Ok(None);
    }
    let len = bytes
        .first_chunk()
        .map(|prefix| i32::from_le_bytes(*prefix));
    let len = len.and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    if (HEADER_LEN..=MESSAGE_LEN_MAX).contains(&len) {
        Ok(Some(len))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Reads something: the end is an error.
async fn read(stream: &mut TcpStream, out: &mut [u8]) -> io::Result<usize> {
    match stream.read(out).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
    }
}

async fn send(
    stream: &mut TcpStream,
    reply: &[u8],
    request_id: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.clear();
    out.extend_from_slice(&reply[..reply.len().min(COPIED_MAX)]);
    out[8..12].copy_from_slice(request_id);
    let rest = &reply[out.len()..];
    if rest.is_empty() {
        return stream.write_all(out).await;
    }
    let sent = stream
        .write_vectored(&[IoSlice::new(out), IoSlice::new(rest)])
        .await?;
    if sent < out.len() {
        stream.write_all(&out[sent..]).await?;
        return stream.write_all(rest).await;
    }
    stream.write_all(&rest[sent - out.len()..]).await
}
