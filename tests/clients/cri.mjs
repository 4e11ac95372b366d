// chrome-remote-interface. Its host and port leave no room for a path before /json, so the
// addresses come from /json/* by fetch and go in as `target`.
import CDP from 'chrome-remote-interface';

/**
 * `endpoint` is the browser's WebSocket. With `devtools_url` each page has a WebSocket of its own;
 * without, all go through the browser's, as flat sessions. `fetch_protocol`: Chrome's description
 * of the protocol in place of the one that the package brings.
 */
export async function connect({ endpoint, devtools_url, fetch_protocol }) {
  const protocol = fetch_protocol && (await json(`${devtools_url}/json/protocol`));
  const open = (target) => CDP({ target, local: true, protocol });
  const root = await open(endpoint);
  return devtools_url ? new Separate(root, open, devtools_url) : new Flat(root);
}

async function json(url, method = 'GET') {
  const answer = await fetch(url, { method });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

class Browser {
  constructor(root) {
    this.root = root;
  }

  async newContext() {
    const { Target } = this.root;
    const { browserContextId } = await Target.createBrowserContext();
    return {
      newPage: () => this.newPage(browserContextId),
      close: () => Target.disposeBrowserContext({ browserContextId }),
    };
  }

  async newPage(browserContextId) {
    const { Target } = this.root;
    const { targetId } = await Target.createTarget({ url: 'about:blank', browserContextId });
    return this.attach(targetId, 'about:blank');
  }

  async pages() {
    const found = (await this.list()).filter(({ type }) => type === 'page');
    return Promise.all(found.map(({ id, url }) => this.attach(id, url)));
  }

  async disconnect() {
    await this.root.close();
  }

  async close() {
    const gone = new Promise((resolve) => this.root.once('disconnect', resolve));
    await this.root.Browser.close();
    await gone;
  }
}

/** One WebSocket, a session of it for each page. */
class Flat extends Browser {
  async list() {
    const { targetInfos } = await this.root.Target.getTargets();
    return targetInfos.map(({ targetId, ...rest }) => ({ id: targetId, ...rest }));
  }

  async attach(targetId, url) {
    const { sessionId } = await this.root.Target.attachToTarget({ targetId, flatten: true });
    return Page.open(this.root, url, sessionId);
  }
}

/** A WebSocket for each page. */
class Separate extends Browser {
  #pages = [];

  constructor(root, open, base) {
    super(root);
    this.open = open;
    this.base = base;
  }

  list() {
    return json(`${this.base}/json/list`);
  }

  async newPage(browserContextId) {
    if (browserContextId) return super.newPage(browserContextId);
    const { id, url } = await json(`${this.base}/json/new?about:blank`, 'PUT');
    return this.attach(id, url);
  }

  async attach(targetId, url) {
    const { webSocketDebuggerUrl } = (await this.list()).find(({ id }) => id === targetId);
    const client = await this.open(webSocketDebuggerUrl);
    this.#pages.push(client);
    return Page.open(client, url);
  }

  async disconnect() {
    await Promise.all(this.#pages.map((client) => client.close()));
    await super.disconnect();
  }
}

class Page {
  #url;

  static async open(client, url, session) {
    await client.Page.enable(session);
    return new Page(client, url, session);
  }

  constructor(client, url, session) {
    this.client = client;
    this.session = session;
    this.#url = url;
  }

  url() {
    return this.#url;
  }

  async goto(url) {
    const loaded = this.client.Page.loadEventFired(this.session);
    const { errorText } = await this.client.Page.navigate({ url }, this.session);
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await loaded;
    this.#url = url;
  }

  async evaluate(expression) {
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.client.Runtime.evaluate(options, this.session);
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return result.value;
  }

  async screenshot() {
    const { data } = await this.client.Page.captureScreenshot({ format: 'png' }, this.session);
    return Buffer.from(data, 'base64');
  }

  async close() {
    await this.client.Page.close(this.session);
  }
}
