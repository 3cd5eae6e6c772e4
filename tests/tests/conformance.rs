//! The conformance suite on every adapter: inside of its executor, and outside of it.

use std::{future::Future, sync::Arc};

use mongo_client::runtime::{AsyncStdRuntime, Runtime, SmolRuntime, TokioRuntime};
use mongo_client_tests::conformance::{eyeballs, services, sockets, timers};

/// A module with every test of the suite; `$run` gives a test its runtime and runs it.
macro_rules! conforms {
    ($($module:ident: $run:path;)*) => {$(
        mod $module {
            use super::*;

            conforms!(@tests $run, timers:
                clock_is_monotone dropped_timer_leaves_the_others_alone far_deadline_is_pending
                fires_and_not_early is_armed_again_after_firing is_pending_without_a_deadline
                passed_deadline_is_ready reset_to_earlier_wakes_the_waiting_task
                reset_to_later_waits_longer waker_moves_to_another_task wall_clock_is_the_systems);
            conforms!(@tests $run, services:
                bad_names_are_errors datagram_socket_hears_its_peer_only
                datagram_to_a_closed_port_is_an_error datagram_to_v6_is_no_panic_without_v6
                datagrams_go_both_ways dropped_offload_is_harmless entropy_fills
                finished_task_is_no_dead_runtime localhost_is_found name_is_short
                offloaded_jobs_have_run offloaded_panic_is_the_end_of_the_job_only
                services_work_inside_of_a_task spawned_tasks_run);
            conforms!(@tests $run, sockets:
                closed_port_refuses dropped_dial_closes_its_socket dropped_stream_ends_for_the_peer
                half_closed_stream_still_reads impossible_unix_path_is_an_error reset_is_an_error
                slow_reader_holds_the_writer_back tcp_options_are_set tcp_v4_carries_bytes
                tcp_v6_carries_bytes unix_socket_carries_bytes waiting_reader_is_woken);
            conforms!(@tests $run, eyeballs:
                refusing_family_is_passed_over silent_family_is_overtaken
                silent_v4_is_overtaken_by_v6);
        }
    )*};
    (@tests $run:path, $area:ident: $($test:ident)*) => {$(
        #[test]
        fn $test() {
            $run($area::$test);
        }
    )*};
}

conforms! {
    tokio_threads_inside: tokio_threads_inside;
    tokio_threads_outside: tokio_threads_outside;
    tokio_current_thread_inside: tokio_current_thread_inside;
    tokio_in_smol: tokio_in_smol;
    smol_inside: smol_inside;
    smol_outside: smol_outside;
    smol_on_an_executor: smol_on_an_executor;
    smol_in_tokio: smol_in_tokio;
    async_std_inside: async_std_inside;
    async_std_outside: async_std_outside;
    async_std_in_tokio: async_std_in_tokio;
}

fn tokio_threads() -> tokio::runtime::Runtime {
    mongo_client_tests::rt::tokio_runtime()
}

/// An executor that is none: it parks the thread.
fn park<F: Future>(future: F) -> F::Output {
    smol::future::block_on(future)
}

fn tokio_threads_inside<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    tokio_threads().block_on(async { test(Arc::new(TokioRuntime::current().unwrap())).await });
}

fn tokio_threads_outside<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    let tokio = tokio_threads();
    assert!(TokioRuntime::current().is_none());
    park(test(Arc::new(TokioRuntime::new(tokio.handle().clone()))));
}

fn tokio_current_thread_inside<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async { test(Arc::new(TokioRuntime::current().unwrap())).await });
}

fn tokio_in_smol<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    let tokio = tokio_threads();
    smol::block_on(test(Arc::new(TokioRuntime::new(tokio.handle().clone()))));
}

fn smol_inside<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    smol::block_on(test(Arc::new(SmolRuntime::new())));
}

fn smol_outside<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    park(test(Arc::new(SmolRuntime::new())));
}

fn smol_on_an_executor<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    let executor = Arc::new(smol::Executor::new());
    let runtime = Arc::new(SmolRuntime::on(&executor));
    smol::block_on(executor.run(test(runtime)));
}

fn smol_in_tokio<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    tokio_threads().block_on(test(Arc::new(SmolRuntime::new())));
}

fn async_std_inside<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    async_std::task::block_on(test(Arc::new(AsyncStdRuntime::new())));
}

fn async_std_outside<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    park(test(Arc::new(AsyncStdRuntime::new())));
}

fn async_std_in_tokio<F: Future>(test: impl FnOnce(Arc<dyn Runtime>) -> F) {
    tokio_threads().block_on(test(Arc::new(AsyncStdRuntime::new())));
}

#[test]
fn all_adapters_count_time_from_the_same_zero() {
    let tokio = tokio_threads();
    let all: [Arc<dyn Runtime>; 3] = [
        Arc::new(TokioRuntime::new(tokio.handle().clone())),
        Arc::new(SmolRuntime::new()),
        Arc::new(AsyncStdRuntime::new()),
    ];
    let mut last = all[0].now();
    for at in 0..300 {
        let now = all[at % 3].now();
        assert!(now >= last);
        last = now;
    }
}
