//! A server of prepared replies, as a process of its own: what a client costs shows when its
//! server costs nearly nothing.
//!
//! `bench-mock serve` prints its connection string; `bench-mock spin` keeps a core awake for as long
//! as nothing else wants it (the controller gives it the lowest priority). Both end when their
//! standard input does.
//!
//! The server knows the benchmark's cases only: what a request is about is read from the command's
//! name, its collection and its limit, nothing is stored, and only `responseTo` changes from one
//! reply to the next.

mod connection;
mod replies;

use std::{
    io::{Read, Write},
    sync::Arc,
    thread,
};

use mongo_client_bench_harness::Result;
use replies::Replies;
use tokio::net::TcpListener;

fn main() -> Result {
    thread::spawn(|| {
        // Whether it ends or fails: the owner is gone.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(),
        Some("spin") => spin(),
        _ => Err("usage: bench-mock serve | spin".into()),
    }
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush())
}

fn spin() -> Result {
    say("ready")?;
    loop {
        std::hint::spin_loop();
    }
}

fn serve() -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        say(&format!("mongodb://{}/", listener.local_addr()?))?;
        let replies = Arc::new(Replies::new());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let replies = Arc::clone(&replies);
            tokio::spawn(async move {
                // A client that is gone is no failure of the server's.
                let _ = connection::serve(stream, &replies).await;
            });
        }
    })
}
