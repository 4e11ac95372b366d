// What has run in a popup when its opener first looks into it, and before the first script of a
// document of its own: the session's script (window.theirs) and the client's (window.mine).
// usage: node popups.mjs CLIENT PARAMS-AS-JSON
import puppeteer from 'puppeteer-core';
import { chromium } from 'playwright-core';

const MINE = 'window.mine = 1';
const LOOK = '[window.theirs ?? 0, window.mine ?? 0]';
const OPEN = `new Promise((resolve) => {
  window.seen = resolve;
  const page = '<script>opener.seen([opener.first, ${LOOK}])</script>';
  const address = URL.createObjectURL(new Blob([page], { type: 'text/html' }));
  const popup = window.open(address);
  window.first = [popup.theirs ?? 0, popup.mine ?? 0];
})`;

/** As those do it who must be there first: by CDP, since Puppeteer has no scripts for popups. */
async function withPuppeteer({ endpoint, url, rounds }) {
  const browser = await puppeteer.connect({ browserWSEndpoint: endpoint, defaultViewport: null });
  const page = await browser.newPage();
  await page.goto(url);
  const cdp = await browser.target().createCDPSession();
  cdp.on('Target.attachedToTarget', async ({ sessionId, waitingForDebugger }) => {
    const session = cdp.connection().session(sessionId);
    if (waitingForDebugger) {
      const script = { source: MINE, runImmediately: true };
      session.send('Page.enable');
      session.send('Page.addScriptToEvaluateOnNewDocument', script);
      session.send('Runtime.runIfWaitingForDebugger');
    }
  });
  const auto = { autoAttach: true, waitForDebuggerOnStart: true, flatten: true };
  await cdp.send('Target.setAutoAttach', auto);
  const seen = await rounded(page, rounds);
  await browser.disconnect();
  return seen;
}

async function withPlaywright({ endpoint, url, rounds }) {
  const browser = await chromium.connectOverCDP(endpoint);
  const [context] = browser.contexts();
  await context.addInitScript(MINE);
  const page = await context.newPage();
  await page.goto(url);
  const seen = await rounded(page, rounds);
  await browser.close();
  return seen;
}

async function rounded(page, rounds) {
  const seen = [];
  for (let n = 0; n < rounds; n++) {
    const opened = new Promise((resolve) => page.once('popup', resolve));
    seen.push(await page.evaluate(OPEN));
    await (await opened).close();
  }
  return seen;
}

const [client, json] = process.argv.slice(2);
const drive = { puppeteer: withPuppeteer, playwright: withPlaywright }[client];
console.log(JSON.stringify(await drive(JSON.parse(json))));
