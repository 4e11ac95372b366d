// Puppeteer, and what is tried with it alone.
import puppeteer from 'puppeteer-core';

/** `endpoint` is a ws:// URL, or the http:// one that Puppeteer finds it at. */
export async function connect({ endpoint }) {
  const where = endpoint.startsWith('ws:')
    ? { browserWSEndpoint: endpoint }
    : { browserURL: endpoint };
  const browser = await puppeteer.connect(where);
  return Object.assign(browser, { newContext: () => browser.createBrowserContext() });
}

const once = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));

async function popup(browser, { url }) {
  const page = await browser.newPage();
  await page.goto(url);
  const opened = once(page, 'popup');
  await page.evaluate("window.open('?popup').greeting = 'hello'; 0");
  const other = await opened;
  await other.waitForFunction("document.title === 'chromepool' && location.search === '?popup'");
  return {
    opener: await other.evaluate('window.opener.location.href'),
    same: other.target().opener() === page.target(),
    screenshot: Buffer.from(await other.screenshot()).toString('base64'),
  };
}

async function frames(browser, { url, far }) {
  const page = await browser.newPage();
  await page.goto(url);
  const near = await page.waitForFrame((frame) => frame.url().endsWith('?near'));
  const away = await page.waitForFrame((frame) => frame.url() === far);
  await away.waitForFunction("document.title === 'chromepool'");
  return {
    near: await near.evaluate('parent.document.title'),
    far: await away.evaluate('location.href'),
  };
}

async function worker(browser, { url }) {
  const page = await browser.newPage();
  await page.goto(url);
  const started = once(page, 'workercreated');
  await page.evaluate("window.kept = new Worker(URL.createObjectURL(new Blob(['1']))); 0");
  const thread = await started;
  return { kind: await thread.evaluate('self.constructor.name') };
}

async function inject(browser, { url }) {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument('window.early = document.title');
  await page.exposeFunction('twice', (number) => 2 * number);
  const seen = [];
  for (const address of [`${url}?1`, `${url}?2`]) {
    await page.goto(address);
    seen.push(await page.evaluate('[window.early, document.title]'));
  }
  return { seen, twice: await page.evaluate('twice(21)') };
}

/** `chrome://crash` kills the page's process; its goto() may never be answered. */
async function crash(browser, { url }) {
  const page = await browser.newPage();
  const cdp = await page.createCDPSession();
  const { targetInfo } = await cdp.send('Target.getTargetInfo');
  const crashed = once(page, 'error');
  page.goto('chrome://crash').catch(() => {});
  const error = await crashed;
  const next = await browser.newPage();
  await next.goto(url);
  return {
    target: targetInfo.targetId,
    error: error.message,
    title: await next.evaluate('document.title'),
  };
}

export const steps = { popup, frames, worker, inject, crash };
