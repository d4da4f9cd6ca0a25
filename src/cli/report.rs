//! `keepwell report`: makes, lists, gets, delivers and verifies compliance reports.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use keepwell_jobs::{
    reporting::ReportKind,
    signature::{Document, Signature, SignatureError, public_key},
};
use serde_json::{Value, json};

use super::{
    Context,
    daemon::Operators,
    failure::Failure,
    filters::{encoded, query},
    say,
    table::{Align, Table, items, text},
    write_stdout,
};
use crate::{new_file::with_suffix, serve::key_ring};

/// Compliance reports.
#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// Makes a report on crisis safety, and keeps it
    Crisis(MakeArgs),
    /// Makes a report on what was done, what failed and what is late, and keeps it
    Operations(MakeArgs),
    /// Lists the reports that are kept, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// Goes on where a page ended: its `next`
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Gets a report that is kept
    Show {
        /// Which, as `list` names it
        id: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Brings a report that is kept to where those on schedule go (`reports.directory`, `reports.url`)
    Deliver {
        /// Which, as `list` names it
        id: String,
    },
    /// Says whether a report is as keepwell signed it; exit code 1 if not
    Verify {
        /// The report
        file: PathBuf,
        /// Its signature, instead of FILE.sig
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
        /// The public key that it has to be signed with, instead of those of `encryption.keys`
        #[arg(long, value_name = "DIGITS")]
        public_key: Option<String>,
    },
    /// Prints the public keys that reports are signed with, made from `encryption.keys`; file them where they are safe
    Keys,
}

/// About which time.
#[derive(Debug, Args)]
pub(super) struct MakeArgs {
    /// From when on: an instant such as 2027-01-31T00:00:00Z, or 36h, 7d ago; 30 days before the end otherwise
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Up to when; now otherwise
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    /// Brings it to where reports on schedule go too (`reports.directory`, `reports.url`); otherwise it is only kept
    #[arg(long)]
    deliver: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// In which form, and where to.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// The form
    #[arg(long, value_enum, default_value_t = FormatArg::Json)]
    format: FormatArg,
    /// Where to, with the signature beside it in FILE.sig, instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArg {
    /// For programs
    Json,
    /// A page to read and to print
    Html,
    /// For spreadsheets
    Csv,
}

impl FormatArg {
    const fn name(self) -> &'static str {
        match self {
            FormatArg::Json => "json",
            FormatArg::Html => "html",
            FormatArg::Csv => "csv",
        }
    }
}

pub(super) async fn run(context: &Context, command: &ReportCommand) -> Result<(), Failure> {
    let operators = || Ok::<_, Failure>(Operators::of(&context.client_config()?.config));
    match command {
        ReportCommand::Crisis(args) => make(&operators()?, ReportKind::Crisis, args).await,
        ReportCommand::Operations(args) => make(&operators()?, ReportKind::Operations, args).await,
        ReportCommand::Show { id, output } => show(&operators()?, id, output).await,
        ReportCommand::Deliver { id } => {
            context.print(&deliver(&operators()?, id).await?, |asked| format!("{}\n", delivered(asked)));
            Ok(())
        }
        ReportCommand::List { limit, cursor } => {
            let cursor = cursor.as_ref().map(|cursor| ("cursor", cursor.clone()));
            let pairs: Vec<_> = [("limit", limit.to_string())].into_iter().chain(cursor).collect();
            let page = operators()?.get(&format!("/api/v1/reports?{}", query(&pairs))).await?;
            context.print(&page, render_list);
            Ok(())
        }
        ReportCommand::Verify { file, signature, public_key } => {
            verify(context, file, signature.as_deref(), public_key.as_deref())
        }
        ReportCommand::Keys => keys(context),
    }
}

async fn make(operators: &Operators, kind: ReportKind, args: &MakeArgs) -> Result<(), Failure> {
    let asked = json!({ "kind": kind.name(), "from": args.from, "to": args.to });
    let made = operators.post("/api/v1/reports", asked.to_string()).await?;
    let id = made["id"].as_str().unwrap_or_default();
    say(&format!("report {id} is kept"));
    if args.deliver {
        say(&delivered(&deliver(operators, id).await?));
    }
    show(operators, id, &args.output).await
}

