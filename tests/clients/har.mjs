// Playwright as a reader of HAR files: "node har.mjs ENDPOINT HAR URL".
import { chromium } from 'playwright-core';

const [endpoint, har, url] = process.argv.slice(2);
const browser = await chromium.connectOverCDP(endpoint);
const context = await browser.newContext();
await context.routeFromHAR(har, { notFound: 'abort' });
const page = await context.newPage();
await page.goto(url);
const found = { title: await page.title(), text: await page.textContent('h1') };
found.missing = await page.evaluate("fetch('/not-in-it').then(() => 'answered', () => 'aborted')");
await browser.close();
console.log(JSON.stringify(found));
