//! Every short history of attempts: it ends, in time, with the right error. Refusals, which may follow
//! the topology for longer, are not among them.

use super::{
    retries::{labelled, overloaded},
    *,
};

/// What may happen to an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Success,
    Labelled,
    NoWrites,
    Plain,
    Overloaded,
    Network,
    Handshake,
    PoolCleared,
    NoServer,
}

const OUTCOMES: [Outcome; 9] = [
    Outcome::Success,
    Outcome::Labelled,
    Outcome::NoWrites,
    Outcome::Plain,
    Outcome::Overloaded,
    Outcome::Network,
    Outcome::Handshake,
    Outcome::PoolCleared,
    Outcome::NoServer,
];

impl Outcome {
    /// Lets the next attempt of the operation end so; its command, if it was sent, goes to `sent`.
    fn happen(self, rig: &mut Rig, server: u32, sent: &mut Vec<Document>) -> Progress {
        let cleared = Error::new(ErrorKind::ConnectionPoolCleared {
            message: "cleared".into(),
        });
        let none = Error::new(ErrorKind::ServerSelection {
            message: "none".into(),
        });
        if self == Self::NoServer {
            return rig.fail(none, Stage::Selection);
        }
        rig.select(server);
        match self {
            Self::Handshake => return rig.fail(network(), Stage::Checkout),
            Self::PoolCleared => return rig.fail(cleared, Stage::Checkout),
            _ => sent.push(rig.check_out().unwrap()),
        }
        match self {
            Self::Success => rig.reply(ok()),
            Self::Labelled => rig.reply(labelled(262)),
            Self::NoWrites => {
                rig.reply(failure(262, &[RETRYABLE_WRITE_ERROR, "NoWritesPerformed"]))
            }
            Self::Plain => rig.reply(failure(2, &[])),
            Self::Overloaded => rig.reply(overloaded()),
            _ => rig.fail(network(), SENT),
        }
    }

    /// Whether the write was, or may have been, executed.
    fn attempted_write(self) -> bool {
        use Outcome::{Labelled, Network, Overloaded, Plain};
        matches!(self, Labelled | Plain | Overloaded | Network)
    }
}

/// Runs one history to its end; returns how many of the outcomes happened.
fn run(spec: &CommandSpec, outcomes: &[Outcome]) -> usize {
    let mut rig = Rig::new(spec.clone(), context());
    let mut sent = Vec::new();
    for (index, outcome) in outcomes.iter().enumerate() {
        let progress = outcome.happen(&mut rig, index as u32, &mut sent);
        if let Want::Pause { until } = rig.op.want() {
            assert_eq!(*outcome, Outcome::Overloaded, "{outcomes:?}");
            rig.now = until;
            rig.op.resumed(until);
        }
        let Progress::Done(result) = progress else {
            continue;
        };
        assert!(matches!(rig.op.want(), Want::Nothing));
        let so_far = &outcomes[..=index];
        assert_eq!(result.is_ok(), *outcome == Outcome::Success, "{so_far:?}");
        let numbers: Vec<_> = sent.iter().map(|c| c.get("txnNumber")).collect();
        assert!(
            numbers.windows(2).all(|w| w[0] == w[1]),
            "{so_far:?}: {numbers:?}"
        );
        if let Err(error) = result
            && spec.retryability == Retryability::Write
        {
            let last = so_far.iter().rposition(|o| o.attempted_write());
            let address = last.unwrap_or(0) as u16 + 1000;
            let expected = ServerAddress::tcp("host", address);
            let alone = so_far == [Outcome::NoServer];
            let server = error.server_address();
            assert_eq!(server, (!alone).then_some(&expected), "{so_far:?}");
        }
        return index + 1;
    }
    panic!("no end after {outcomes:?}");
}

#[test]
fn every_history_ends_after_few_attempts_with_the_right_error() {
    let update_many = CommandSpec::new("update", "db", rawdoc! { "update": "c" });
    for spec in [find(), insert(), update_many] {
        let mut longest = 0;
        for first in OUTCOMES {
            for second in OUTCOMES {
                for third in OUTCOMES {
                    let attempts = run(&spec, &[first, second, third]);
                    let overloaded = [first, second].contains(&Outcome::Overloaded);
                    assert!(
                        attempts <= 2 || overloaded,
                        "{first:?} {second:?} {third:?}"
                    );
                    longest = longest.max(attempts);
                }
            }
        }
        assert_eq!(longest, 3, "{}", spec.name);
    }
}
