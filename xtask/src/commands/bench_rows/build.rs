//! Hello-world with default features: how many crates, and how long a clean build takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use xtask::{Context, Result, fixtures, process};

use super::super::spec::cargo;
use super::{Row, Target};

/// A driver as a dependency.
struct Driver {
    name: &'static str,
    dependency: String,
    package: &'static str,
    path: &'static str,
}

pub(super) fn rows() -> Result<Vec<Row>> {
    let ours = Driver {
        name: "ours",
        dependency: format!("mongo-client = {{ path = {:?} }}", fixtures::workspace()),
        package: "mongo-client",
        path: "mongo_client",
    };
    let official = Driver {
        name: "official",
        dependency: "mongodb = \"3.9.1\"".to_owned(),
        package: "mongodb",
        path: "mongodb",
    };
    let (ours_folder, official_folder) = (ours.project()?, official.project()?);
    let crates = |driver: &Driver, folder: &Path| count(driver.package, folder);
    let mut rows = vec![Row {
        name: "hello-world: crates of the driver".to_owned(),
        unit: "crates",
        ours: crates(&ours, &ours_folder)?,
        official: Some(crates(&official, &official_folder)?),
        target: Target::Figure(85.0),
    }];
    for (profile, flags) in [("dev", [].as_slice()), ("release", &["--release"])] {
        rows.push(Row {
            name: format!("hello-world: clean {profile} build"),
            unit: "s",
            ours: seconds(&ours_folder, flags)?,
            official: Some(seconds(&official_folder, flags)?),
            target: Target::Ratio(0.5),
        });
    }
    Ok(rows)
}

impl Driver {
    /// A project that pings, and nothing else; everything it needs is downloaded.
    fn project(&self) -> Result<PathBuf> {
        let folder = fixtures::workspace().join("target/hello").join(self.name);
        let write = |path: &str, text: String| {
            let path = folder.join(path);
            let parent = path.parent().unwrap_or(&folder).to_owned();
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&path, text))
                .context(|| path.display().to_string())
        };
        let Self {
            dependency, path, ..
        } = self;
        let manifest = format!(
            "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
             [workspace]\n\n[dependencies]\n{dependency}\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n"
        );
        let main = format!(
            "use {path}::{{Client, bson::doc}};\n\n#[tokio::main]\n\
             async fn main() -> {path}::error::Result<()> {{\n\
             \x20   let client = Client::with_uri_str(\"mongodb://127.0.0.1:27017\").await?;\n\
             \x20   let reply = client.database(\"admin\").run_command(doc! {{ \"ping\": 1 }}).await?;\n\
             \x20   println!(\"{{reply}}\");\n    Ok(())\n}}\n"
        );
        write("Cargo.toml", manifest)?;
        write("src/main.rs", main)?;
        let mut fetch = cargo();
        process::run(fetch.current_dir(&folder).arg("fetch"))?;
        Ok(folder)
    }
}

/// The crates below a package, itself included.
#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn count(package: &str, folder: &Path) -> Result<f64> {
    let mut tree = cargo();
    tree.current_dir(folder)
        .args(["tree", "--package", package]);
    tree.args(["--edges", "normal,build", "--prefix", "none"]);
    let text = process::run(&mut tree)?;
    let names = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    Ok(names.collect::<BTreeSet<_>>().len() as f64)
}

/// How long a build from nothing takes, downloads excluded. Not incrementally: cargo compiles only
/// what lies beside a project that way, as this client does here, and never what was downloaded, as
/// it is for whoever depends on either driver.
fn seconds(folder: &Path, flags: &[&str]) -> Result<f64> {
    let target = folder.join("target");
    if target.exists() {
        fs::remove_dir_all(&target).context(|| target.display().to_string())?;
    }
    let start = Instant::now();
    let mut build = cargo();
    build.current_dir(folder).args(["build", "--quiet"]);
    build
        .args(flags)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_INCREMENTAL", "0");
    process::run(&mut build)?;
    Ok(start.elapsed().as_secs_f64())
}