async fn deliver(operators: &Operators, id: &str) -> Result<Value, Failure> {
    operators.post(&format!("/api/v1/reports/{}/deliver", encoded(id)), String::new()).await
}

fn delivered(asked: &Value) -> String {
    format!("report {} is brought to where reports go by job {}", text(asked, "id"), text(asked, "job"))
}

async fn show(operators: &Operators, id: &str, output: &OutputArgs) -> Result<(), Failure> {
    let format = output.format.name();
    let report = operators.get(&format!("/api/v1/reports/{}?format={format}", encoded(id))).await?;
    let content = report["content"].as_str().unwrap_or_default();
    let Some(file) = &output.output else {
        write_stdout(content);
        return Ok(());
    };
    let beside = signature_of(file);
    for (path, text) in [(file, content.to_owned()), (&beside, format!("{:#}\n", report["signature"]))] {
        write(path, &text)
            .map_err(|error| Failure::because(format!("{} cannot be written", path.display()), error))?;
    }
    say(&format!("written to {}, signed in {}", file.display(), beside.display()));
    Ok(())
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // A report names nobody, but it is no news for everybody either.
    let options = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path);
    options?.write_all(text.as_bytes())
}

/// Where the signature of `file` lies.
fn signature_of(file: &Path) -> PathBuf {
    with_suffix(file, ".sig")
}

fn verify(
    context: &Context,
    file: &Path,
    signature: Option<&Path>,
    public_key: Option<&str>,
) -> Result<(), Failure> {
    let beside = signature.map_or_else(|| signature_of(file), Path::to_owned);
    let read = |path: &Path| {
        fs::read(path).map_err(|error| Failure::because(format!("{} cannot be read", path.display()), error))
    };
    let (report, signature) = (read(file)?, read(&beside)?);
    let signature: Signature = serde_json::from_slice(&signature)
        .map_err(|error| Failure::because(format!("{} is no signature", beside.display()), error))?;
    let outcome = if let Some(public_key) = public_key {
        signature.verify_with(public_key, Document::Report, &report)
    } else {
        let loaded = context.client_config()?;
        let keys = key_ring(&loaded.config)
            .map_err(|error| Failure::misconfigured("`encryption.keys` cannot be used", error))?;
        signature.verify(&keys, Document::Report, &report)
    };
    if let Err(SignatureError::UnknownKey(_) | SignatureError::OtherKey) = &outcome {
        say("hint: with the public key that was filed when it was made: --public-key DIGITS");
    }
    let problem = outcome.err().map(|error| error.to_string());
    let result = json!({ "genuine": problem.is_none(), "problem": problem, "key": signature.key });
    context.print(&result, |result| match result["problem"].as_str() {
        Some(problem) => format!("not genuine: {problem}\n"),
        None => format!("genuine: signed with key {}\n", signature.key),
    });
    if problem.is_none() { Ok(()) } else { Err(Failure::Said) }
}

fn keys(context: &Context) -> Result<(), Failure> {
    let loaded = context.client_config()?;
    let ring = key_ring(&loaded.config)
        .map_err(|error| Failure::misconfigured("`encryption.keys` cannot be used", error))?;
    let keys: Vec<Value> = ring
        .ids()
        .map(|id| json!({ "key": id, "algorithm": "ed25519", "public_key": public_key(&ring, id) }))
        .collect();
    context.print(&json!({ "items": keys }), |keys| {
        let mut table = Table::new(&[("KEY", Align::Left), ("PUBLIC KEY", Align::Left)]);
        for key in items(keys) {
            table.row(["key", "public_key"].map(|name| text(key, name)));
        }
        table.text()
    });
    Ok(())
}

fn render_list(page: &Value) -> String {
    let columns = ["ID", "KIND", "FROM", "TO", "MADE"].map(|name| (name, Align::Left));
    let mut table = Table::new(&columns);
    for report in items(page) {
        table.row(["id", "kind", "from", "to", "made_at"].map(|name| text(report, name)));
    }
    let more = page["next"].as_str().map(|next| format!("more: --cursor {next}\n")).unwrap_or_default();
    format!("{}\n{} in all\n{more}", table.text(), page["total"])
}
