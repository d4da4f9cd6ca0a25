//! The rules of the house that neither the compiler nor clippy can hold.

mod dependencies;
mod documents;
mod migrations;
mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One file of the project.
#[derive(Debug)]
struct Source {
    /// Its path from the root, with slashes.
    path: String,
    text: String,
}

impl Source {
    /// Whether it lies in `folder`, a path from the root.
    fn is_in(&self, folder: &str) -> bool {
        Path::new(&self.path).starts_with(folder)
    }
}

/// Every file of the project whose name ends in `.extension`, in the order of their paths.
fn files(extension: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(root(), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| Source {
            text: fs::read_to_string(&path).expect("text"),
            path: path
                .strip_prefix(root())
                .expect("a path below the root")
                .to_str()
                .expect("UTF-8")
                .to_owned(),
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    // What is built, what a run leaves behind, and what belongs to git is nobody's source.
    const FOREIGN: [&str; 2] = ["target", "var"];
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if !path.is_dir() {
            paths.push(path);
        } else if !name.starts_with('.') && !FOREIGN.contains(&name.as_ref()) {
            collect(&path, paths);
        }
    }
}

/// Fails with all the `offences` at once, so that they can be put right at once.
#[track_caller]
fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}
