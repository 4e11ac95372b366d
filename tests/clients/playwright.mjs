// Playwright over CDP.
import { chromium } from 'playwright-core';

/** `endpoint` is a ws:// URL, or the http:// base of a /json/version. */
export async function connect({ endpoint }) {
  const browser = await chromium.connectOverCDP(endpoint);
  const [context] = browser.contexts();
  return {
    newPage: () => context.newPage(),
    newContext: () => browser.newContext(),
    pages: () => context.pages(),
    disconnect: () => browser.close(),
    close: () => closeBrowser(browser),
  };
}

/** Playwright's own close() does no more than disconnect from a browser it did not start. */
async function closeBrowser(browser) {
  const gone = new Promise((resolve) => browser.once('disconnected', resolve));
  const cdp = await browser.newBrowserCDPSession();
  await cdp.send('Browser.close');
  await gone;
}
