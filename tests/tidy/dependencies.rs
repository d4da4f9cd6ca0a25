//! The direction of dependencies, and what must never be in a room.

use std::{collections::BTreeSet, fs};

use toml::{Table, Value};

use super::{assert_none, root};

/// What a room of the house may know.
struct Room {
    /// Its folder, from the root.
    folder: &'static str,
    /// The other rooms it builds on.
    builds_on: &'static [&'static str],
    /// What must never be in it, whatever the reason. Tests may use it.
    never: &'static [&'static str],
}

const ROOMS: [Room; 5] = [
    Room {
        folder: "config",
        builds_on: &[],
        never: &["axum", "hyper", "hyper-util", "redis", "sqlx", "tokio"],
    },
    Room { folder: "workers", builds_on: &[], never: &["axum", "hyper", "hyper-util"] },
    Room { folder: "jobs", builds_on: &["keepwell-workers"], never: &["axum", "redis"] },
    Room {
        folder: "schedules",
        builds_on: &["keepwell-workers"],
        never: &["axum", "hyper", "hyper-util", "redis", "sqlx"],
    },
    Room {
        folder: ".",
        builds_on: &["keepwell-config", "keepwell-jobs", "keepwell-schedules", "keepwell-workers"],
        never: &["redis", "sqlx"],
    },
];

#[test]
fn rooms_depend_on_each_other_in_one_direction_only() {
    let mut offences = Vec::new();
    for room in &ROOMS {
        let manifest = manifest(room.folder);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for name in names(&manifest, table) {
                if name.starts_with("keepwell-") && !room.builds_on.contains(&name.as_str()) {
                    offences.push(format!("{}: {name} in [{table}]", room.folder));
                }
            }
        }
    }
    assert_none("a room that another builds on knows nothing of it", &offences);
}

#[test]
fn no_room_holds_what_must_never_be_in_it() {
    let mut offences = Vec::new();
    for room in &ROOMS {
        for name in names(&manifest(room.folder), "dependencies") {
            if room.never.contains(&name.as_str()) {
                offences.push(format!("{}: {name}", room.folder));
            }
        }
    }
    assert_none("each room has its purpose, and what serves another purpose stays outside", &offences);
}

#[test]
fn every_dependency_is_declared_once_for_the_whole_workspace_and_used() {
    let workspace = manifest(".");
    let declared = names(workspace["workspace"].as_table().expect("a table"), "dependencies");
    let mut used = BTreeSet::new();
    let mut offences = Vec::new();
    for room in &ROOMS {
        let manifest = manifest(room.folder);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for name in names(&manifest, table) {
                if manifest[table][&name].get("workspace") != Some(&Value::Boolean(true)) {
                    offences.push(format!("{}: {name} has a version of its own", room.folder));
                }
                used.insert(name);
            }
        }
    }
    offences.extend(declared.difference(&used).map(|name| format!("{name} is declared and used by nobody")));
    assert_none("one version of everything, and nothing that is not needed", &offences);
}

#[test]
fn every_member_of_the_workspace_is_a_room_with_rules() {
    let workspace = manifest(".");
    let members = workspace["workspace"]["members"].as_array().expect("a list");
    let members: BTreeSet<&str> = members.iter().filter_map(Value::as_str).chain(["."]).collect();
    assert_eq!(members, ROOMS.iter().map(|room| room.folder).collect());
}

fn manifest(folder: &str) -> Table {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).expect("a manifest").parse().expect("TOML")
}

fn names(manifest: &Table, table: &str) -> BTreeSet<String> {
    manifest
        .get(table)
        .and_then(Value::as_table)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect()
}
