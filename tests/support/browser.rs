//! A real Chromium without a window, spoken to in the DevTools protocol over a pipe of its own.

use std::{fs::File, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::PATIENCE;

/// The browser hears on descriptor 3 and speaks on 4. It has other names elsewhere.
const HAND_OVER: &str = "exec 3<&0 4>&1 </dev/null >/dev/null
for name in chromium chromium-browser google-chrome; do
  command -v $name && exec $name \"$@\"
done
echo 'there is no Chromium; `scripts/needs.sh test` installs it' >&2";

const OPTIONS: [&str; 10] = [
    "--headless",
    "--remote-debugging-pipe",
    // It sees nothing but pages of ours, and root, or a container, cannot have one.
    "--no-sandbox",
    "--disable-gpu",
    // In a container there may be too little of it.
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "about:blank",
];

/// A running browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    directory: TempDir,
}

impl Browser {
    /// Starts it and opens an empty page.
    pub async fn start() -> Self {
        let directory = TempDir::with_prefix("keepwell-browser-").expect("a temporary directory");
        let log = File::create(directory.path().join("log")).expect("a log file");
        let mut child = Command::new("sh")
            .args(["-c", HAND_OVER, "sh"])
            .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
            .args(OPTIONS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let to = child.stdin.take().expect("its input");
        let from = BufReader::new(child.stdout.take().expect("its output"));
        let mut browser = Self { child, to, from, session: None, calls: 0, directory };
        let page = browser.call("Target.createTarget", &json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Opens `page`, the text of a document, in a window `width` pixels wide, and waits until it is there.
    pub async fn open(&mut self, page: &str, width: u32) {
        let file = self.directory.path().join("page.html");
        std::fs::write(&file, page).expect("a file");
        self.resize(width).await;
        let address = format!("file://{}", file.display());
        let opened = self.call("Page.navigate", &json!({ "url": address })).await;
        assert!(opened["errorText"].is_null(), "{opened}");
        let is_there = "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))";
        self.evaluate(&format!("{is_there}.then(() => true)")).await;
    }

    /// Makes the window `width` pixels wide.
    pub async fn resize(&mut self, width: u32) {
        let size = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size).await;
    }

    /// Shows the page as on `medium`, `screen` or `print`.
    pub async fn show_as(&mut self, medium: &str) {
        self.call("Emulation.setEmulatedMedia", &json!({ "media": medium })).await;
    }

    /// What `expression` comes to in the page. A promise is waited for.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &asked).await;
        assert!(answer["exceptionDetails"].is_null(), "the page has an error: {answer:#}");
        answer["result"]["value"].clone()
    }

    /// The page as a PDF on paper of this size, in inches.
    pub async fn print(&mut self, (width, height): (f64, f64)) -> Vec<u8> {
        let paper = json!({ "paperWidth": width, "paperHeight": height, "preferCSSPageSize": true });
        let printed = self.call("Page.printToPDF", &paper).await;
        STANDARD.decode(printed["data"].as_str().expect("a document")).expect("Base64")
    }

    /// Closes it and waits until it is gone.
    pub async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", &json!({})).await;
        timeout(PATIENCE, self.child.wait()).await.expect("an end in time").expect("it was ours to wait for");
    }

    async fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let answered = timeout(PATIENCE, self.exchange(format!("{message}\0").as_bytes())).await;
        let answer = answered.unwrap_or_else(|_| panic!("{method} is not answered\n{}", self.log()));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Says `message` and hears what answers it; what happens meanwhile is passed over.
    async fn exchange(&mut self, message: &[u8]) -> Value {
        let said = self.to.write_all(message).await;
        said.unwrap_or_else(|error| panic!("the browser does not listen: {error}\n{}", self.log()));
        loop {
            let mut heard = Vec::new();
            let count = self.from.read_until(0, &mut heard).await.expect("a pipe");
            assert!(count > 0, "the browser has ended\n{}", self.log());
            let heard: Value = serde_json::from_slice(&heard[..count - 1]).expect("JSON");
            if heard["id"] == self.calls {
                return heard;
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}
