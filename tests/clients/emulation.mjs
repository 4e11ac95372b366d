// What pages are told of the machine, asked with a client: "node emulation.mjs CLIENT PARAMS".
import puppeteer from 'puppeteer-core';
import { chromium } from 'playwright-core';

const probe = `({
  timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  locale: Intl.NumberFormat().resolvedOptions().locale,
  language: navigator.language, agent: navigator.userAgent,
  width: innerWidth, ratio: devicePixelRatio, mark: globalThis.kept_mark })`;
const early = `<script>window.early = ${probe}</script>`;
const thread = `new Promise((resolve) => {
  const code = 'postMessage({timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,'
    + 'language: navigator.language, agent: navigator.userAgent})';
  window.kept = new Worker(URL.createObjectURL(new Blob([code])));
  window.kept.onmessage = (event) => resolve(event.data); })`;

async function withPuppeteer({ endpoint, url }) {
  const browser = await puppeteer.connect({ browserWSEndpoint: endpoint, defaultViewport: null });
  const page = await browser.newPage();
  await page.evaluateOnNewDocument('window.mine = 1');
  await page.goto(`data:text/html,${early}`);
  const found = { early: await page.evaluate('early'), mine: await page.evaluate('mine') };
  await page.goto(url);
  const frame = await page.waitForFrame((each) => each.url().includes('far'));
  found.frame = await frame.evaluate(probe);
  const opened = new Promise((resolve) => page.once('popup', resolve));
  await page.evaluate("window.open('about:blank'); 0");
  found.popup = await (await opened).evaluate(probe);
  found.worker = await page.evaluate(thread);
  const context = await browser.createBrowserContext();
  found.context = await (await context.newPage()).evaluate(probe);
  await page.setViewport({ width: 321, height: 400 });
  found.own = (await page.evaluate(probe)).width;
  await browser.disconnect();
  return found;
}

async function withPlaywright({ endpoint, url }) {
  const browser = await chromium.connectOverCDP(endpoint);
  const page = await browser.contexts()[0].newPage();
  await page.addInitScript('window.mine = 1');
  await page.goto(`data:text/html,${early}`);
  const found = { early: await page.evaluate('early'), mine: await page.evaluate('mine') };
  await page.goto(url);
  const frame = page.frames().find((each) => each.url().includes('far'));
  found.frame = await frame.evaluate(probe);
  const [popup] = await Promise.all([
    page.waitForEvent('popup'),
    page.evaluate("window.open('about:blank'); 0"),
  ]);
  found.popup = await popup.evaluate(probe);
  found.worker = await page.evaluate(thread);
  const context = await browser.newContext({ viewport: null });
  found.context = await (await context.newPage()).evaluate(probe);
  await page.setViewportSize({ width: 321, height: 400 });
  found.own = (await page.evaluate(probe)).width;
  await browser.close();
  return found;
}

const [client, json] = process.argv.slice(2);
const drive = { puppeteer: withPuppeteer, playwright: withPlaywright }[client];
console.log(JSON.stringify(await drive(JSON.parse(json))));
