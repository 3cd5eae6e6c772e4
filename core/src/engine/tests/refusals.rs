//! Servers that refuse before their step-down is known: they are left alone until then.

use super::*;

/// The first insert is refused document by document.
fn refuse_one(world: &mut World) {
    let mut left = 1;
    world.set_rule(move |seen| {
        let refused = seen.name() == "insert" && std::mem::take(&mut left) > 0;
        let error = doc! { "index": 0, "code": 189, "errmsg": "Not primary while writing" };
        refused.then(|| Answer::Reply(doc! { "ok": 1, "n": 0, "writeErrors": [error] }))
    });
}

fn path(world: &World) -> Vec<String> {
    let inserts = world.seen("insert").into_iter();
    inserts.map(|seen| seen.address.clone()).collect()
}

#[test]
fn an_old_primary_is_not_asked_again_once_its_successor_is_known() {
    let mut world = set();
    world.pass(Duration::from_secs(1));
    refuse_one(&mut world);
    let op = world.submit(insert(1));
    world.primary = SET[1].to_owned();
    world.pass(Duration::from_millis(99));
    world.done.remove(&op).unwrap().unwrap();
    assert_eq!(path(&world), SET);
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_server_that_stays_what_it_was_is_asked_again_in_time() {
    let mut world = set();
    world.pass(Duration::from_secs(1));
    refuse_one(&mut world);
    let op = world.submit(insert(1));
    world.pass(Duration::from_millis(99));
    assert_eq!(path(&world), [SET[0]]);
    world.pass(Duration::from_millis(1));
    world.done.remove(&op).unwrap().unwrap();
    assert_eq!(path(&world), [SET[0], SET[0]]);
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_deadline_ends_the_wait_for_news() {
    let mut world = set();
    world.pass(Duration::from_secs(1));
    refuse_one(&mut world);
    let deadline = world.now + Duration::from_millis(50);
    let command = Command::new(insert(1)).with_deadline(deadline);
    let op = world.engine.submit(command, world.now);
    world.pass(Duration::from_millis(50));
    let error = world.done.remove(&op).unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.code(), Some(189));
    world.assert_quiet();
    world.shut_down();
}
