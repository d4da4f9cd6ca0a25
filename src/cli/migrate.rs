//! `keepwell migrate`: brings the tables up to date before the daemon does it by itself, so that nobody has
//! to wait for it.

use keepwell_config::{Config, Purpose};
use keepwell_workers::database::{Database, DatabaseOptions};
use serde_json::json;

use super::{Context, failure::Failure};
use crate::serve::{database_url, migrations, state_dir::StateDir};

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let config = Config::load(&context.sources(Purpose::Client))?.config;
    // Makes the directory, and keeps a daemon from starting on tables that are being changed.
    let lock = config.database.url.is_none().then(|| StateDir::lock(&config.state_dir)).transpose();
    let _lock = lock.map_err(|error| Failure::because("the database cannot be migrated now", error))?;
    let files = migrations();
    let database = Database::connect(&database_url(&config), &DatabaseOptions::default())
        .await
        .map_err(|error| Failure::because("the database (`database.url`) cannot be opened", error))?;
    let migrated = database.migrate(&files).await;
    database.close().await;
    migrated.map_err(|error| Failure::because("the database cannot be migrated", error))?;
    let version = files.iter().map(|file| file.version).max().unwrap_or(0);
    let done = json!({ "version": version, "migrations": files.len() });
    context.print(&done, |_| {
        format!("the tables are up to date: version {version}, {} migrations\n", files.len())
    });
    Ok(())
}
