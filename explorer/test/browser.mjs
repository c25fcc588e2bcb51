// The page in a real browser, on a real agent in which events were just caused.
//
//   node test/browser.mjs --url URL_WITH_TOKEN --query QUERY --cause COMMAND --hostile TEXT --out DIRECTORY
//
// `--cause` is run to cause one more event that `--query` finds; `--hostile` is a text that some event has and that must be shown as text.
// A line for each check, pictures in the directory, exit status 1 when one fails.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: given } = parseArgs({
  options: { url: { type: "string" }, query: { type: "string" }, cause: { type: "string" }, hostile: { type: "string" }, out: { type: "string" }, chromium: { type: "string", default: "/usr/bin/chromium" } },
});
mkdirSync(given.out, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const origin = new URL(given.url).origin;
let failed = 0;
const complaints = [];

async function check(name, work) {
  try {
    await work();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${name}: ${String(error.message ?? error).split("\n").slice(0, 12).join(" | ")}`);
    await page.screenshot({ path: `${given.out}/failed-${failed}.png` }).catch(() => {});
  }
}
function must(condition, why) {
  if (!condition) throw new Error(typeof why === "function" ? why() : why);
}

const browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
context.setDefaultTimeout(20_000);
const page = await context.newPage();
page.on("console", (message) => { if (message.type() === "error") complaints.push(`console: ${message.text()}`); });
page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
page.on("request", (request) => { if (!request.url().startsWith(origin) && !request.url().startsWith("data:")) complaints.push(`request to ${request.url()}`); });
page.on("dialog", (dialog) => { complaints.push(`dialog: ${dialog.message()}`); void dialog.dismiss(); });

const by = (id) => page.getByTestId(id);
const rows = () => by("result-row");
const shot = (name) => page.screenshot({ path: `${given.out}/${name}.png` });
async function ask(query) {
  await by("search").fill(query);
  await by("search").press("Enter");
  await page.waitForFunction((wanted) => new URLSearchParams(location.hash.split("?")[1] ?? "").get("q") === wanted || wanted === "", query);
}
async function accessible(name) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
  const told = found.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 2).map((node) => node.html.slice(0, 120)).join(" ; ")}`);
  must(told.length === 0, `${name}: ${told.join(" || ")}`);
}
const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

await check("the token opens the page and leaves the address", async () => {
  await page.goto(given.url);
  await by("search").waitFor();
  must(!page.url().includes("token="), page.url());
});
await check("first paint within a second", async () => {
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity);
  must(paint < 1000, `${paint} ms`);
  console.log(`# first contentful paint ${Math.round(paint)} ms`);
});
await check("events are found", async () => {
  await ask(given.query);
  await rows().first().waitFor();
  must(/\d/.test(await by("total").innerText()), await by("total").innerText());
  await shot("events-light");
});
await check("an event shows its parts and its JSON", async () => {
  await rows().first().click();
  await by("panel").waitFor();
  await by("tab-raw").click();
  const raw = await by("panel-raw").innerText();
  must(raw.includes('"evt"'), raw.slice(0, 200));
  await by("tab-parts").click();
  await shot("event");
});
await check("the tree has the path to the event", async () => {
  await by("tab-tree").click();
  await page.locator('[data-testid="tree-node"][data-on-path="true"]').first().waitFor();
  must((await page.locator('[data-testid="tree-node"][data-on-path="true"]').count()) > 1, "only one process");
  must((await page.locator(".picture svg path.path").count()) > 0, "no path in the picture");
  await shot("tree");
});
await check("what was before it is shown, or that nothing is known", async () => {
  await by("tab-before").click();
  await page.locator("#tab-panel table, #tab-panel p.dim:not(:text-is('…'))").first().waitFor();
  await shot("before");
});
await check("Escape closes the event, and Back opens it again", async () => {
  await page.keyboard.press("Escape");
  await by("panel").waitFor({ state: "detached" });
  await page.goBack();
  await by("panel").waitFor();
  await page.keyboard.press("Escape");
});
await check("j and k go through the list", async () => {
  await page.locator("body").click({ position: { x: 2, y: 2 } });
  await page.keyboard.press("j");
  must(await page.evaluate(() => document.activeElement?.getAttribute("data-testid") === "result-row"), "no row has the focus");
});
await check("a facet filters", async () => {
  const facet = by("facet-process.comm").getByTestId("facet-value").first();
  await facet.click();
  await page.waitForFunction(() => decodeURIComponent(location.hash).includes("process.comm:"));
  await rows().first().waitFor();
});
await check("a wrong query tells its place", async () => {
  await by("search").fill("type:open (");
  await by("search").press("Enter");
  await by("search-error").waitFor();
  must((await by("search-error").locator("u").count()) === 1, "no place is underlined");
  await shot("error");
});
await check("suggestions", async () => {
  await by("search").fill("");
  await by("search").pressSequentially("com");
  await page.getByRole("option").first().waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  must((await by("search").inputValue()).endsWith(":"), await by("search").inputValue());
});
await check("hostile texts are text", async () => {
  await ask(given.query);
  await by("range-all").click();
  await rows().first().waitFor();
  must((await page.locator("li", { hasText: given.hostile }).count()) > 0, "the text is not shown");
  must((await page.locator("main img, main script, main iframe").count()) === 0, "it has become an element");
  must(await page.evaluate(() => window.hacked === undefined), "it has run");
});
await check("live events arrive", async () => {
  await by("live-toggle").click();
  await page.getByText("● Live").waitFor();
  const first = await rows().first().getAttribute("data-id");
  execFileSync("sh", ["-c", given.cause]);
  await page.waitForFunction((before) => document.querySelector("[data-testid=result-row]")?.getAttribute("data-id") !== before, first);
  await shot("live");
  await by("live-toggle").click();
});
await check("zoom into the timeline", async () => {
  const box = await page.locator("[data-testid=timeline] .u-over").boundingBox();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.98, box.y + 40, { steps: 5 });
  await page.mouse.up();
  await page.waitForFunction(() => location.hash.includes("range=custom"));
  await page.goBack();
});
await check("the session survives a reload", async () => {
  await page.reload();
  await by("search").waitFor();
});
await check("rules with their states and expressions", async () => {
  await by("nav-rules").click();
  await by("rule-row").first().waitFor();
  await by("rule-row").first().locator("summary").click();
  must((await by("rule-row").first().locator("pre").innerText()).length > 3, "no expression");
  await shot("rules");
});
await check("the self-test runs and its events arrive", async () => {
  await by("nav-health").click();
  await by("self-test-button").click();
  await page.getByText("Runtime self test: OK").waitFor({ timeout: 60_000 });
  await by("self-test-event").first().waitFor({ timeout: 30_000 });
  const tests = await by("self-test-row").count();
  await page.waitForFunction((wanted) => document.querySelectorAll("[data-testid=self-test-event]").length >= wanted, tests, { timeout: 30_000 });
  await page.evaluate(() => scrollTo(0, 0));
  await shot("health");
});
for (const width of [1280, 390]) {
  for (const theme of ["light", "dark"]) {
    await check(`readable and accessible at ${width} in ${theme}`, async () => {
      await page.setViewportSize({ width, height: 900 });
      if ((await page.evaluate(() => document.documentElement.dataset.theme)) !== theme) await by("theme-toggle").click();
      for (const view of ["events", "rules", "health"]) {
        await by(`nav-${view}`).click();
        if (view === "events") {
          await ask(given.query);
          await rows().first().waitFor();
        } else {
          await page.locator(view === "rules" ? "[data-testid=rule-row]" : "[data-testid=self-test-button]").first().waitFor();
        }
        await page.waitForTimeout(300);
        await shot(`${view}-${width}-${theme}`);
        must((await overflow()) <= 0, `${view} is ${await overflow()} px too wide`);
        await accessible(view);
        if (view === "events") {
          await rows().first().click();
          await by("tab-tree").click();
          await page.locator('[data-testid="tree-node"]').first().waitFor();
          await shot(`tree-${width}-${theme}`);
          must((await overflow()) <= 0, `an event is ${await overflow()} px too wide`);
          await accessible("an event");
          await page.keyboard.press("Escape");
        }
      }
    });
  }
}
await check("without a session there is a way to get one", async () => {
  await page.evaluate(() => sessionStorage.clear());
  await page.reload();
  await by("signed-out").waitFor();
  await accessible("signed out");
});
await check("no complaint of the browser, no request elsewhere", async () => {
  // That a wrong query, and a session that is gone, are refused is what was wanted.
  const real = complaints.filter((text) => !/status of 40[01]/.test(text));
  must(real.length === 0, real.join(" || "));
});
await browser.close();
console.log(failed === 0 ? "# all well" : `# ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
