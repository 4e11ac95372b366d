// What every client is asked to do, in terms that Puppeteer's and Playwright's API have in common:
//   browser: newPage(), newContext(), pages(), disconnect(), close()
//   context: newPage(), close()
//   page:    goto(url), evaluate(expression), screenshot(), url(), close()
// pyppeteer_steps.py has the same steps for pyppeteer.

const base64 = (bytes) => Buffer.from(bytes).toString('base64');

const STORED = "[document.cookie, localStorage.getItem('who')]";
const store = (who) => `document.cookie = 'who=${who}'; localStorage.setItem('who', '${who}')`;

/** A page, everything one does with it, and a second context that sees nothing of it. */
export async function drive(browser, { url, mark }) {
  const page = await browser.newPage();
  await page.goto(url);
  await page.evaluate(`window.mark = '${mark}'`);
  await page.evaluate(store('first'));
  const context = await browser.newContext();
  const other = await context.newPage();
  await other.goto(url);
  const before = await other.evaluate(STORED);
  await other.evaluate(store('second'));
  const result = {
    title: await page.evaluate('document.title'),
    answer: await page.evaluate('Promise.resolve(6 * 7)'),
    screenshot: base64(await page.screenshot()),
    before,
    second: await other.evaluate(STORED),
    first: await page.evaluate(STORED),
  };
  await context.close();
  return result;
}

/** The page that an earlier connection left: its JavaScript is still the same. */
export async function revisit(browser, { url }) {
  const pages = (await browser.pages()).filter((page) => page.url() === url);
  const marks = await Promise.all(pages.map((page) => page.evaluate('window.mark')));
  for (const page of pages) await page.close();
  return { marks };
}

/**
 * Many rounds on a page of one's own. Each round's page is given out to all workers at once. They
 * first meet outside of the browser: Playwright does not connect while another's page is loading.
 */
export async function work(browser, { url, who, rounds }) {
  const page = await browser.newPage();
  await fetch(url);
  const done = [];
  for (let round = 0; round < rounds; round++) {
    await page.goto(`${url}?who=${who}&round=${round}`);
    const text = await page.evaluate(`'${who}'.repeat(${round + 1} * 10000)`);
    done.push({
      search: await page.evaluate('location.search'),
      right: text === who.repeat((round + 1) * 10000),
      screenshot: base64(await page.screenshot()),
    });
  }
  await page.close();
  return { done };
}
