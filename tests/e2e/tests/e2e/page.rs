//! The web page in a real browser, which `explorer/test/browser.mjs` drives; pictures of it are kept in the target directory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atalaya_e2e::{Agent, Setup, bin_dir, skip, slow, wait_for};

#[test]
fn the_page_in_a_browser() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../explorer");
    let is_there = |path: &Path| path.exists();
    if !is_there(&page.join("node_modules/playwright-core"))
        || !is_there(Path::new("/usr/bin/chromium"))
    {
        return skip("no browser: `npm ci` in explorer/, and Debian's chromium");
    }
    // A name that would do something if it were not shown as text, and that would turn the direction of what follows.
    let hostile = "<img src=x onerror=window.hacked=1>";
    let setup = Setup::new().explorer().self_test();
    let path = setup.work().join(format!("{hostile}\u{202e}txt"));
    std::fs::write(&path, "").unwrap();
    let dir = setup.work().to_string_lossy().into_owned();
    let probe = setup
        .rule(
            "page_rule",
            &format!("open.file.path =~ \"{dir}/*\" && process.file.name == \"cat\""),
        )
        .start();
    let _agent = Agent::start(&probe);
    let read = || Command::new("cat").arg(&path).status();
    for _ in 0..30 {
        assert!(read().unwrap().success());
    }
    let url = wait_for(slow(Duration::from_secs(20)), || {
        let (_, found, _) = probe.agent(&["events", "search", "rule_id:page_rule", "--json"]);
        if found.lines().count() < 30 {
            return None;
        }
        let (good, url, _) = probe.agent(&["explorer", "url"]);
        good.then_some(url)
    });
    let pictures = bin_dir().join("explorer-pictures");
    let output = Command::new("node")
        .arg(page.join("test/browser.mjs"))
        .args(["--url", url.expect("the explorer answers").trim()])
        .args(["--query", "rule_id:page_rule"])
        .args(["--hostile", hostile])
        .arg("--cause")
        .arg(format!("cat '{}'", path.display()))
        .arg("--out")
        .arg(&pictures)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}\npictures: {}", pictures.display());
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
