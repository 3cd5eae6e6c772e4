//! "Sometimes" marks: which rare branches a simulation has reached.
//!
//! A mark stands in every branch of the retry decision, in every rule of SDAM errors and in every
//! row of the cancellation tables (docs/ARCHITECTURE.md). A batch of simulations that never reaches
//! one has stopped testing it. With the feature `marks` a mark is one relaxed atomic addition;
//! without it nothing is compiled. Nothing reads the counters but [`counts`].

/// What a mark belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Whether a failed attempt is repeated (`op/retry`).
    Retry,
    /// What an error of an application means to the topology (SDAM: "Application errors").
    SdamErrors,
    /// How the description of one server changes that of the deployment.
    Topology,
    /// What happens to an operation, a cursor or a client that is dropped.
    Cancellation,
}

macro_rules! marks {
    ($($(#[doc = $doc:literal])+ $group:ident $name:ident = $text:literal,)*) => {
        /// A branch that a simulation should reach sometimes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mark {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Mark {
            /// All marks, in the order of their groups.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name: the group and the branch.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What it belongs to.
            #[must_use]
            pub const fn group(self) -> Group {
                match self {
                    $(Self::$name => Group::$group,)*
                }
            }
        }
    };
}

marks! {
    /// The error allows no retry.
    Retry RetryNotRetryable = "retry.fail.not_retryable",
    /// The retries that are allowed are used up.
    Retry RetryExhausted = "retry.fail.exhausted",
    /// So many retries followed an overload that no more do.
    Retry RetryOverloadExhausted = "retry.fail.overload_exhausted",
    /// Another attempt, with its pause, would begin after the deadline.
    Retry RetryNoTime = "retry.fail.no_time",
    /// No server was found: that is final.
    Retry RetryNoServer = "retry.fail.no_server",
    /// A read is repeated for its error's kind.
    Retry RetryRead = "retry.again.read",
    /// A write is repeated for its error's label.
    Retry RetryWrite = "retry.again.write",
    /// A command is repeated only because the server was overloaded.
    Retry RetryOverload = "retry.again.overload",
    /// A retry after a pause.
    Retry RetryPause = "retry.again.after_pause",
    /// A retry that prefers other servers.
    Retry RetryDeprioritize = "retry.again.elsewhere",
    /// A retry beyond the first, because there is a deadline.
    Retry RetryWithinDeadline = "retry.again.within_deadline",
    /// A repetition that follows the topology.
    Retry RetryFollows = "retry.again.follows_topology",
    /// A read failed with its connection.
    Retry RetryReadLostConnection = "retry.read.lost_connection",
    /// A read failed with a code that allows a retry.
    Retry RetryReadCode = "retry.read.code",
    /// A read came before there was a majority.
    Retry RetryReadNoMajority = "retry.read.no_majority_yet",
    /// An authentication failed because of an error that decides in its place.
    Retry RetryAuthenticationCause = "retry.cause_of_failed_authentication",
    /// A write had no connection: the client labels the error.
    Retry RetryLabelCheckout = "retry.label.checkout",
    /// A write had no connection, for a reason that a retry does not mend.
    Retry RetryNoLabelCheckout = "retry.no_label.checkout",
    /// A server too old to label its errors refused a write.
    Retry RetryLabelOldServer = "retry.label.old_server",
    /// A server too old to label its errors could not replicate a write.
    Retry RetryLabelOldConcern = "retry.label.old_server_write_concern",
    /// A primary that was one no more refused documents.
    Retry RetryLabelDocuments = "retry.label.refused_documents",
    /// A write failed with its connection.
    Retry RetryLabelLostConnection = "retry.label.lost_connection",
    /// A write failed, and the client has no label to add.
    Retry RetryNoLabelExchange = "retry.no_label.exchange",
    /// The failure of a checkout says nothing of what was executed.
    Retry RetryImpliesNothing = "retry.implies.checkout_nothing",
    /// The failed checkout of a read counts as an attempt.
    Retry RetryImpliesCheckout = "retry.implies.checkout_read",
    /// A write that the server says it has not performed.
    Retry RetryImpliesNoWrites = "retry.implies.no_writes_performed",
    /// A write that may have been performed.
    Retry RetryImpliesWrite = "retry.implies.write",
    /// A request that was not sent.
    Retry RetryImpliesNotSent = "retry.implies.not_sent",
    /// The number of repetitions that follow the topology is used up.
    Retry RefusalFollowedMax = "retry.refusal.followed_max",
    /// Documents were refused for the first time.
    Retry RefusalFirstDocuments = "retry.refusal.first_documents",
    /// Another server than the one before refused.
    Retry RefusalElsewhere = "retry.refusal.elsewhere",
    /// The same server refused, in a later state.
    Retry RefusalLaterState = "retry.refusal.later_state",
    /// The same server refused in the same state.
    Retry RefusalSameState = "retry.refusal.same_state",
    /// A server that has refused documents is left alone.
    Retry RefusalHoldDocuments = "retry.refusal.hold_documents",
    /// A server that has refused is left alone until its state changes.
    Retry RefusalHoldState = "retry.refusal.hold_state",
    /// A server that has refused does not count its states, and is not left alone.
    Retry RefusalNoHold = "retry.refusal.no_hold",

    /// An error came after the topology was closed, or of a server that is no part of it.
    SdamErrors SdamErrorUnknownServer = "sdam.error.unknown_server",
    /// An error came from a connection of an older generation.
    SdamErrors SdamErrorStaleGeneration = "sdam.error.stale_generation",
    /// An error tells of a state that was known already.
    SdamErrors SdamErrorStaleVersion = "sdam.error.stale_topology_version",
    /// A state change whose connections stay.
    SdamErrors SdamErrorStateChange = "sdam.error.state_change",
    /// A state change by which the connections are lost.
    SdamErrors SdamErrorShutdown = "sdam.error.shutdown",
    /// A state change that is told by a code.
    SdamErrors SdamErrorByCode = "sdam.error.by_code",
    /// A state change that is told by a text.
    SdamErrors SdamErrorByText = "sdam.error.by_text",
    /// A state change that stands in a write concern error.
    SdamErrors SdamErrorByConcern = "sdam.error.by_write_concern",
    /// Documents were refused: the server is asked.
    SdamErrors SdamErrorSuspect = "sdam.error.suspect",
    /// An overloaded server refused a connection.
    SdamErrors SdamErrorOverload = "sdam.error.ignore.overload",
    /// A command took too long.
    SdamErrors SdamErrorSlow = "sdam.error.ignore.slow_command",
    /// An error of a command that says nothing of its server.
    SdamErrors SdamErrorOfCommand = "sdam.error.ignore.command",
    /// An established connection was lost.
    SdamErrors SdamErrorLost = "sdam.error.unreachable.after_handshake",
    /// No connection could be made.
    SdamErrors SdamErrorConnect = "sdam.error.unreachable.connect",
    /// The first reply did not come, or was an error.
    SdamErrors SdamErrorHello = "sdam.error.unreachable.hello",
    /// Authentication failed.
    SdamErrors SdamErrorAuth = "sdam.error.unreachable.auth",

    /// A check succeeded and is taken over.
    Topology TopologyCheckSucceeded = "sdam.check.succeeded",
    /// A check tells of an older state than the one that is known.
    Topology TopologyCheckStale = "sdam.check.stale_topology_version",
    /// A check failed: connections in use may go on.
    Topology TopologyCheckFailed = "sdam.check.failed",
    /// A check took too long: connections in use are interrupted.
    Topology TopologyCheckTimeout = "sdam.check.timed_out",
    /// A primary of an election that is over.
    Topology TopologyStalePrimary = "sdam.rules.stale_primary",
    /// A primary of an older election was deposed by a newer one.
    Topology TopologyDeposed = "sdam.rules.deposed_primary",
    /// The primary listed a new member.
    Topology TopologyMemberAdded = "sdam.rules.member_added",
    /// The primary listed a member no more.
    Topology TopologyMemberRemoved = "sdam.rules.member_removed",
    /// The primary is lost.
    Topology TopologyPrimaryLost = "sdam.rules.primary_lost",

    /// The driver's operation waited for a server.
    Cancellation CancelDriverSelecting = "cancel.driver.waiting_for_server",
    /// The driver's operation waited for a connection.
    Cancellation CancelDriverTicket = "cancel.driver.waiting_for_connection",
    /// The driver's operation was granted a connection that it had not taken.
    Cancellation CancelDriverGranted = "cancel.driver.granted",
    /// The client was closed between the grant of a connection and its use.
    Cancellation CancelDriverGrantedClosed = "cancel.driver.granted_then_closed",
    /// The driver's operation paused before its retry.
    Cancellation CancelDriverPausing = "cancel.driver.pausing",
    /// The driver's operation had sent its request, or a part of it.
    Cancellation CancelDriverExchanging = "cancel.driver.exchanging",
    /// The driver gives back a connection that nothing was written on.
    Cancellation CancelDriverReusable = "cancel.driver.reusable",
    /// The driver closes a connection.
    Cancellation CancelDriverClose = "cancel.driver.close",
    /// The driver lets a connection drain.
    Cancellation CancelDriverDrain = "cancel.driver.drain",
    /// A cursor of the driver is killed.
    Cancellation CancelDriverCursor = "cancel.driver.cursor",
    /// A cursor of the driver was fetching.
    Cancellation CancelDriverFetching = "cancel.driver.cursor_fetching",
    /// The last handle goes, and sessions are to be ended.
    Cancellation CancelDriverLastHandle = "cancel.driver.last_handle",
    /// The last handle goes without sessions.
    Cancellation CancelDriverLastHandleBare = "cancel.driver.last_handle_without_sessions",
    /// The runtime dropped a connection that was being opened.
    Cancellation CancelDriverOpening = "cancel.driver.opening_postponed",
    /// The runtime dropped a connection that was draining.
    Cancellation CancelDriverDrainDropped = "cancel.driver.drain_dropped",

    /// The engine's operation waited for the start.
    Cancellation CancelEngineStart = "cancel.engine.waiting_for_start",
    /// The engine's operation waited for a server.
    Cancellation CancelEngineSelecting = "cancel.engine.waiting_for_server",
    /// The engine's operation waited for a connection.
    Cancellation CancelEngineTicket = "cancel.engine.waiting_for_connection",
    /// The engine's operation paused before its retry.
    Cancellation CancelEnginePausing = "cancel.engine.pausing",
    /// The engine's operation had sent its request, or a part of it.
    Cancellation CancelEngineExchanging = "cancel.engine.exchanging",
    /// The engine's operation was over, but its result was not taken.
    Cancellation CancelEngineCompleted = "cancel.engine.completed",
    /// The engine gives back a connection that nothing was written on.
    Cancellation CancelEngineReusable = "cancel.engine.reusable",
    /// The engine closes a connection.
    Cancellation CancelEngineClose = "cancel.engine.close",
    /// The engine lets a connection drain.
    Cancellation CancelEngineDrain = "cancel.engine.drain",
    /// A cursor of the engine is killed.
    Cancellation CancelEngineCursor = "cancel.engine.cursor",
    /// The engine is shut down.
    Cancellation CancelEngineShutdown = "cancel.engine.shutdown",

    /// The connection that is being opened for a ticket goes to the pool.
    Cancellation CancelOpening = "cancel.connection_being_opened",
    /// Nothing was written yet.
    Cancellation CancelUnwritten = "cancel.request_unwritten",
    /// The request was written in part.
    Cancellation CancelPartlyWritten = "cancel.request_partly_written",
    /// A request that has no reply was written in part.
    Cancellation CancelSilentPartlyWritten = "cancel.unacknowledged_partly_written",
    /// The reply was read, and nobody had taken it.
    Cancellation CancelReplyRead = "cancel.reply_read",
    /// The header of a reply that is too long had come before.
    Cancellation CancelReplyTooLong = "cancel.reply_too_long_at_drop",
    /// The drain ends with the reply.
    Cancellation DrainReply = "drain.reply",
    /// The drain ends after a second.
    Cancellation DrainTimeout = "drain.second",
    /// The drain ends with a message that is too long, or none.
    Cancellation DrainTooLong = "drain.too_long",
    /// The drain ends with an error of the connection.
    Cancellation DrainBroken = "drain.broken",
    /// The drain has ended, and the pool was cleared meanwhile.
    Cancellation DrainStale = "drain.pool_cleared",
    /// The drain is interrupted: the pool was cleared so.
    Cancellation DrainInterrupted = "drain.interrupted",
    /// The drain has ended, and the pool was closed meanwhile.
    Cancellation DrainPoolClosed = "drain.pool_closed",
}

#[cfg(feature = "marks")]
mod counters {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Mark;

    static COUNTERS: [AtomicU64; Mark::ALL.len()] = [const { AtomicU64::new(0) }; Mark::ALL.len()];

    pub(super) fn add(mark: Mark) {
        COUNTERS[mark as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(mark: Mark) -> u64 {
        COUNTERS[mark as usize].load(Ordering::Relaxed)
    }
}

/// A branch was reached. Compiled to nothing without the feature `marks`.
#[inline(always)]
pub fn reached(mark: Mark) {
    #[cfg(feature = "marks")]
    counters::add(mark);
    #[cfg(not(feature = "marks"))]
    let _ = mark;
}

/// How often each mark was reached in this process; all zero without the feature `marks`.
#[must_use]
pub fn counts() -> Vec<(Mark, u64)> {
    let count = |mark: Mark| {
        #[cfg(feature = "marks")]
        return counters::get(mark);
        #[cfg(not(feature = "marks"))]
        return u64::from(mark as usize > Mark::ALL.len());
    };
    Mark::ALL.iter().map(|mark| (*mark, count(*mark))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_marks_are_in_the_order_of_their_numbers() {
        let names: BTreeSet<_> = Mark::ALL.iter().map(|mark| mark.name()).collect();
        assert_eq!(names.len(), Mark::ALL.len());
        for (number, mark) in Mark::ALL.iter().enumerate() {
            assert_eq!(*mark as usize, number, "{}", mark.name());
        }
    }

    #[test]
    fn a_reached_mark_is_counted_where_the_feature_is_on() {
        let of = |mark| counts().into_iter().find(|(m, _)| *m == mark);
        let before = of(Mark::RetryNoTime).map(|(_, n)| n);
        reached(Mark::RetryNoTime);
        let after = of(Mark::RetryNoTime).map(|(_, n)| n);
        assert_eq!(after > before, cfg!(feature = "marks"));
    }
}
