//! What is printed is all there.

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::examples::{Example, examples};
use crate::support::browser::Browser;

/// A kind of paper, in inches.
#[derive(Debug, Clone, Copy)]
pub struct Paper {
    name: &'static str,
    width: f64,
    height: f64,
}

/// What people print on.
pub const PAPERS: [Paper; 2] =
    [Paper { name: "A4", width: 8.27, height: 11.69 }, Paper { name: "Letter", width: 8.5, height: 11.0 }];

/// What `page.css` leaves free at each side, in millimetres.
const MARGIN_MM: f64 = 16.0;

const MM_PER_INCH: f64 = 25.4;

impl Paper {
    /// How wide a page can be on it, in CSS pixels, of which an inch has 96.
    pub fn room(self) -> u32 {
        ((self.width - 2.0 * MARGIN_MM / MM_PER_INCH) * 96.0) as u32
    }
}

/// The texts of a page, each without white space, in the order in which they stand.
const TEXTS: &str = "(() => {
    const texts = [];
    const nodes = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) {
        const parent = nodes.currentNode.parentElement;
        if (!['title', 'desc'].includes(parent.tagName)) texts.push(nodes.currentNode.data.replace(/\\s/g, ''));
    }
    return texts.filter(text => text !== '');
})()";

/// What stands in each chart, its caption first, each text without white space.
const FIGURES: &str = "[...document.querySelectorAll('figure')].map(figure =>
    [...figure.querySelectorAll('figcaption, svg text')]
        .map(it => it.textContent.replace(/\\s/g, '')).filter(text => text !== ''))";

fn pdftotext(arguments: &[&str]) -> String {
    let said = Command::new("pdftotext").args(arguments).arg("-").output();
    let said = said.expect("pdftotext; `scripts/needs.sh test` installs it");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("UTF-8")
}

/// The number called `name` in a line of `pdftotext -bbox`, in points.
fn attribute(line: &str, name: &str) -> f64 {
    let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("{name} in {line}"));
    rest.split('"').next().and_then(|number| number.parse().ok()).unwrap()
}

/// The words of the document that lie outside of the margins, and how many words each sheet has.
fn words(file: &str) -> (Vec<String>, Vec<usize>) {
    let (mut outside, mut sheets, mut sheet) = (Vec::new(), Vec::new(), (0.0, 0.0));
    let margin = MARGIN_MM / MM_PER_INCH * 72.0 - 1.0;
    for line in pdftotext(&["-bbox", file]).lines().map(str::trim) {
        if line.starts_with("<page ") {
            sheet = (attribute(line, "width"), attribute(line, "height"));
            sheets.push(0);
        } else if line.starts_with("<word ") {
            *sheets.last_mut().unwrap() += 1;
            let inside = attribute(line, "xMin") >= margin
                && attribute(line, "yMin") >= margin
                && attribute(line, "xMax") <= sheet.0 - margin
                && attribute(line, "yMax") <= sheet.1 - margin;
            outside.extend((!inside).then(|| line.to_owned()));
        }
    }
    (outside, sheets)
}

async fn is_all_there(browser: &mut Browser, example: &Example, paper: Paper) {
    let folder = TempDir::with_prefix("keepwell-paper-").unwrap();
    let file = folder.path().join("page.pdf");
    fs::write(&file, browser.print((paper.width, paper.height)).await).unwrap();
    let file = file.to_str().unwrap();
    let place = format!("{} on {}", example.name, paper.name);

    let (outside, sheets) = words(file);
    assert_eq!(outside, Vec::<String>::new(), "{place}");
    assert!(sheets.len() >= example.sheets_min, "{place}: {sheets:?}");
    assert!(sheets.iter().all(|words| *words > 0), "{place} has an empty sheet: {sheets:?}");

    are_whole(browser, &place, file).await;

    // In the order in which it was drawn, so that what stands in a cell stays together.
    let printed: String = pdftotext(&["-raw", file]).split_whitespace().collect();
    let texts = browser.evaluate(TEXTS).await;
    let mut rest = &*printed;
    for text in texts.as_array().unwrap().iter().filter_map(Value::as_str) {
        let at = rest.find(text);
        let at = at.unwrap_or_else(|| {
            panic!("{place}: {text:?} is missing before {:?}", &rest[..rest.len().min(200)])
        });
        rest = &rest[at + text.len()..];
    }
}

/// Each chart is on one sheet: what is drawn first in it and what is drawn last. Charts are looked for in their order,
/// because their texts are numbers, of which there are many.
async fn are_whole(browser: &mut Browser, place: &str, file: &str) {
    let raw = pdftotext(&["-raw", file]);
    let sheets: Vec<String> = raw.split('\u{c}').map(|sheet| sheet.split_whitespace().collect()).collect();
    let figures = browser.evaluate(FIGURES).await;
    let mut begin = 0;
    for figure in figures.as_array().unwrap() {
        let texts: Vec<&str> = figure.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let found =
            (begin..sheets.len()).find_map(|sheet| sheets[sheet].find(texts[0]).map(|at| (sheet, at)));
        let (sheet, at) = found.unwrap_or_else(|| panic!("{place}: {:?} is missing", texts[0]));
        let mut rest = &sheets[sheet][at..];
        for text in &texts {
            let at = rest.find(text).unwrap_or_else(|| {
                panic!("{place}: {text:?} of {:?} is not on sheet {}, where it begins", texts[0], sheet + 1)
            });
            rest = &rest[at + text.len()..];
        }
        begin = sheet;
    }
}

#[tokio::test]
async fn nothing_is_cut_off_on_paper() {
    let mut browser = Browser::start().await;
    for example in examples().await {
        browser.open(&example.page, 1_280).await;
        for paper in PAPERS {
            is_all_there(&mut browser, &example, paper).await;
        }
    }
    browser.close().await;
}
