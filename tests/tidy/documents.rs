//! The documents say what is there.

use std::path::Path;

use super::{Source, assert_none, files, root};

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut offences = Vec::new();
    for document in files("md") {
        let folder = root().join(Path::new(&document.path).parent().expect("a file has a folder"));
        for target in links(&document.text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                offences.push(format!("{}: {target}", document.path));
            }
        }
    }
    assert_none("a link that leads nowhere", &offences);
}

#[test]
fn every_path_that_the_documents_name_exists() {
    let mut offences = Vec::new();
    for document in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", "migrations/README.md"] {
        for path in paths(&read(document).text) {
            if !root().join(&path).exists() {
                offences.push(format!("{document}: {path}"));
            }
        }
    }
    assert_none("a document that names what is not there misleads", &offences);
}

#[test]
fn the_map_shows_every_room() {
    let map = read("ARCHITECTURE.md").text;
    let rooms = ["`src/`", "`jobs/`", "`schedules/`", "`workers/`", "`config/`", "`migrations/`", "`tests/`"];
    let missing: Vec<String> =
        rooms.iter().filter(|room| !map.contains(*room)).map(ToString::to_string).collect();
    assert_none("a room that is not on the map", &missing);
    assert!(map.matches("**Invariant:**").count() >= rooms.len(), "each room has an invariant");
}

#[test]
fn the_diagram_of_states_is_the_one_that_the_code_keeps_to() {
    let document = read("ARCHITECTURE.md").text;
    let (_, rest) = document.split_once("<!-- transitions:begin -->").expect("the begin of the diagram");
    let (drawn, _) = rest.split_once("<!-- transitions:end -->").expect("the end of the diagram");
    assert_eq!(drawn.trim(), format!("```mermaid\n{}```", keepwell_workers::state::diagram()));
}

#[test]
fn every_test_that_the_table_of_pains_names_exists() {
    let document = read("ARCHITECTURE.md").text;
    let (_, rest) = document.split_once("<!-- pains:begin -->").expect("the begin of the table");
    let (table, _) = rest.split_once("<!-- pains:end -->").expect("the end of the table");
    let sources = files("rs");
    let mut offences = Vec::new();
    for row in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let names: Vec<&str> =
            row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            offences.push(format!("no test: {row}"));
        }
        for name in names {
            let declared = format!("fn {name}(");
            if !sources.iter().any(|source| source.text.contains(&declared)) {
                offences.push(name.to_owned());
            }
        }
    }
    assert_none("a claim without the test that shows it", &offences);
}

fn read(path: &str) -> Source {
    files("md").into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"))
}

/// The targets of Markdown's `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = String> + '_ {
    text.match_indices("](").filter_map(|(at, mark)| {
        let target = &text[at + mark.len()..];
        Some(target[..target.find(')')?].to_owned())
    })
}

/// What stands between backticks and looks like a file of this project: folders, then a name with an extension.
fn paths(text: &str) -> impl Iterator<Item = String> + '_ {
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(|span| span.trim_end_matches('/')).filter(|span| looks_like_a_path(span)).map(ToOwned::to_owned)
}

fn looks_like_a_path(span: &str) -> bool {
    const ROOMS: [&str; 10] = [
        "src",
        "jobs",
        "schedules",
        "workers",
        "config",
        "migrations",
        "systemd",
        "tests",
        "benches",
        "scripts",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    span.contains('/')
        && span.chars().all(plain)
        && ROOMS.contains(&span.split('/').next().unwrap_or_default())
}

#[test]
fn a_path_is_told_from_what_only_looks_like_one() {
    let text = "See `src/main.rs`, `jobs/src/care/` and `/health/ready`; `src/*.rs` is a pattern, `a/b` is nobody's.";
    assert_eq!(paths(text).collect::<Vec<_>>(), ["src/main.rs", "jobs/src/care"]);
    assert_eq!(links("[a](b.md#c) and [d](e)").collect::<Vec<_>>(), ["b.md#c", "e"]);
}
