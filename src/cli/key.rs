//! `keepwell key`: the keys that data are sealed with.

use std::{fmt::Write as _, time::Duration};

use clap::Subcommand;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Context,
    daemon::Operators,
    failure::Failure,
    say,
    table::{Align, Table, text},
};

/// Between two looks at a rotation.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Shows what each key has sealed, and which keys are no longer needed. Looks at everything that is sealed
    List,
    /// Seals everything again with the first key of `encryption.keys`, in the background; put the new key in front and
    /// restart the daemon before
    Rotate {
        /// Comes back at once instead of when it is through
        #[arg(long)]
        no_wait: bool,
    },
}

pub(super) async fn run(context: &Context, command: &KeyCommand) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    match command {
        KeyCommand::List => {
            let keys = operators.get("/api/v1/keys").await?;
            context.print(&keys, render);
        }
        KeyCommand::Rotate { no_wait } => {
            let mut rotation = operators.post("/api/v1/keys/rotate", String::new()).await?;
            if *no_wait {
                context.print(&rotation, |rotation| format!("{}\n", progress(rotation)));
                return Ok(());
            }
            let mut said = String::new();
            while rotation["running"] == true {
                let now = progress(&rotation);
                if now != said {
                    say(&now);
                    said = now;
                }
                sleep(LOOK_EVERY).await;
                rotation = operators.get("/api/v1/keys/rotation").await?;
            }
            let keys = operators.get("/api/v1/keys").await?;
            context.print(&keys, render);
        }
    }
    Ok(())
}

fn progress(rotation: &Value) -> String {
    let what = match rotation["table"].as_str() {
        Some(table) => format!("sealing {table} with key {}", text(rotation, "key")),
        None if rotation["running"] == true => "looking whether anything is left".to_owned(),
        None => format!("everything is sealed with key {}", text(rotation, "key")),
    };
    format!("{what}: {} rows looked at, {} sealed again", rotation["looked_at"], rotation["resealed"])
}

fn render(answer: &Value) -> String {
    let columns =
        [("KEY", Align::Left), ("ROLE", Align::Left), ("SEALED", Align::Right), ("NEEDED", Align::Left)];
    let mut table = Table::new(&columns);
    let mut hints = String::new();
    for key in answer["keys"].as_array().into_iter().flatten() {
        let needed = key["needed"] == true;
        table.row([
            text(key, "id"),
            text(key, "role"),
            key["sealed_total"].to_string(),
            if needed { "yes" } else { "no" }.to_owned(),
        ]);
        let (id, role) = (text(key, "id"), text(key, "role"));
        // Writing to a String cannot fail.
        let _ = if role == "missing" {
            writeln!(hints, "hint: key {id} is not in `encryption.keys`, and what it sealed cannot be opened")
        } else if needed {
            Ok(())
        } else {
            writeln!(
                hints,
                "hint: key {id} is no longer needed; take it out of `encryption.keys` of every process"
            )
        };
    }
    let rotation = &answer["rotation"];
    let last = if rotation.is_null() { String::new() } else { format!("\n{}\n", progress(rotation)) };
    format!("{}{last}{hints}", table.text())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_is_no_longer_needed_is_named() {
        let key = |id: &str, role: &str, sealed: u64| json!({ "id": id, "role": role, "sealed_total": sealed, "needed": sealed > 0 || role == "seals" });
        let rotation = json!({ "key": "b", "running": false, "table": null, "looked_at": 9, "resealed": 7 });
        let keys = [key("b", "seals", 9), key("a", "opens", 0), key("z", "missing", 1)];
        let text = render(&json!({ "keys": keys, "rotation": rotation }));
        assert_eq!(
            text,
            "KEY  ROLE     SEALED  NEEDED\n\
             b    seals         9  yes\n\
             a    opens         0  no\n\
             z    missing       1  yes\n\
             \n\
             everything is sealed with key b: 9 rows looked at, 7 sealed again\n\
             hint: key a is no longer needed; take it out of `encryption.keys` of every process\n\
             hint: key z is not in `encryption.keys`, and what it sealed cannot be opened\n"
        );
    }
}
