//! `cargo xtask cluster up|down NAME`: deployments that live on in the background.
//!
//! What is known of one stands in `target/clusters/NAME/state.json`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xtask::cluster::{Cluster, NAMES, Plan};
use xtask::{Context, Failure, Result, fixtures, process, setup};

pub(crate) fn up(name: &str) -> Result {
    let plan = plan(name)?;
    if let Some(state) = read(name)
        && pids(&state).iter().all(|pid| is_ours(*pid, &state))
    {
        println!("{}", state["uri"].as_str().unwrap_or_default());
        return Ok(());
    }
    down(name)?;
    setup::run()?;
    let cluster = Cluster::start(name, plan)?;
    let state = json!({
        "uri": cluster.uri(),
        "pids": cluster.pids(),
        "ports": cluster.ports(),
        "data": cluster.folder(),
    });
    let folder = folder(name);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("state.json"), format!("{state:#}\n")))
        .context(|| format!("cannot write {}", folder.display()))?;
    println!("{}", cluster.uri());
    cluster.detach();
    Ok(())
}

pub(crate) fn down(name: &str) -> Result {
    plan(name)?;
    let Some(state) = read(name) else {
        return Ok(());
    };
    for pid in pids(&state) {
        if is_ours(pid, &state) {
            process::signal(pid, "KILL")?;
        }
    }
    if let Some(data) = state["data"].as_str() {
        remove(Path::new(data))?;
    }
    remove(&folder(name))
}

fn plan(name: &str) -> Result<Plan> {
    Plan::named(name).ok_or_else(|| {
        Failure::new(format!(
            "there is no deployment `{name}`, only {}",
            NAMES.join(", ")
        ))
    })
}

fn folder(name: &str) -> PathBuf {
    fixtures::workspace().join("target/clusters").join(name)
}

fn read(name: &str) -> Option<Value> {
    let text = fs::read_to_string(folder(name).join("state.json")).ok()?;
    serde_json::from_str(&text).ok()
}

fn pids(state: &Value) -> Vec<u32> {
    let list = state["pids"].as_array().into_iter().flatten();
    list.filter_map(Value::as_u64)
        .filter_map(|pid| u32::try_from(pid).ok())
        .collect()
}

/// Whether the process still is the server that was started, and not another with its number.
fn is_ours(pid: u32, state: &Value) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command);
    state["data"]
        .as_str()
        .is_some_and(|data| command.contains(data))
}

fn remove(path: &Path) -> Result {
    // A server that was just killed may still be closing its files: the folder is tried again.
    for _ in 0..20 {
        if fs::remove_dir_all(path).is_ok() || !path.exists() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    fs::remove_dir_all(path).context(|| format!("cannot remove {}", path.display()))
}
