//! The pages that people read: looked at in a real browser, on a screen, on a phone and on paper.

mod examples;
mod lanes;
mod paper;

use serde_json::Value;

use crate::support::browser::Browser;
use examples::{Example, examples};

/// Deque's axe-core, which knows the rules of accessibility. See `tests/vendor/axe`.
const AXE: &str = include_str!("../vendor/axe/axe.min.js");

/// A desk and a phone, in CSS pixels.
const WIDTHS: [u32; 2] = [1_280, 360];

/// What does not fit: the page itself if it is wider than its window, and whatever ends right of the place where it can
/// be seen, whether that is the window, a drawing, or a part of the page that can be moved sideways.
const TOO_WIDE: &str = "(() => {
    const found = [];
    if (document.documentElement.scrollWidth > innerWidth) found.push('the page');
    for (const element of document.querySelectorAll('body *')) {
        const around = element.parentElement.closest('.wide');
        const moves = around && getComputedStyle(around).overflowX === 'auto';
        const left = moves ? around.getBoundingClientRect().left - around.scrollLeft : 0;
        const drawing = element.ownerSVGElement?.getBoundingClientRect();
        const end = Math.min(moves ? left + around.scrollWidth : innerWidth, drawing?.right ?? Infinity);
        const begin = Math.max(left, drawing?.left ?? 0);
        const box = element.getBoundingClientRect();
        if (box.width > 0 && (box.right > end + 1 || box.left < begin - 1))
            found.push(`${element.tagName} ${element.textContent.slice(0, 60)}`);
    }
    return found;
})()";

/// What lies on something else in a drawing, where nobody can read it.
const OVERLAPPING: &str = "(() => {
    const found = [];
    for (const drawing of document.querySelectorAll('svg')) {
        const texts = [...drawing.querySelectorAll('text')].map(it => [it, it.getBoundingClientRect()]);
        for (const [at, [one, a]] of texts.entries())
            for (const [other, b] of texts.slice(at + 1))
                if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2)
                    found.push(`${one.textContent} | ${other.textContent}`);
    }
    return found;
})()";

async fn nothing(browser: &mut Browser, what: &str, example: &Example) {
    let found = browser.evaluate(what).await;
    let found: Vec<&str> = found.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(
        found.is_empty(),
        "{}: {} are out of place, as {:#?}",
        example.name,
        found.len(),
        &found[..found.len().min(9)]
    );
}

#[tokio::test]
async fn no_page_keeps_anybody_from_reading_it() {
    let mut browser = Browser::start().await;
    for example in examples().await {
        for width in WIDTHS {
            browser.open(&example.page, width).await;
            browser.evaluate(&format!("{AXE}; true")).await;
            let found = browser
                .evaluate("axe.run().then(it => ({ violations: it.violations, passes: it.passes.length }))")
                .await;
            assert!(found["passes"].as_u64() > Some(10), "axe has looked at it");
            assert_eq!(found["violations"], Value::Array(vec![]), "{} at {width}: {found:#}", example.name);
        }
    }
    browser.close().await;
}

#[tokio::test]
async fn every_page_fits_a_desk_a_phone_and_paper() {
    let mut browser = Browser::start().await;
    for example in examples().await {
        for width in WIDTHS {
            browser.open(&example.page, width).await;
            nothing(&mut browser, TOO_WIDE, &example).await;
            nothing(&mut browser, OVERLAPPING, &example).await;
        }
        browser.show_as("print").await;
        for paper in paper::PAPERS {
            browser.resize(paper.room()).await;
            nothing(&mut browser, TOO_WIDE, &example).await;
            nothing(&mut browser, OVERLAPPING, &example).await;
        }
        browser.show_as("screen").await;
    }
    browser.close().await;
}
