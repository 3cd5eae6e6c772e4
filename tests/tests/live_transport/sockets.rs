//! Options of the client's sockets, read by another process: nothing in this one can name them
//! without unsafe code.

use std::process::Command;

use mongo_client_tests::{live, secure::ping};

/// Prints, for each TCP socket of process 1 to port 2: keep-alive, no-delay, idle, interval, probes.
const READER: &str = r"
import ctypes, os, socket, sys
pid, port = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
process = os.pidfd_open(pid)
for number in os.listdir(f'/proc/{pid}/fd'):
    try:
        if not os.readlink(f'/proc/{pid}/fd/{number}').startswith('socket:'):
            continue
    except OSError:
        continue
    copy = libc.syscall(438, process, int(number), 0)
    if copy < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    s = socket.socket(fileno=copy)
    try:
        if s.family != socket.AF_INET or s.getpeername()[1] != port:
            continue
    except OSError:
        continue
    tcp = lambda option: s.getsockopt(socket.IPPROTO_TCP, option)
    print(s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), tcp(socket.TCP_NODELAY),
        tcp(socket.TCP_KEEPIDLE), tcp(socket.TCP_KEEPINTVL), tcp(socket.TCP_KEEPCNT))
";

/// The options of this process's sockets to a port; `None`, with a reason, when they cannot be read.
fn sockets(port: u16) -> Option<Vec<Vec<u32>>> {
    let pid = std::process::id().to_string();
    let mut command = Command::new("python3");
    let output = command
        .args(["-c", READER, &pid, &port.to_string()])
        .output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        other => {
            println!("skipped, sockets of another process cannot be read here: {other:?}");
            return None;
        }
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = |line: &str| line.split(' ').map(|n| n.parse().unwrap()).collect();
    Some(text.lines().map(numbers).collect())
}

#[test]
fn sockets_are_kept_alive_unless_asked_not_to_and_never_delay() {
    live::on("STANDALONE", async |uri| {
        let port = live::options(&uri).hosts[0].port().unwrap();
        for keep_alive in [None, Some(true), Some(false)] {
            let mut options = live::options(&uri);
            options.socket_keep_alive = keep_alive;
            let client = live::build(options);
            ping(&client).await.unwrap();
            let Some(found) = sockets(port) else {
                return;
            };
            // A monitor's and a pool's; soon there is a probe's as well.
            assert!(found.len() >= 2, "{found:?}");
            for socket in &found {
                assert_eq!(socket[1], 1, "no delay: {found:?}");
                if keep_alive == Some(false) {
                    assert_eq!(socket[0], 0, "{found:?}");
                } else {
                    assert_eq!(*socket, [1, 1, 120, 10, 9], "{keep_alive:?}: {found:?}");
                }
            }
            client.shutdown().await;
            live::eventually("closed sockets", || async {
                sockets(port).is_none_or(|left| left.is_empty())
            })
            .await;
        }
    });
}
