//! Both databases go through the same history.

use std::fs;

use super::root;

#[test]
fn both_databases_have_the_same_migrations() {
    let sqlite = names("sqlite");
    assert!(!sqlite.is_empty(), "there are migrations");
    assert_eq!(sqlite, names("postgres"));
}

#[test]
fn migrations_are_numbered_without_a_gap() {
    for (index, name) in names("sqlite").iter().enumerate() {
        let title = name.strip_suffix(".sql").and_then(|name| name.split_once('_'));
        let (number, _) = title.unwrap_or_else(|| panic!("{name} is not called NUMBER_TITLE.sql"));
        assert_eq!(number, format!("{:04}", index + 1), "{name}");
    }
}

#[test]
fn every_migration_is_applied() {
    let mut applied: Vec<(String, &str, &str)> = keepwell::serve::migrations()
        .into_iter()
        .map(|file| (format!("{:04}_{}.sql", file.version, file.name), file.sqlite, file.postgres))
        .collect();
    applied.sort();
    assert_eq!(applied.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>(), names("sqlite"));
    for (name, sqlite, postgres) in applied {
        for (dialect, text) in [("sqlite", sqlite), ("postgres", postgres)] {
            let file = root().join("migrations").join(dialect).join(&name);
            assert_eq!(fs::read_to_string(file).expect("a file"), text, "{dialect} {name}");
        }
    }
}

fn names(dialect: &str) -> Vec<String> {
    let folder = root().join("migrations").join(dialect);
    let entries = fs::read_dir(folder).expect("a folder for each dialect");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
